/*
 * The state that KVM keeps of a VM, as plain data: read from one VM and set into
 * another one over the same memory (Linux, Documentation/virt/kvm/api.rst).
 *
 * Theory of operation
 *
 * The order of the calls is a part of the interface. When reading, MP_STATE comes
 * first, since asking for it lets KVM take pending INITs, and VCPU_EVENTS last.
 * When setting, CPUID decides which registers and MSRs exist; SREGS enables the
 * local APIC, whose registers follow; the APIC's timer mode decides what becomes
 * of IA32_TSC_DEADLINE; setting REGS drops a pending exception, so VCPU_EVENTS
 * are last. The interrupt controllers follow the vCPUs, whose APICs they may
 * interrupt at once.
 *
 * Time stands still for the guest between reading and setting: both its TSC and
 * the clock of KVM go on from what they were. The TSC goes on at the rate that it had,
 * which a kernel measures once: KVM scales that of another host's CPUs, where they can
 * do that, and a host where they cannot does not get the VM.
 *
 * Nothing here is fit for another host or another KVM.
 */
#pragma once

#include "util/error.h"

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KVM_STATE_VCPUS_MAX 8
#define KVM_STATE_CHIPS	    3 /* two 8259s and the IOAPIC */

struct kvm_vcpu_state {
	struct kvm_mp_state mp;
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_fpu fpu;	 /* of a KVM that knows no XSAVE */
	struct kvm_xsave *xsave; /* state->xsave_size bytes, or NULL */
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debugregs;
	struct kvm_lapic_state lapic;
	struct kvm_cpuid2 *cpuid;
	struct kvm_msr_entry *msrs; /* state->msr_count of them */
	struct kvm_vcpu_events events;
};

struct kvm_state {
	unsigned vcpu_count;
	struct kvm_vcpu_state vcpu[KVM_STATE_VCPUS_MAX];
	struct kvm_clock_data clock;
	uint32_t tsc_khz; /* 0: KVM does not tell */
	struct kvm_irqchip chip[KVM_STATE_CHIPS];

	/* What this KVM can tell; fixed by the first reading. */
	size_t xsave_size;
	bool has_xsave2, has_xcrs, has_debugregs, has_irqchip, has_clock;
	uint32_t msr_count;
};

/**
 * kvm_state_get() - read the state of a VM none of whose vCPUs runs.
 * @state: zeroed, or filled by an earlier call for the same VM.
 * @fds:   descriptors of the vCPUs, in order of their index.
 *
 * Return: 0 or -errno with @err filled; either way kvm_state_fini() is due.
 */
int kvm_state_get(struct kvm_state *state, int dev_fd, int vm_fd, const int *fds,
		  unsigned count, struct error *err);

/**
 * kvm_state_set() - set the state into a new VM with as many new vCPUs.
 * Return: 0, or -errno with @err filled, -ENOTSUP when the TSC has another rate here;
 *         then the VM is of no use.
 */
int kvm_state_set(const struct kvm_state *state, int vm_fd, const int *fds,
		  struct error *err);

#define KVM_STATE_BYTES_MAX (4u << 20)

/** kvm_state_save() - as bytes. Return: how many, or 0 when they are more than @room. */
size_t kvm_state_save(const struct kvm_state *state, void *to, size_t room);

/**
 * kvm_state_load() - from bytes.
 * Return: 0, or -EBADMSG when they are no state; either way kvm_state_fini() is due.
 */
int kvm_state_load(struct kvm_state *state, const void *from, size_t len);

/** kvm_state_fits() - whether the KVM of a VM is of the kind that the state is of. */
bool kvm_state_fits(const struct kvm_state *state, int vm_fd);

/** kvm_state_fini() - free what the state holds. */
void kvm_state_fini(struct kvm_state *state);
