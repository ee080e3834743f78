#include "vmctl/boot.h"

#include "util/cleanup.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER_AT	 0x1f1	    /* of struct setup_header, in file and zero page */
#define HEADER_MAGIC	 0x53726448 /* "HdrS" */
#define PROTOCOL_MIN	 0x020c	    /* xloadflags is from 2.12 */
#define ENTRY_64	 0x200
#define LOADER_UNDEFINED 0xff

#define LOW_RAM_END 0x9fc00ull
#define ONE_MIB	    0x100000ull

/* A file that is to be copied to guest memory. */
struct file {
	const char *path;
	int fd;
	uint64_t size;
};

static int open_file(struct file *file, const char *path, struct error *err)
{
	off_t size;

	*file = (struct file){.path = path, .fd = open(path, O_RDONLY | O_CLOEXEC)};
	if (file->fd < 0)
		return error_set(err, errno, "cannot open %s", path);
	size = lseek(file->fd, 0, SEEK_END);
	if (size < 0)
		return error_set(err, errno, "cannot find the size of %s", path);
	file->size = (uint64_t)size;
	return 0;
}

static int read_at(const struct file *file, uint64_t offset, void *to, uint64_t len,
		   struct error *err)
{
	uint8_t *p = to;

	while (len) {
		ssize_t n = pread(file->fd, p, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(err, errno, "cannot read %s", file->path);
		if (n == 0)
			return error_say(err, ENODATA, "%s ends too early", file->path);
		p += n;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

static int load(const struct gmem *mem, const struct file *file, uint64_t offset,
		uint64_t gpa, uint64_t len, struct error *err)
{
	void *to = gmem_ptr(mem, gpa, len);

	if (!to)
		return error_say(err, ENOMEM,
				 "%s does not fit into a guest of %llu MiB of memory",
				 file->path, (unsigned long long)(mem->size >> 20));
	return read_at(file, offset, to, len, err);
}

/* Read the setup header of a kernel that we can boot. */
static int read_header(const struct file *kernel, struct setup_header *header,
		       struct error *err)
{
	uint8_t sectors[1024];
	size_t end;
	int r = read_at(kernel, 0, sectors, sizeof(sectors), err);

	if (r < 0)
		return r;
	*header = (struct setup_header){0};
	end = 0x202u + sectors[0x201];
	if (end - HEADER_AT > sizeof(*header))
		end = HEADER_AT + sizeof(*header);
	memcpy(header, sectors + HEADER_AT, end - HEADER_AT);
	if (header->header != HEADER_MAGIC || header->boot_flag != 0xaa55)
		return error_say(err, ENOEXEC, "%s is not a Linux bzImage", kernel->path);
	if (header->version < PROTOCOL_MIN || !(header->xloadflags & XLF_KERNEL_64) ||
	    !(header->loadflags & LOADED_HIGH))
		return error_say(err, ENOEXEC, "%s has no 64-bit entry", kernel->path);
	if (!header->setup_sects)
		header->setup_sects = 4;
	if (header->pref_address < ONE_MIB || header->pref_address % 4096)
		return error_say(err, ENOEXEC, "%s wants to be at a strange address",
				 kernel->path);
	return 0;
}

static int load_kernel(const struct gmem *mem, const char *path,
		       struct setup_header *header, struct error *err)
{
	cleanup_close int fd = -1;
	struct file file;
	uint64_t offset;
	int r = open_file(&file, path, err);

	fd = file.fd;
	if (!r)
		r = read_header(&file, header, err);
	if (r < 0)
		return r;
	offset = (header->setup_sects + 1ull) * 512;
	if (file.size <= offset)
		return error_say(err, ENOEXEC, "%s ends too early", path);
	if (!gmem_ptr(mem, header->pref_address, header->init_size))
		return error_say(err, ENOMEM,
				 "%s does not fit into a guest of %llu MiB of memory", path,
				 (unsigned long long)(mem->size >> 20));
	return load(mem, &file, offset, header->pref_address, file.size - offset, err);
}

/* At the end of low memory, away from the kernel. */
static int load_initramfs(const struct gmem *mem, const char *path,
			  struct setup_header *header, struct error *err)
{
	cleanup_close int fd = -1;
	uint64_t end = mem->low, start = header->pref_address + header->init_size;
	struct file file;
	int r = open_file(&file, path, err);

	fd = file.fd;
	if (r < 0)
		return r;
	if (end > header->initrd_addr_max + 1ull)
		end = header->initrd_addr_max + 1ull;
	if (end < start || file.size > end - start)
		return error_say(err, ENOMEM,
				 "%s does not fit into a guest of %llu MiB of memory", path,
				 (unsigned long long)(mem->size >> 20));
	header->ramdisk_image = (uint32_t)((end - file.size) & ~4095ull);
	header->ramdisk_size = (uint32_t)file.size;
	return load(mem, &file, 0, header->ramdisk_image, file.size, err);
}

static void add_e820(struct boot_params *zero, uint64_t from, uint64_t to, uint32_t type)
{
	if (from < to)
		zero->e820_table[zero->e820_entries++] = (struct boot_e820_entry){
		    .addr = from,
		    .size = to - from,
		    .type = type,
		};
}

static int put_zero_page(const struct gmem *mem, const struct setup_header *header,
			 uint64_t rsdp)
{
	struct boot_params zero = {.hdr = *header, .acpi_rsdp_addr = rsdp};
	enum { RAM = 1, RESERVED = 2 };

	zero.hdr.type_of_loader = LOADER_UNDEFINED;
	zero.hdr.cmd_line_ptr = BOOT_CMDLINE;
	add_e820(&zero, 0, LOW_RAM_END, RAM);
	add_e820(&zero, LOW_RAM_END, ONE_MIB, RESERVED);
	add_e820(&zero, ONE_MIB, mem->low, RAM);
	add_e820(&zero, GMEM_HOLE_END, GMEM_HOLE_END + mem->size - mem->low, RAM);
	return gmem_write(mem, BOOT_ZERO_PAGE, &zero, sizeof(zero));
}

/* An identity map of the first GiB in 2 MiB pages. */
static int put_page_tables(const struct gmem *mem)
{
	enum { PRESENT = 1, WRITABLE = 2, LARGE = 0x80 };
	uint64_t pml4[512] = {(BOOT_PML4 + 0x1000) | PRESENT | WRITABLE};
	uint64_t pdpt[512] = {(BOOT_PML4 + 0x2000) | PRESENT | WRITABLE};
	uint64_t pd[512];
	int r;

	for (uint64_t i = 0; i < 512; i++)
		pd[i] = i << 21 | PRESENT | WRITABLE | LARGE;
	r = gmem_write(mem, BOOT_PML4, pml4, sizeof(pml4));
	if (!r)
		r = gmem_write(mem, BOOT_PML4 + 0x1000, pdpt, sizeof(pdpt));
	return r ? r : gmem_write(mem, BOOT_PML4 + 0x2000, pd, sizeof(pd));
}

/* Flat segments at the selectors that the protocol names. */
static int put_gdt(const struct gmem *mem)
{
	static const uint64_t gdt[] = {
	    0, 0, 0x00af9b000000ffff, /* BOOT_CS: 64-bit code */
	    0x00cf93000000ffff,	      /* BOOT_DS: data */
	};

	return gmem_write(mem, BOOT_GDT, gdt, sizeof(gdt));
}

int boot_load(const struct gmem *mem, const char *kernel, const char *initramfs,
	      const char *cmdline, uint64_t rsdp, uint64_t *entry, struct error *err)
{
	struct setup_header header = {0};
	int r = load_kernel(mem, kernel, &header, err);

	if (!r)
		r = load_initramfs(mem, initramfs, &header, err);
	if (r < 0)
		return r;
	if (strlen(cmdline) > header.cmdline_size)
		return error_say(err, E2BIG, "the kernel takes %u bytes of command line",
				 header.cmdline_size);
	r = gmem_write(mem, BOOT_CMDLINE, cmdline, strlen(cmdline) + 1);
	if (!r)
		r = put_zero_page(mem, &header, rsdp);
	if (!r)
		r = put_page_tables(mem);
	if (!r)
		r = put_gdt(mem);
	*entry = header.pref_address + ENTRY_64;
	return r ? error_set(err, -r, "cannot place the boot tables") : 0;
}
