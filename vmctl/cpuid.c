#include "vmctl/cpuid.h"

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

static void set_bit(uint32_t *reg, uint32_t mask, int on)
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

	e->eax = (e->eax & ~(0xfffu << 14)) | (sharing - 1) << 14;
}

/* Extended topology: level 0 is the one thread of a core, level 1 the cores. */
static void leaf_topology(struct kvm_cpuid_entry2 *e, unsigned index, unsigned count)
{
	e->eax = e->ebx = 0;
	e->ecx = e->index;
	e->edx = index;
	if (e->index == 0) {
		e->ebx = 1;
		e->ecx |= 1 << 8;
	} else if (e->index == 1) {
		e->eax = id_bits(count);
		e->ebx = count;
		e->ecx |= 2 << 8;
	}
}

static void adapt(struct kvm_cpuid_entry2 *e, unsigned index, unsigned count)
{
	switch (e->function) {
	case 0x1:
		leaf_1(e, index, count);
		break;
	case 0x4:
		leaf_cache(e, count);
		e->eax = (e->eax & ~(0x3fu << 26)) | (count - 1) << 26;
		break;
	case 0xa: /* no performance counters */
		e->eax = e->ebx = e->ecx = e->edx = 0;
		break;
	case 0xb:
	case 0x1f:
		leaf_topology(e, index, count);
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

void cpuid_for_vcpu(struct kvm_cpuid2 *cpuid, unsigned index, unsigned count)
{
	for (unsigned i = 0; i < cpuid->nent; i++)
		adapt(&cpuid->entries[i], index, count);
}
