#include "vmctl/kvm_state.h"

#include "util/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define CPUID_ENTRIES 256
#define MSRS_MAX      4096 /* that a KVM may list */
#define MSR_BATCH     256  /* KVM takes no more in one call */

#define MSR_TSC		 0x10
#define MSR_TSC_DEADLINE 0x6e0

#define TSC_PPM_SAME	 250   /* rates that KVM itself takes for the same */
#define TSC_PPM_MEASURED 30000 /* a kernel measures the rate, better or worse, at boot */

#define LAPIC_LVTT	   0x320 /* Intel SDM vol. 3A, table 10-1 and 10.5.1 */
#define LVTT_MODE_MASK	   (3u << 17)
#define LVTT_MODE_DEADLINE (2u << 17)
#define TSC_ELSEWHERE	   (1ull << 60)

/*
 * One step of reading or setting: an ioctl that has to work.
 *
 * #syscalls:vm ioctl(1==KVM_CHECK_EXTENSION) ioctl(1==KVM_GET_MSR_INDEX_LIST)
 * ioctl(1==KVM_GET_MP_STATE) ioctl(1==KVM_GET_REGS) ioctl(1==KVM_GET_SREGS)
 * ioctl(1==KVM_GET_XSAVE2) ioctl(1==KVM_GET_XSAVE) ioctl(1==KVM_GET_FPU)
 * ioctl(1==KVM_GET_XCRS) ioctl(1==KVM_GET_DEBUGREGS) ioctl(1==KVM_GET_LAPIC)
 * ioctl(1==KVM_GET_CPUID2) ioctl(1==KVM_GET_VCPU_EVENTS) ioctl(1==KVM_GET_MSRS)
 * ioctl(1==KVM_GET_TSC_KHZ) ioctl(1==KVM_GET_IRQCHIP) ioctl(1==KVM_GET_CLOCK)
 * ioctl(1==KVM_SET_MP_STATE) ioctl(1==KVM_SET_REGS) ioctl(1==KVM_SET_SREGS)
 * ioctl(1==KVM_SET_XSAVE) ioctl(1==KVM_SET_FPU) ioctl(1==KVM_SET_XCRS)
 * ioctl(1==KVM_SET_DEBUGREGS) ioctl(1==KVM_SET_LAPIC) ioctl(1==KVM_SET_CPUID2)
 * ioctl(1==KVM_SET_VCPU_EVENTS) ioctl(1==KVM_SET_MSRS) ioctl(1==KVM_SET_TSC_KHZ)
 * ioctl(1==KVM_SET_IRQCHIP) ioctl(1==KVM_SET_CLOCK) ioctl(1==KVM_KVMCLOCK_CTRL)
 */
struct step {
	unsigned long request;
	void *data;
	const char *what;
	bool skip;
};

static int take_steps(int fd, const struct step *steps, size_t count, const char *verb,
		      struct error *err)
{
	for (size_t i = 0; i < count; i++)
		if (!steps[i].skip && ioctl(fd, steps[i].request, steps[i].data) < 0)
			return error_set(err, errno, "KVM does not %s the guest's %s", verb,
					 steps[i].what);
	return 0;
}

#define STEPS(steps) (steps), sizeof(steps) / sizeof((steps)[0])

static bool has(int fd, unsigned long cap)
{
	return ioctl(fd, KVM_CHECK_EXTENSION, cap) > 0;
}

static int no_memory(struct error *err)
{
	return error_say(err, ENOMEM, "no memory for the guest's registers");
}

/* KVM tells and takes these too, but does not list them (Intel SDM vol. 4, table 2-2). */
static const struct {
	uint32_t first, count;
} mtrrs[] = {
    {0x200, 16},			 /* IA32_MTRR_PHYSBASE0 to PHYSMASK7 */
    {0x250, 1},				 /* the fixed ranges */
    {0x258, 2},	 {0x268, 8}, {0x2ff, 1}, /* IA32_MTRR_DEF_TYPE */
};

/* Add those that this KVM tells to the list. */
static void list_mtrrs(struct kvm_msr_list *list, int vcpu_fd)
{
	struct kvm_msrs *one = calloc(1, sizeof(*one) + sizeof(one->entries[0]));

	for (size_t i = 0; one && i < sizeof(mtrrs) / sizeof(mtrrs[0]); i++) {
		for (uint32_t k = 0; k < mtrrs[i].count; k++) {
			one->nmsrs = 1;
			one->entries[0].index = mtrrs[i].first + k;
			if (ioctl(vcpu_fd, KVM_GET_MSRS, one) == 1)
				list->indices[list->nmsrs++] = mtrrs[i].first + k;
		}
	}
	free(one);
}

/* The MSRs that are to be saved, as entries without values. */
static int list_msrs(struct kvm_state *state, struct kvm_vcpu_state *vcpu, int dev_fd,
		     int vcpu_fd, struct error *err)
{
	size_t size = sizeof(struct kvm_msr_list) + (MSRS_MAX + 64) * sizeof(uint32_t);
	cleanup_free struct kvm_msr_list *list = calloc(1, size);

	if (!list)
		return no_memory(err);
	list->nmsrs = MSRS_MAX;
	if (ioctl(dev_fd, KVM_GET_MSR_INDEX_LIST, list) < 0)
		return error_set(err, errno, "KVM does not list its MSRs");
	list_mtrrs(list, vcpu_fd);
	vcpu->msrs = calloc(list->nmsrs + 1, sizeof(*vcpu->msrs));
	if (!vcpu->msrs)
		return no_memory(err);
	for (uint32_t i = 0; i < list->nmsrs; i++)
		vcpu->msrs[i].index = list->indices[i];
	state->msr_count = list->nmsrs;
	return 0;
}

/* Read or set MSRs, at most MSR_BATCH in a call. */
static int transfer_msrs(int fd, unsigned long request, struct kvm_msr_entry *entries,
			 uint32_t count, struct error *err)
{
	size_t size = sizeof(struct kvm_msrs) + MSR_BATCH * sizeof(*entries);
	cleanup_free struct kvm_msrs *msrs = calloc(1, size);
	const char *verb = request == KVM_GET_MSRS ? "tell" : "take";

	if (!msrs)
		return no_memory(err);
	for (uint32_t at = 0; at < count;) {
		uint32_t n = count - at < MSR_BATCH ? count - at : MSR_BATCH;
		int done;

		msrs->nmsrs = n;
		memcpy(msrs->entries, entries + at, n * sizeof(*entries));
		done = ioctl(fd, request, msrs);
		if (done < 0)
			return error_set(err, errno, "KVM does not %s the guest's MSRs",
					 verb);
		memcpy(entries + at, msrs->entries, n * sizeof(*entries));
		if ((uint32_t)done < n)
			return error_say(err, EIO, "KVM does not %s the guest's MSR 0x%x",
					 verb, entries[at + (uint32_t)done].index);
		at += n;
	}
	return 0;
}

static struct kvm_msr_entry *find_msr(const struct kvm_state *state,
				      const struct kvm_vcpu_state *vcpu, uint32_t index)
{
	for (uint32_t i = 0; i < state->msr_count; i++)
		if (vcpu->msrs[i].index == index)
			return &vcpu->msrs[i];
	return NULL;
}

static bool in_deadline_mode(const struct kvm_vcpu_state *vcpu)
{
	uint32_t lvtt;

	memcpy(&lvtt, vcpu->lapic.regs + LAPIC_LVTT, sizeof(lvtt));
	return (lvtt & LVTT_MODE_MASK) == LVTT_MODE_DEADLINE;
}

/*
 * A timer that KVM has seen expire, but not yet made an interrupt of, reads as
 * none. A deadline that has passed makes up for it; at worst that is an interrupt
 * too many.
 */
static void mend_deadline(const struct kvm_state *state, struct kvm_vcpu_state *vcpu)
{
	struct kvm_msr_entry *deadline = find_msr(state, vcpu, MSR_TSC_DEADLINE);
	const struct kvm_msr_entry *tsc = find_msr(state, vcpu, MSR_TSC);

	if (state->has_irqchip && deadline && tsc && !deadline->data &&
	    in_deadline_mode(vcpu))
		deadline->data = tsc->data;
}

static int get_vcpu(struct kvm_state *state, struct kvm_vcpu_state *vcpu, int fd,
		    struct error *err)
{
	unsigned long get_xsave = state->has_xsave2 ? KVM_GET_XSAVE2 : KVM_GET_XSAVE;
	struct kvm_vcpu_events *events = &vcpu->events;
	const struct step first[] = {
	    {KVM_GET_MP_STATE, &vcpu->mp, "vCPU's mode", !state->has_irqchip},
	    {KVM_GET_REGS, &vcpu->regs, "registers", false},
	    {KVM_GET_SREGS, &vcpu->sregs, "system registers", false},
	    {get_xsave, vcpu->xsave, "vector registers", !state->xsave_size},
	    {KVM_GET_FPU, &vcpu->fpu, "FPU", state->xsave_size},
	    {KVM_GET_XCRS, &vcpu->xcrs, "XCRs", !state->has_xcrs},
	    {KVM_GET_DEBUGREGS, &vcpu->debugregs, "debug registers", !state->has_debugregs},
	    {KVM_GET_LAPIC, &vcpu->lapic, "local APIC", !state->has_irqchip},
	    {KVM_GET_CPUID2, vcpu->cpuid, "CPUID", false},
	};
	const struct step last[] = {{KVM_GET_VCPU_EVENTS, events, "events", false}};
	int r;

	vcpu->cpuid->nent = CPUID_ENTRIES;
	r = take_steps(fd, STEPS(first), "tell", err);
	if (!r)
		r = transfer_msrs(fd, KVM_GET_MSRS, vcpu->msrs, state->msr_count, err);
	if (!r)
		r = take_steps(fd, STEPS(last), "tell", err);
	if (!r)
		mend_deadline(state, vcpu);
	return r;
}

static void free_vcpu(struct kvm_vcpu_state *vcpu)
{
	free(vcpu->cpuid);
	free(vcpu->xsave);
	free(vcpu->msrs);
	vcpu->cpuid = NULL;
	vcpu->xsave = NULL;
	vcpu->msrs = NULL;
}

static int make_vcpu_room(struct kvm_state *state, struct kvm_vcpu_state *vcpu, int dev_fd,
			  int vcpu_fd, struct error *err)
{
	vcpu->cpuid =
	    calloc(1, sizeof(*vcpu->cpuid) + CPUID_ENTRIES * sizeof(*vcpu->cpuid->entries));
	if (state->xsave_size)
		vcpu->xsave = calloc(1, state->xsave_size);
	if (!vcpu->cpuid || (state->xsave_size && !vcpu->xsave))
		return no_memory(err);
	return list_msrs(state, vcpu, dev_fd, vcpu_fd, err);
}

/* The first reading of a VM makes room for this one and all others. */
static int make_room(struct kvm_state *state, int dev_fd, const int *fds, unsigned count,
		     struct error *err)
{
	while (state->vcpu_count < count) {
		struct kvm_vcpu_state *vcpu = &state->vcpu[state->vcpu_count];
		int r = make_vcpu_room(state, vcpu, dev_fd, fds[state->vcpu_count], err);

		if (r < 0) {
			free_vcpu(vcpu);
			return r;
		}
		state->vcpu_count++;
	}
	return 0;
}

/* Return: the rate of a vCPU's TSC, or 0 when KVM does not tell. */
static uint32_t tsc_rate(int fd)
{
	int khz = ioctl(fd, KVM_GET_TSC_KHZ, 0);

	return khz > 0 ? (uint32_t)khz : 0;
}

static void probe(struct kvm_state *state, int vm_fd)
{
	int size = ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
	struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};

	state->has_xsave2 = size >= (int)sizeof(struct kvm_xsave);
	if (state->has_xsave2)
		state->xsave_size = (size_t)size;
	else if (has(vm_fd, KVM_CAP_XSAVE))
		state->xsave_size = sizeof(struct kvm_xsave);
	state->has_xcrs = has(vm_fd, KVM_CAP_XCRS);
	state->has_debugregs = has(vm_fd, KVM_CAP_DEBUGREGS);
	state->has_clock = has(vm_fd, KVM_CAP_ADJUST_CLOCK);
	/* A VM has all three controllers or none of them, and no local APICs. */
	state->has_irqchip = ioctl(vm_fd, KVM_GET_IRQCHIP, &chip) == 0;
}

bool kvm_state_fits(const struct kvm_state *state, int vm_fd)
{
	struct kvm_state here = {0};

	probe(&here, vm_fd);
	return here.xsave_size == state->xsave_size &&
	       here.has_xsave2 == state->has_xsave2 && here.has_xcrs == state->has_xcrs &&
	       here.has_debugregs == state->has_debugregs &&
	       here.has_irqchip == state->has_irqchip && here.has_clock == state->has_clock;
}

int kvm_state_get(struct kvm_state *state, int dev_fd, int vm_fd, const int *fds,
		  unsigned count, struct error *err)
{
	int r;

	if (count > KVM_STATE_VCPUS_MAX)
		return error_say(err, EINVAL, "a guest has at most %d vCPUs",
				 KVM_STATE_VCPUS_MAX);
	if (!state->vcpu_count)
		probe(state, vm_fd);
	r = make_room(state, dev_fd, fds, count, err);
	state->tsc_khz = r < 0 || !count ? 0 : tsc_rate(fds[0]);
	for (unsigned i = 0; i < count && !r; i++)
		r = get_vcpu(state, &state->vcpu[i], fds[i], err);
	if (!r && state->has_clock && ioctl(vm_fd, KVM_GET_CLOCK, &state->clock) < 0)
		r = error_set(err, errno, "KVM does not tell the guest's clock");
	for (unsigned i = 0; i < KVM_STATE_CHIPS && !r && state->has_irqchip; i++) {
		state->chip[i].chip_id = i;
		if (ioctl(vm_fd, KVM_GET_IRQCHIP, &state->chip[i]) < 0)
			r = error_set(err, errno,
				      "KVM does not tell interrupt controller %u", i);
	}
	return r;
}

/*
 * All MSRs in one call, since loading a vCPU costs more than setting an MSR. KVM takes
 * a TSC that is within a second of the one it set before for an attempt to set both
 * alike, and for the first vCPU that would be the one of a new VM, which is 0. Going
 * elsewhere first makes the value count. The APIC's deadline comes again at the end,
 * when the TSC is what it should be.
 */
static int set_msrs(const struct kvm_state *state, const struct kvm_vcpu_state *vcpu,
		    int fd, struct error *err)
{
	size_t size = sizeof(struct kvm_msr_entry), count = state->msr_count;
	cleanup_free struct kvm_msr_entry *entries = calloc(count + 2, size);
	const struct kvm_msr_entry *deadline = find_msr(state, vcpu, MSR_TSC_DEADLINE);
	struct kvm_msr_entry *at = entries;

	if (!entries)
		return no_memory(err);
	if (vcpu == &state->vcpu[0] && find_msr(state, vcpu, MSR_TSC))
		*at++ = (struct kvm_msr_entry){.index = MSR_TSC, .data = TSC_ELSEWHERE};
	memcpy(at, vcpu->msrs, count * size);
	at += count;
	if (deadline)
		*at++ = *deadline;
	return transfer_msrs(fd, KVM_SET_MSRS, entries, (uint32_t)(at - entries), err);
}

static int set_vcpu(const struct kvm_state *state, const struct kvm_vcpu_state *saved,
		    int fd, struct error *err)
{
	struct kvm_vcpu_state copy = *saved, *vcpu = &copy;
	const struct step first[] = {
	    {KVM_SET_CPUID2, vcpu->cpuid, "CPUID", false},
	    {KVM_SET_MP_STATE, &vcpu->mp, "vCPU's mode", !state->has_irqchip},
	    {KVM_SET_REGS, &vcpu->regs, "registers", false},
	    {KVM_SET_SREGS, &vcpu->sregs, "system registers", false},
	    {KVM_SET_XCRS, &vcpu->xcrs, "XCRs", !state->has_xcrs},
	    {KVM_SET_XSAVE, vcpu->xsave, "vector registers", !state->xsave_size},
	    {KVM_SET_FPU, &vcpu->fpu, "FPU", state->xsave_size},
	    {KVM_SET_DEBUGREGS, &vcpu->debugregs, "debug registers", !state->has_debugregs},
	    {KVM_SET_LAPIC, &vcpu->lapic, "local APIC", !state->has_irqchip},
	};
	const struct step last[] = {{KVM_SET_VCPU_EVENTS, &vcpu->events, "events", false}};
	int r = take_steps(fd, STEPS(first), "take", err);

	if (!r)
		r = set_msrs(state, saved, fd, err);
	if (!r)
		r = take_steps(fd, STEPS(last), "take", err);
	/* For a guest's watchdogs; it fails for one that does not use KVM's clock. */
	if (!r && ioctl(fd, KVM_KVMCLOCK_CTRL, 0) < 0 && errno != EINVAL && errno != ENOTTY)
		r = error_set(err, errno, "KVM does not stop the guest's clock");
	return r;
}

static bool differ(uint64_t a, uint64_t b, unsigned ppm)
{
	return (a > b ? a - b : b - a) * 1000000 > b * ppm;
}

/* Before the TSCs themselves. Without the means KVM would take a higher rate as well, and
 * have the guest's clocks jump after it. */
static int set_tsc_rate(const struct kvm_state *state, int vm_fd, const int *fds,
			struct error *err)
{
	uint32_t here = state->tsc_khz ? tsc_rate(fds[0]) : 0;

	if (!here || !differ(here, state->tsc_khz, TSC_PPM_SAME))
		return 0;
	if (!has(vm_fd, KVM_CAP_TSC_CONTROL))
		return !differ(here, state->tsc_khz, TSC_PPM_MEASURED)
			   ? 0
			   : error_say(
				 err, ENOTSUP,
				 "the clock of the guest's CPUs ran at %u kHz, that of "
				 "this host's runs at %u, and cannot be scaled",
				 state->tsc_khz, here);
	for (unsigned i = 0; i < state->vcpu_count; i++)
		if (ioctl(fds[i], KVM_SET_TSC_KHZ, (unsigned long)state->tsc_khz) < 0)
			return error_set(err, errno, "KVM does not take a TSC of %u kHz",
					 state->tsc_khz);
	return 0;
}

int kvm_state_set(const struct kvm_state *state, int vm_fd, const int *fds,
		  struct error *err)
{
	struct kvm_clock_data clock = {.clock = state->clock.clock};
	int r = set_tsc_rate(state, vm_fd, fds, err);

	for (unsigned i = 0; i < state->vcpu_count && !r; i++)
		r = set_vcpu(state, &state->vcpu[i], fds[i], err);
	for (unsigned i = 0; i < KVM_STATE_CHIPS && !r && state->has_irqchip; i++) {
		struct kvm_irqchip chip = state->chip[i];

		if (ioctl(vm_fd, KVM_SET_IRQCHIP, &chip) < 0)
			r = error_set(err, errno,
				      "KVM does not take interrupt controller %u", i);
	}
	if (!r && state->has_clock && ioctl(vm_fd, KVM_SET_CLOCK, &clock) < 0)
		r = error_set(err, errno, "KVM does not take the guest's clock");
	return r;
}

void kvm_state_fini(struct kvm_state *state)
{
	for (unsigned i = 0; i < KVM_STATE_VCPUS_MAX; i++)
		free_vcpu(&state->vcpu[i]);
	*state = (struct kvm_state){0};
}
