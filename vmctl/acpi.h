/*
 * ACPI tables for a guest (ACPI 6.4, chapter 5): RSDP, XSDT, FADT for reduced
 * hardware, MADT, and the DSDT that iasl made of dsdt.asl.
 */
#pragma once

#include "util/error.h"
#include "vmctl/gmem.h"

#define ACPI_BASE 0xe0000ull /* gpa of the RSDP, the tables follow it */
#define ACPI_END  0x100000ull

/**
 * acpi_write() - put the tables into guest memory, the RSDP at ACPI_BASE.
 * @vcpus: number of processors; their APIC ids are 0 to @vcpus - 1.
 *
 * Return: 0, or -errno with @err filled when they do not fit.
 */
int acpi_write(const struct gmem *mem, unsigned vcpus, struct error *err);
