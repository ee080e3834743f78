#include "vmctl/acpi.h"

#include "vmctl/dsdt.hex"
#include "vmctl/platform.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PACKED __attribute__((packed))

/* ACPI 6.4, 5.2.5.3 */
struct rsdp {
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} PACKED;

/* ACPI 6.4, 5.2.6 */
struct header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} PACKED;

/* ACPI 6.4, 5.2.3.2 */
struct address {
	uint8_t space; /* 1: an I/O port */
	uint8_t bits;
	uint8_t bit_offset;
	uint8_t access; /* 1: bytes */
	uint64_t address;
} PACKED;

/* ACPI 6.4, 5.2.9. What reduced hardware ignores is not named. */
struct fadt {
	struct header header;
	uint8_t legacy[109 - sizeof(struct header)];
	uint16_t boot_arch;
	uint8_t reserved;
	uint32_t flags;
	uint8_t reset[131 - 116];
	uint8_t minor_version;
	uint64_t x_firmware_ctrl;
	uint64_t x_dsdt;
	uint8_t blocks[244 - 148];
	struct address sleep_control;
	struct address sleep_status;
	uint64_t hypervisor;
} PACKED;

_Static_assert(offsetof(struct fadt, boot_arch) == 109, "FADT layout");
_Static_assert(offsetof(struct fadt, flags) == 112, "FADT layout");
_Static_assert(offsetof(struct fadt, x_dsdt) == 140, "FADT layout");
_Static_assert(offsetof(struct fadt, sleep_control) == 244, "FADT layout");
_Static_assert(sizeof(struct fadt) == 276, "FADT layout");

#define FADT_NO_VGA	   (1 << 2)
#define FADT_NO_CMOS_RTC   (1 << 5)
#define FADT_WBINVD	   (1u << 0)
#define FADT_PWR_BUTTON	   (1u << 4)  /* not in fixed hardware */
#define FADT_SLP_BUTTON	   (1u << 5)  /* not in fixed hardware */
#define FADT_HW_REDUCED	   (1u << 20) /* no PM timer, no SCI, no 8259 */
#define APIC_ID_IOAPIC	   0xfe
#define IOAPIC_ADDRESS	   0xfec00000
#define LOCAL_APIC_ADDRESS 0xfee00000

/* ACPI 6.4, 5.2.12 */
struct madt {
	struct header header;
	uint32_t local_apic;
	uint32_t flags;
} PACKED;

struct madt_local_apic {
	uint8_t type, length;
	uint8_t processor, apic_id;
	uint32_t flags; /* 1: enabled */
} PACKED;

struct madt_ioapic {
	uint8_t type, length;
	uint8_t id, reserved;
	uint32_t address;
	uint32_t gsi_base;
} PACKED;

/* A place in guest memory where the next table goes. */
struct writer {
	const struct gmem *mem;
	uint64_t at;
	int failed; /* 0 or a negative errno, sticky */
};

static uint8_t checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint8_t sum = 0;

	while (len--)
		sum = (uint8_t)(sum + *p++);
	return (uint8_t)-sum;
}

static struct header make_header(const char *signature, uint8_t revision, size_t length)
{
	struct header header = {
	    .length = (uint32_t)length,
	    .revision = revision,
	    .oem_id = {'P', 'F', 'F', 'S', ' ', ' '},
	    .oem_table_id = {'V', 'M', 'C', 'T', 'L', ' ', ' ', ' '},
	    .oem_revision = 1,
	    .creator_id = {'P', 'F', 'F', 'S'},
	    .creator_revision = 1,
	};

	memcpy(header.signature, signature, sizeof(header.signature));
	return header;
}

/* Write one table of @len bytes. Return: its guest address. */
static uint64_t put(struct writer *w, const void *table, size_t len)
{
	uint64_t at = w->at;

	if (len > ACPI_END - at)
		w->failed = -ENOSPC;
	else if (gmem_write(w->mem, at, table, len) < 0)
		w->failed = -EFAULT;
	else
		w->at = (at + len + 15) & ~15ull;
	return at;
}

static uint64_t put_fadt(struct writer *w, uint64_t dsdt)
{
	struct fadt fadt = {
	    .header = make_header("FACP", 6, sizeof(fadt)),
	    .boot_arch = FADT_NO_VGA | FADT_NO_CMOS_RTC,
	    .flags = FADT_WBINVD | FADT_PWR_BUTTON | FADT_SLP_BUTTON | FADT_HW_REDUCED,
	    .minor_version = 4,
	    .x_dsdt = dsdt,
	    .sleep_control = {1, 8, 0, 1, PLATFORM_SLEEP_PORT},
	    .sleep_status = {1, 8, 0, 1, PLATFORM_SLEEP_STATUS},
	};

	fadt.header.checksum = checksum(&fadt, sizeof(fadt));
	return put(w, &fadt, sizeof(fadt));
}

static uint64_t put_madt(struct writer *w, unsigned vcpus)
{
	struct {
		struct madt madt;
		struct madt_ioapic ioapic;
		struct madt_local_apic apics[255];
	} PACKED all = {
	    .madt = {.local_apic = LOCAL_APIC_ADDRESS},
	    .ioapic = {1, sizeof(all.ioapic), APIC_ID_IOAPIC, 0, IOAPIC_ADDRESS, 0},
	};
	size_t len = offsetof(typeof(all), apics) + vcpus * sizeof(all.apics[0]);

	for (unsigned i = 0; i < vcpus; i++)
		all.apics[i] = (struct madt_local_apic){
		    .length = sizeof(all.apics[i]),
		    .processor = (uint8_t)i,
		    .apic_id = (uint8_t)i,
		    .flags = 1,
		};
	all.madt.header = make_header("APIC", 5, len);
	all.madt.header.checksum = checksum(&all, len);
	return put(w, &all, len);
}

static uint64_t put_xsdt(struct writer *w, uint64_t fadt, uint64_t madt)
{
	struct {
		struct header header;
		uint64_t tables[2];
	} PACKED xsdt = {
	    .header = make_header("XSDT", 1, sizeof(xsdt)),
	    .tables = {fadt, madt},
	};

	xsdt.header.checksum = checksum(&xsdt, sizeof(xsdt));
	return put(w, &xsdt, sizeof(xsdt));
}

int acpi_write(const struct gmem *mem, unsigned vcpus, struct error *err)
{
	struct writer w = {.mem = mem, .at = ACPI_BASE + 64};
	struct rsdp rsdp = {
	    .signature = {'R', 'S', 'D', ' ', 'P', 'T', 'R', ' '},
	    .oem_id = {'P', 'F', 'F', 'S', ' ', ' '},
	    .revision = 2,
	    .length = sizeof(rsdp),
	};
	uint64_t fadt, madt;

	if (!vcpus || vcpus > 255)
		return error_say(err, EINVAL,
				 "ACPI tables for %u processors are not possible", vcpus);
	fadt = put_fadt(&w, put(&w, dsdt_aml_code, sizeof(dsdt_aml_code)));
	madt = put_madt(&w, vcpus);
	rsdp.xsdt = put_xsdt(&w, fadt, madt);
	rsdp.checksum = checksum(&rsdp, 20);
	rsdp.extended_checksum = checksum(&rsdp, sizeof(rsdp));
	if (!w.failed)
		w.failed = gmem_write(mem, ACPI_BASE, &rsdp, sizeof(rsdp));
	return w.failed ? error_set(err, -w.failed, "cannot place the ACPI tables") : 0;
}
