#include "vmctl/cpuid.h"

#include <stdbool.h>
#include <stdint.h>

/* Leaf 1 */
#define ECX_VMX		 (1u << 5)
#define ECX_TSC_DEADLINE (1u << 24)
#define ECX_HYPERVISOR	 (1u << 31)
#define EDX_HTT		 (1u << 28)
/* Leaf 0x80000001 */
#define ECX_CMP_LEGACY (1u << 1)
#define ECX_SVM	       (1u << 2)

/* Bits that hold the ids of @count cores. */
static unsigned id_bits(unsigned count)
{
	return count > 1 ? 32 - (unsigned)__builtin_clz(count - 1) : 0;
}

static void set_bit(uint32_t *reg, uint32_t mask, bool on)
{
	*reg = on ? *reg | mask : *reg & ~mask;
}

static void leaf_1(struct kvm_cpuid_entry2 *e, unsigned index, unsigned count)
{
	e->ebx = (e->ebx & 0xffff) | index << 24 | count << 16;
	e->ecx |= ECX_TSC_DEADLINE | ECX_HYPERVISOR;
	e->ecx &= ~ECX_VMX;
	set_bit(&e->edx, EDX_HTT, count > 1);
}

/* Deterministic cache parameters: caches below level 3 are a core's own. */
static void leaf_cache(struct kvm_cpuid_entry2 *e, unsigned count)
{
	unsigned level = e->eax >> 5 & 7, sharing = level >= 3 ? count : 1;

	if (e->eax & 0x1f)
		e->eax = (e->eax & ~(0xfffu << 14)) | (sharing - 1) << 14;
}

static void adapt(struct kvm_cpuid_entry2 *e, unsigned index, unsigned count)
{
	switch (e->function) {
	case 0x1:
		leaf_1(e, index, count);
		break;
	case 0x4:
		leaf_cache(e, count);
		if (e->eax & 0x1f)
			e->eax = (e->eax & ~(0x3fu << 26)) | (count - 1) << 26;
		break;
	case 0xa: /* no performance counters */
		e->eax = e->ebx = e->ecx = e->edx = 0;
		break;
	case 0x80000001:
		e->ecx &= ~ECX_SVM;
		set_bit(&e->ecx, ECX_CMP_LEGACY, count > 1);
		break;
	case 0x80000008: /* AMD: number of cores, bits of their ids */
		e->ecx = id_bits(count) << 12 | (count - 1);
		break;
	case 0x8000001d:
		leaf_cache(e, count);
		break;
	case 0x8000001e: /* AMD: APIC id, core, node */
		e->eax = index;
		e->ebx = index;
		e->ecx = 0;
		break;
	}
}

static bool is_topology(uint32_t function)
{
	return function == 0xb || function == 0x1f;
}

/*
 * Leaf 0xb: level 0 is the one thread of a core, level 1 the cores. Which parts
 * of it KVM lists, if any, differs from version to version.
 */
static void add_topology(struct kvm_cpuid2 *cpuid, unsigned index, unsigned count)
{
	const struct kvm_cpuid_entry2 level[] = {
	    {.ebx = 1, .ecx = 0 | 1 << 8},
	    {.eax = id_bits(count), .ebx = count, .ecx = 1 | 2 << 8},
	    {.ecx = 2},
	};

	for (unsigned i = 0; i < CPUID_EXTRA; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->entries[cpuid->nent++];

		*e = level[i];
		e->function = 0xb;
		e->index = i;
		e->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
		e->edx = index;
	}
}

void cpuid_for_vcpu(struct kvm_cpuid2 *cpuid, unsigned index, unsigned count)
{
	uint32_t highest = 0;
	unsigned kept = 0;

	for (unsigned i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 e = cpuid->entries[i];

		if (e.function == 0)
			highest = e.eax;
		if (is_topology(e.function))
			continue;
		adapt(&e, index, count);
		cpuid->entries[kept++] = e;
	}
	cpuid->nent = kept;
	if (highest >= 0xb)
		add_topology(cpuid, index, count);
}
