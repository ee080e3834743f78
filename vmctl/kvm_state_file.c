/*
 * The state that KVM keeps of a VM as bytes: the kernel's structures as they are, since
 * they are of use to the same kind of host only.
 */
#include "vmctl/kvm_state.h"

#include "wire/cursor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CPUID_ENTRIES 256 /* at most */
#define MSRS_MAX      8192
#define XSAVE_MAX     (64u << 10)

enum { HAS_XSAVE2 = 1, HAS_XCRS = 2, HAS_DEBUGREGS = 4, HAS_IRQCHIP = 8, HAS_CLOCK = 16 };

static uint32_t flags_of(const struct kvm_state *state)
{
	return (state->has_xsave2 ? HAS_XSAVE2 : 0u) | (state->has_xcrs ? HAS_XCRS : 0u) |
	       (state->has_debugregs ? HAS_DEBUGREGS : 0u) |
	       (state->has_irqchip ? HAS_IRQCHIP : 0u) |
	       (state->has_clock ? HAS_CLOCK : 0u);
}

static size_t cpuid_bytes(const struct kvm_vcpu_state *vcpu)
{
	return sizeof(*vcpu->cpuid) + vcpu->cpuid->nent * sizeof(*vcpu->cpuid->entries);
}

static void save_vcpu(const struct kvm_state *state, const struct kvm_vcpu_state *vcpu,
		      struct cursor *c)
{
	cursor_put_raw(c, &vcpu->mp, sizeof(vcpu->mp));
	cursor_put_raw(c, &vcpu->regs, sizeof(vcpu->regs));
	cursor_put_raw(c, &vcpu->sregs, sizeof(vcpu->sregs));
	cursor_put_raw(c, &vcpu->fpu, sizeof(vcpu->fpu));
	cursor_put_raw(c, &vcpu->xcrs, sizeof(vcpu->xcrs));
	cursor_put_raw(c, &vcpu->debugregs, sizeof(vcpu->debugregs));
	cursor_put_raw(c, &vcpu->lapic, sizeof(vcpu->lapic));
	cursor_put_raw(c, &vcpu->events, sizeof(vcpu->events));
	if (state->xsave_size)
		cursor_put_raw(c, vcpu->xsave, state->xsave_size);
	cursor_put_u32(c, (uint32_t)vcpu->cpuid->nent);
	cursor_put_raw(c, vcpu->cpuid, cpuid_bytes(vcpu));
	cursor_put_raw(c, vcpu->msrs, state->msr_count * sizeof(*vcpu->msrs));
}

size_t kvm_state_save(const struct kvm_state *state, void *to, size_t room)
{
	struct cursor c = cursor_into(to, room);

	cursor_put_u32(&c, state->vcpu_count);
	cursor_put_u32(&c, (uint32_t)state->xsave_size);
	cursor_put_u32(&c, state->msr_count);
	cursor_put_u32(&c, flags_of(state));
	cursor_put_u32(&c, state->tsc_khz);
	cursor_put_raw(&c, &state->clock, sizeof(state->clock));
	cursor_put_raw(&c, state->chip, sizeof(state->chip));
	for (unsigned i = 0; i < state->vcpu_count; i++)
		save_vcpu(state, &state->vcpu[i], &c);
	return c.overflow ? 0 : room - cursor_left(&c);
}

static void get_struct(struct cursor *c, void *to, size_t len)
{
	const void *from = cursor_get_raw(c, len);

	if (from)
		memcpy(to, from, len);
}

/* Return: a copy of the next @len bytes to free(), or NULL. */
static void *get_copy(struct cursor *c, size_t len)
{
	const void *from = cursor_get_raw(c, len);
	void *copy = from ? malloc(len) : NULL;

	if (copy)
		memcpy(copy, from, len);
	return copy;
}

static bool load_vcpu(const struct kvm_state *state, struct kvm_vcpu_state *vcpu,
		      struct cursor *c)
{
	uint32_t entries;

	get_struct(c, &vcpu->mp, sizeof(vcpu->mp));
	get_struct(c, &vcpu->regs, sizeof(vcpu->regs));
	get_struct(c, &vcpu->sregs, sizeof(vcpu->sregs));
	get_struct(c, &vcpu->fpu, sizeof(vcpu->fpu));
	get_struct(c, &vcpu->xcrs, sizeof(vcpu->xcrs));
	get_struct(c, &vcpu->debugregs, sizeof(vcpu->debugregs));
	get_struct(c, &vcpu->lapic, sizeof(vcpu->lapic));
	get_struct(c, &vcpu->events, sizeof(vcpu->events));
	if (state->xsave_size)
		vcpu->xsave = get_copy(c, state->xsave_size);
	entries = cursor_get_u32(c);
	if (c->overflow || entries > CPUID_ENTRIES)
		return false;
	vcpu->cpuid =
	    get_copy(c, sizeof(*vcpu->cpuid) + entries * sizeof(*vcpu->cpuid->entries));
	vcpu->msrs = get_copy(c, state->msr_count * sizeof(*vcpu->msrs));
	return vcpu->cpuid && vcpu->cpuid->nent == entries && vcpu->msrs &&
	       !state->xsave_size == !vcpu->xsave;
}

int kvm_state_load(struct kvm_state *state, const void *from, size_t len)
{
	struct cursor c = cursor_over(from, len);
	uint32_t vcpus = cursor_get_u32(&c), flags;
	bool good = true;

	*state = (struct kvm_state){0};
	state->xsave_size = cursor_get_u32(&c);
	state->msr_count = cursor_get_u32(&c);
	flags = cursor_get_u32(&c);
	state->tsc_khz = cursor_get_u32(&c);
	state->has_xsave2 = flags & HAS_XSAVE2;
	state->has_xcrs = flags & HAS_XCRS;
	state->has_debugregs = flags & HAS_DEBUGREGS;
	state->has_irqchip = flags & HAS_IRQCHIP;
	state->has_clock = flags & HAS_CLOCK;
	get_struct(&c, &state->clock, sizeof(state->clock));
	get_struct(&c, state->chip, sizeof(state->chip));
	if (c.overflow || !vcpus || vcpus > KVM_STATE_VCPUS_MAX ||
	    state->xsave_size > XSAVE_MAX || state->msr_count > MSRS_MAX)
		return -EBADMSG;
	for (unsigned i = 0; i < vcpus && good; i++) {
		state->vcpu_count++;
		good = load_vcpu(state, &state->vcpu[i], &c);
	}
	return good && cursor_done(&c) ? 0 : -EBADMSG;
}
