/*
 * The ACPI tables as a guest finds them: from the RSDP by pointers, every length
 * inside the area, every checksum zero.
 */
#include "vmctl/acpi.h"
#include "tests/unit/tap.h"
#include "vmctl/platform.h"

static struct gmem mem;

static uint64_t get(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	while (bytes--)
		v = v << 8 | p[bytes];
	return v;
}

static unsigned sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	while (len--)
		s = (uint8_t)(s + *p++);
	return s;
}

/* The table at @gpa, after the tests that every table must pass. */
static const uint8_t *table(uint64_t gpa, const char *signature)
{
	const uint8_t *t = gmem_ptr(&mem, gpa, 36);
	uint64_t len;

	ok(gpa >= ACPI_BASE && gpa + 36 <= ACPI_END, "%s is in the area", signature);
	ok(t && !memcmp(t, signature, 4), "%s has its signature", signature);
	len = get(t + 4, 4);
	ok(len >= 36 && gpa + len <= ACPI_END, "%s has a good length, %" PRIu64, signature,
	   len);
	is_int(sum(t, len), 0, "%s has a good checksum", signature);
	return t;
}

static const uint8_t *rsdp(void)
{
	const uint8_t *r = gmem_ptr(&mem, ACPI_BASE, 36);

	ok(!memcmp(r, "RSD PTR ", 8), "RSDP has its signature");
	is_int(r[15], 2, "of revision 2");
	is_int(get(r + 20, 4), 36, "with its length");
	is_int(sum(r, 20), 0, "its checksum is good");
	is_int(sum(r, 36), 0, "its extended checksum too");
	return r;
}

static void check_fadt(const uint8_t *fadt)
{
	const uint8_t *dsdt;

	is_int(get(fadt + 4, 4), 276, "FADT is as long as revision 6 is");
	ok(get(fadt + 112, 4) & 1u << 20, "FADT: hardware-reduced");
	is_int(fadt[244], 1, "FADT: the sleep control register is a port");
	is_int(get(fadt + 248, 8), PLATFORM_SLEEP_PORT, "FADT: at the port that we serve");
	is_int(get(fadt + 260, 8), PLATFORM_SLEEP_STATUS, "FADT: so is its status");
	dsdt = table(get(fadt + 140, 8), "DSDT");
	ok(memmem(dsdt, get(dsdt + 4, 4), "LNRO0005", 8), "DSDT has virtio-mmio devices");
	ok(memmem(dsdt, get(dsdt + 4, 4), "_S5_", 4), "DSDT has the soft-off state");
}

static void check_madt(const uint8_t *madt, unsigned vcpus)
{
	size_t len = get(madt + 4, 4), at = 44;
	unsigned cpus = 0, ioapics = 0, bad = 0;

	is_int(get(madt + 36, 4), 0xfee00000, "MADT: the local APIC's address");
	is_int(get(madt + 40, 4), 0, "MADT: no 8259");
	while (at + 2 <= len && madt[at + 1] >= 2 && at + madt[at + 1] <= len) {
		const uint8_t *e = madt + at;

		if (e[0] == 0) {
			bad +=
			    e[1] != 8 || e[2] != cpus || e[3] != cpus || get(e + 4, 4) != 1;
			cpus++;
		} else if (e[0] == 1) {
			bad += e[1] != 12 || get(e + 4, 4) != 0xfec00000 || get(e + 8, 4);
			ioapics++;
		} else {
			bad++;
		}
		at += e[1];
	}
	is_int(at, len, "MADT: its entries fill it");
	is_int(cpus, vcpus, "MADT: one local APIC per vCPU");
	is_int(ioapics, 1, "MADT: one IOAPIC, for interrupts from 0 on");
	is_int(bad, 0, "MADT: all entries are as they should be");
}

static void check(unsigned vcpus)
{
	const uint8_t *xsdt;
	struct error err;

	diag("%u vCPUs", vcpus);
	is_int(acpi_write(&mem, vcpus, &err), 0, "tables for %u vCPUs", vcpus);
	xsdt = table(get(rsdp() + 24, 8), "XSDT");
	is_int(get(xsdt + 4, 4), 36 + 2 * 8, "XSDT points at two tables");
	check_fadt(table(get(xsdt + 36, 8), "FACP"));
	check_madt(table(get(xsdt + 44, 8), "APIC"), vcpus);
}

int main(void)
{
	struct gmem tiny;
	struct error err;

	if (gmem_init(&mem, 2u << 20, &err) < 0 || gmem_init(&tiny, 64u << 10, &err) < 0)
		return 1;
	check(1);
	check(8);
	ok(acpi_write(&mem, 0, &err) < 0, "no tables for no vCPU");
	ok(acpi_write(&mem, 256, &err) < 0, "no tables for more vCPUs than APIC ids");
	ok(acpi_write(&tiny, 1, &err) < 0, "no tables where there is no memory");
	gmem_fini(&mem);
	gmem_fini(&tiny);
	return done_testing();
}
