#include "bench/flat.h"

#include "util/cleanup.h"
#include "util/io.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define ONE_MIB	     (1ull << 20)
#define CODE	     ONE_MIB /* where the kernel of the boot protocol goes */
#define TOUCH_FROM   (2 * ONE_MIB)
#define ORDER	     0x3000 /* the words that host and guest share */
#define PAGES	     0x3004
#define ORDER_TOUCH  1
#define ORDER_REPORT 2
#define PORT_TOUCHED 0x10
#define PORT_ALIVE   0x11
#define SECTOR	     512
#define DISK_BYTES   (4096 * ONE_MIB)
#define RING_3	     3
#define IOPL_3	     (3u << 12)

/* Addresses and ports are those from above, little-endian. */
static const char code[] = "\xbf\x00\x00\x20\x00"     /* 1: mov edi, TOUCH_FROM */
			   "\x8b\x0d\x04\x30\x00\x00" /* mov ecx, [PAGES] */
			   "\x89\x3f"		      /* 2: mov [edi], edi */
			   "\x81\xc7\x00\x10\x00\x00" /* add edi, 0x1000 */
			   "\x49"		      /* dec ecx */
			   "\x75\xf5"		      /* jnz 2b */
			   "\xc7\x05\x00\x30\x00\x00\x00\x00\x00\x00" /* mov [ORDER], 0 */
			   "\xe6\x10"		      /* out PORT_TOUCHED, al */
			   "\xa1\x00\x30\x00\x00"     /* 3: mov eax, [ORDER] */
			   "\x85\xc0"		      /* test eax, eax */
			   "\x74\xf7"		      /* je 3b */
			   "\x48"		      /* dec eax */
			   "\x74\xd2"		      /* je 1b */
			   "\xff\x05\x08\x30\x00\x00" /* inc dword [PAGES + 4] */
			   "\xe6\x11"		      /* out PORT_ALIVE, al */
			   "\xeb\xea";		      /* jmp 3b */

/* An unlinked file, which the machine opens as @path. Return: 0 or -errno. */
static int make_file(const char *name, const void *data, size_t len, uint64_t size,
		     char path[64])
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		return -errno;
	snprintf(path, 64, "/proc/self/fd/%d", fd);
	return io_write_all(fd, data, len);
}

/* The guest's code, dressed as a kernel for the boot protocol (boot.h). */
static int make_kernel(char path[64])
{
	struct {
		uint8_t boot[0x1f1];
		struct setup_header header;
		uint8_t rest[2 * SECTOR - 0x1f1 - sizeof(struct setup_header)];
		uint8_t code[sizeof(code)];
	} __attribute__((packed)) image = {
	    .header = {.setup_sects = 1,
		       .boot_flag = 0xaa55,
		       .jump = (uint16_t)(0xeb | (sizeof(struct setup_header) - 0x11) << 8),
		       .header = 0x53726448,
		       .version = 0x020c,
		       .loadflags = LOADED_HIGH,
		       .xloadflags = XLF_KERNEL_64,
		       .cmdline_size = 2047,
		       .initrd_addr_max = UINT32_MAX,
		       .pref_address = CODE,
		       .init_size = 4096},
	};

	memcpy(image.code, code, sizeof(code));
	return make_file("kernel", &image, sizeof(image), sizeof(image), path);
}

static struct kvm_segment segment(uint16_t selector, uint8_t type)
{
	return (struct kvm_segment){
	    .limit = UINT32_MAX,
	    .selector = selector | RING_3,
	    .type = type,
	    .present = 1,
	    .dpl = RING_3,
	    .db = 1,
	    .s = 1,
	    .g = 1,
	};
}

/* Take back what the boot protocol asks for. */
static int enter(int fd, struct error *err)
{
	struct kvm_regs regs = {.rip = CODE, .rflags = 2 | IOPL_3};
	struct kvm_sregs sregs;

	if (ioctl(fd, KVM_GET_SREGS, &sregs) < 0)
		return error_set(err, errno, "KVM does not tell the guest's registers");
	sregs.cs = segment(8, 11);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment(16, 3);
	sregs.cr0 = 1; /* protected mode */
	sregs.cr3 = sregs.cr4 = sregs.efer = 0;
	if (ioctl(fd, KVM_SET_SREGS, &sregs) < 0 || ioctl(fd, KVM_SET_REGS, &regs) < 0)
		return error_set(err, errno, "KVM does not take the guest's registers");
	return 0;
}

/* The one machine of the process; its operations get no more than a struct machine. */
static struct flat *the_flat;

static int on_port(void *opaque, uint16_t port, bool write, void *data, unsigned len,
		   struct error *err)
{
	(void)opaque;
	(void)write;
	(void)data;
	(void)len;
	if (port == PORT_TOUCHED)
		the_flat->on_touched();
	else if (port == PORT_ALIVE)
		the_flat->on_alive();
	else
		return error_say(err, EIO, "the guest has lost its way");
	return 0;
}

static int on_mmio(void *opaque, uint64_t gpa, bool write, void *data, unsigned len,
		   struct error *err)
{
	(void)opaque;
	(void)write;
	(void)data;
	(void)len;
	return error_say(err, EIO, "the guest has lost its way to 0x%llx",
			 (unsigned long long)gpa);
}

static int on_reset(void *opaque, struct error *err)
{
	(void)opaque;
	return error_say(err, EIO, "the guest reset (triple fault)");
}

static _Noreturn void on_vcpu_dead(void *opaque, const char *reason)
{
	(void)opaque;
	fprintf(stderr, "forkcost: %s\n", reason);
	_exit(1);
}

static const struct vcpu_ops ops = {
    .port = on_port,
    .mmio = on_mmio,
    .reset = on_reset,
    .dead = on_vcpu_dead,
};

static void on_watch(struct virtio_console *con)
{
	(void)con;
}

static void on_watch_net(struct virtio_net *net)
{
	(void)net;
}

static void put_word(struct flat *flat, uint64_t gpa, uint32_t value)
{
	gmem_write(&flat->machine.mem, gpa, &value, sizeof(value));
}

int flat_boot(struct flat *flat, uint64_t mib, struct error *err)
{
	char disk[64];
	struct machine_config config = {
	    .kernel = flat->kernel,
	    .initramfs = flat->empty,
	    .base = disk,
	    .upper = disk,
	    .memory_mib = mib < FLAT_MEMORY_MIN_MIB ? FLAT_MEMORY_MIN_MIB : mib,
	    .vcpus = 1,
	    .watch = on_watch,
	    .watch_net = on_watch_net,
	};
	int r = make_kernel(flat->kernel);

	the_flat = flat;
	if (!r)
		r = make_file("initramfs", "", 0, 0, flat->empty);
	if (!r)
		r = make_file("disk", "", 0, DISK_BYTES, disk);
	if (!r && socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
			     flat->agent) < 0)
		r = -errno;
	if (r < 0)
		return error_set(err, -r, "cannot make the guest's files");
	config.agent_fd = flat->agent[0];
	r = machine_init(&flat->machine, &config, err);
	if (r < 0)
		return r;
	flat->machine.vcpus.ops = &ops;
	put_word(flat, PAGES, (uint32_t)((mib * ONE_MIB - TOUCH_FROM) / 4096));
	r = enter(flat->machine.vcpus.vcpu[0].fd, err);
	return r ? r : vcpus_start(&flat->machine.vcpus, err);
}

int flat_dirty_disk(struct flat *flat)
{
	uint8_t sector[SECTOR] = {1};
	struct iovec iov = {.iov_base = sector, .iov_len = sizeof(sector)};
	struct iov_cursor cur = iov_at(&iov, 1);

	return disk_write(&flat->machine.upper, 0, &cur, sizeof(sector));
}

void flat_touch(struct flat *flat)
{
	put_word(flat, ORDER, ORDER_TOUCH);
}

void flat_report(struct flat *flat)
{
	put_word(flat, ORDER, ORDER_REPORT);
}
