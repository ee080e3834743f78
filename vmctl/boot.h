/*
 * Loading a bzImage by the 64-bit boot protocol (Linux,
 * Documentation/x86/boot.rst, "64-bit boot protocol" and "zero page").
 */
#pragma once

#include "util/error.h"
#include "vmctl/gmem.h"

/* Guest addresses below 1 MiB that the first vCPU begins with. */
#define BOOT_GDT       0x500ull
#define BOOT_ZERO_PAGE 0x7000ull
#define BOOT_PML4      0x9000ull
#define BOOT_CMDLINE   0x20000ull

#define BOOT_CS	       0x10 /* selectors in that GDT */
#define BOOT_DS	       0x18
#define BOOT_GDT_LIMIT 0x1f

/**
 * boot_load() - put kernel, initramfs, command line and boot tables into memory.
 * @rsdp:  gpa of the ACPI root pointer.
 * @entry: set to the gpa of the kernel's 64-bit entry.
 *
 * Return: 0 or -errno with @err filled.
 */
int boot_load(const struct gmem *mem, const char *kernel, const char *initramfs,
	      const char *cmdline, uint64_t rsdp, uint64_t *entry, struct error *err);
