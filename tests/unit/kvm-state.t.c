/*
 * The state that KVM keeps of a VM survives being set into another one. The guest's two
 * vCPUs count in 32-bit protected mode, without paging, and write a vector register to
 * memory: all that a software KVM can emulate, too.
 */
#include "vmctl/kvm_state.h"

#include "tests/unit/tap.h"
#include "vmctl/kvm.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MEMORY (64ull << 20)
#define CODE   0x1000
#define COUNT  0x2000 /* where the first vCPU keeps its counter, and 16 on a vector */
#define APART  0x100  /* from there to the next vCPU's */
#define PORT   0x10
#define VCPUS  2

#define XMM3	      208 /* in an XSAVE area: Intel SDM vol. 1, table 10-2 */
#define XSTATE_BV     512 /* there: 13.4.2 */
#define XSTATE_FP_SSE 3
#define CR4_SSE	      0x600

static const uint8_t guest_code[] = {
    0x41,			  /* 1: inc ecx */
    0x89, 0x0e,			  /* mov [esi], ecx */
    0xf3, 0x0f, 0x7f, 0x5e, 0x10, /* movdqu [esi + 16], xmm3 */
    0xe6, PORT,			  /* out PORT, al */
    0xeb, 0xf4,			  /* jmp 1b */
};

struct guest {
	struct gmem mem;
	struct kvm_vm kvm;
	struct kvm_run *run[VCPUS];
	int fd[VCPUS];
};

static struct kvm_segment flat(uint16_t selector, uint8_t type)
{
	return (struct kvm_segment){
	    .limit = UINT32_MAX,
	    .selector = selector,
	    .type = type,
	    .present = 1,
	    .db = 1,
	    .s = 1,
	    .g = 1,
	};
}

/* What the vector register of a vCPU holds: no two bytes of it are the same. */
static void fill(uint8_t vector[16], unsigned index)
{
	for (unsigned i = 0; i < 16; i++)
		vector[i] = (uint8_t)(16 * (index + 1) + i);
}

static bool set_vector(int fd, unsigned index)
{
	static uint8_t xsave[16384]; /* more than any KVM takes */

	if (ioctl(fd, KVM_GET_XSAVE, xsave) < 0)
		return false;
	fill(xsave + XMM3, index);
	xsave[XSTATE_BV] |= XSTATE_FP_SSE;
	return ioctl(fd, KVM_SET_XSAVE, xsave) == 0;
}

static bool enter(int fd, unsigned index)
{
	struct kvm_mp_state mp = {.mp_state = KVM_MP_STATE_RUNNABLE};
	struct kvm_regs regs = {
	    .rip = CODE,
	    .rflags = 2,
	    .rdx = 0x1234567,
	    .rsi = COUNT + index * APART,
	};
	struct kvm_sregs sregs;

	if (ioctl(fd, KVM_GET_SREGS, &sregs) < 0 || ioctl(fd, KVM_SET_MP_STATE, &mp) < 0)
		return false;
	sregs.cs = flat(8, 11);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat(16, 3);
	sregs.cr0 |= 1;
	sregs.cr4 |= CR4_SSE;
	return ioctl(fd, KVM_SET_SREGS, &sregs) == 0 && set_vector(fd, index) &&
	       ioctl(fd, KVM_SET_REGS, &regs) == 0;
}

static bool boot(struct guest *g, struct error *err)
{
	if (gmem_init(&g->mem, MEMORY, err) < 0 || kvm_vm_init(&g->kvm, &g->mem, err) < 0)
		return false;
	gmem_write(&g->mem, CODE, guest_code, sizeof(guest_code));
	for (unsigned i = 0; i < VCPUS; i++) {
		g->fd[i] = kvm_vcpu_init(&g->kvm, i, VCPUS, &g->run[i], err);
		if (g->fd[i] < 0)
			return false;
		if (!enter(g->fd[i], i))
			return error_set(err, errno, "cannot enter the guest") == 0;
	}
	return true;
}

/* A second VM over the same memory, which gets @state. */
static bool revive(struct guest *g, const struct guest *from, const struct kvm_state *state,
		   struct error *err)
{
	g->mem = from->mem;
	if (kvm_vm_init(&g->kvm, &g->mem, err) < 0)
		return false;
	for (unsigned i = 0; i < VCPUS; i++) {
		g->fd[i] = kvm_vcpu_make(&g->kvm, i, &g->run[i], err);
		if (g->fd[i] < 0)
			return false;
	}
	return kvm_state_set(state, g->kvm.vm_fd, g->fd, err) == 0;
}

static int get(struct kvm_state *state, const struct guest *g, struct error *err)
{
	return kvm_state_get(state, g->kvm.dev_fd, g->kvm.vm_fd, g->fd, VCPUS, err);
}

static void drop(struct guest *g)
{
	for (unsigned i = 0; i < VCPUS; i++) {
		munmap(g->run[i], g->kvm.run_size);
		close(g->fd[i]);
	}
	kvm_vm_abandon(&g->kvm);
	close(g->kvm.dev_fd);
}

static bool count_on(int fd, struct kvm_run *run, int rounds)
{
	if (!run)
		return false;
	while (rounds--) {
		if (ioctl(fd, KVM_RUN, 0) < 0 || run->exit_reason != KVM_EXIT_IO)
			return false;
	}
	run->immediate_exit = 1;
	ioctl(fd, KVM_RUN, 0);
	run->immediate_exit = 0;
	return true;
}

/* Go round the guest's loop, and complete the last access to the port. The second
 * vCPU goes twice as often. */
static bool count(struct guest *g, int rounds)
{
	return count_on(g->fd[0], g->run[0], rounds) &&
	       count_on(g->fd[1], g->run[1], 2 * rounds);
}

/*
 * Whether each vCPU has counted to what it should, and has written its vector, which is
 * wiped here for the next time.
 */
static bool has_counted(const struct guest *g, uint32_t rounds)
{
	for (unsigned i = 0; i < VCPUS; i++) {
		uint8_t *at = gmem_ptr(&g->mem, COUNT + i * APART, 32), want[16];
		uint32_t value;

		fill(want, i);
		memcpy(&value, at, sizeof(value));
		if (value != rounds * (i + 1) || memcmp(at + 16, want, sizeof(want)) != 0)
			return false;
		memset(at + 16, 0, sizeof(want));
	}
	return true;
}

static void check_vector(const struct kvm_state *state, unsigned index)
{
	uint8_t want[16];

	fill(want, index);
	if (state->xsave_size)
		is_mem((const uint8_t *)state->vcpu[index].xsave + XMM3, want, sizeof(want),
		       "a vector register of vCPU %u is there", index);
}

/* MSRs that go on counting, or that tell of the clock. */
static bool is_clock(uint32_t msr)
{
	return msr == 0x10 || msr == 0x6e0 || msr == 0x11 || msr == 0x4b564d00 ||
	       msr == 0xe7 || msr == 0xe8 || msr == 0x40000020 || msr == 0x40000010;
}

static void compare_msrs(const struct kvm_state *a, const struct kvm_state *b, unsigned i)
{
	unsigned differ = 0;

	for (uint32_t k = 0; k < a->msr_count; k++) {
		const struct kvm_msr_entry *x = &a->vcpu[i].msrs[k];
		const struct kvm_msr_entry *y = &b->vcpu[i].msrs[k];

		if (is_clock(x->index) || (x->index == y->index && x->data == y->data))
			continue;
		differ++;
		diag("MSR 0x%x was 0x%llx, is 0x%llx", x->index,
		     (unsigned long long)x->data, (unsigned long long)y->data);
	}
	is_int(differ, 0, "all %u MSRs but clocks are the same", a->msr_count);
}

#define same(a, b, field, name)                                                            \
	is_mem(&(b)->field, &(a)->field, sizeof((a)->field), name " are the same")

static void compare_vcpu(const struct kvm_state *a, const struct kvm_state *b, unsigned i)
{
	const struct kvm_vcpu_state *x = &a->vcpu[i], *y = &b->vcpu[i];

	same(x, y, regs, "registers");
	same(x, y, sregs, "system registers");
	same(x, y, xcrs, "XCRs");
	same(x, y, debugregs, "debug registers");
	same(x, y, mp, "modes");
	same(x, y, lapic, "local APICs");
	same(x, y, events, "events");
	if (a->xsave_size)
		is_mem(y->xsave, x->xsave, a->xsave_size, "vector registers are the same");
	is_int(y->cpuid->nent, x->cpuid->nent, "as many CPUID leaves");
	is_mem(y->cpuid->entries, x->cpuid->entries,
	       x->cpuid->nent * sizeof(x->cpuid->entries[0]), "which are the same");
	compare_msrs(a, b, i);
}

static void compare(const struct kvm_state *a, const struct kvm_state *b)
{
	is_int(b->vcpu_count, VCPUS, "two vCPUs");
	for (unsigned i = 0; i < VCPUS; i++)
		compare_vcpu(a, b, i);
	for (unsigned i = 0; i < KVM_STATE_CHIPS && a->has_irqchip; i++)
		is_mem(&b->chip[i], &a->chip[i], sizeof(a->chip[i]),
		       "interrupt controller %u is the same", i);
	ok(b->clock.clock >= a->clock.clock, "the clock does not go back");
}

static void fork_once(const struct guest *g)
{
	struct kvm_state state = {0};
	int status = -1;
	pid_t pid;

	if (get(&state, g, NULL) < 0)
		return;
	pid = fork();
	if (pid == 0) {
		struct guest child = {0};

		for (unsigned i = 0; i < VCPUS; i++)
			close(g->fd[i]);
		close(g->kvm.vm_fd);
		_exit(!revive(&child, g, &state, NULL) || !count(&child, 1) ||
		      !has_counted(&child, (uint32_t)state.vcpu[0].regs.rcx + 1));
	}
	waitpid(pid, &status, 0);
	is_int(status, 0, "a child process counts on in a VM of its own");
	kvm_state_fini(&state);
}

/* A host whose TSC runs at another rate either scales it or does not get the guest. */
static void check_rate(const struct guest *from, struct kvm_state *state, uint32_t khz,
		       bool near, const char *how)
{
	uint32_t known = state->tsc_khz;
	struct kvm_state again = {0};
	struct guest other = {0};
	struct error err = {0};
	bool revived,
	    scales = ioctl(from->kvm.vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL) > 0;

	state->tsc_khz = khz;
	revived = revive(&other, from, state, &err);
	if (near || scales) {
		ok(revived, "a rate that is %s: %s", how, err.text);
		ok(get(&again, &other, NULL) == 0 && again.tsc_khz == (near ? known : khz),
		   "is what it has then");
	} else {
		ok(!revived && err.code == -ENOTSUP, "a rate that is %s is refused", how);
		ok(strstr(err.text, "kHz"), "because of it: %s", err.text);
	}
	state->tsc_khz = known;
	kvm_state_fini(&again);
	drop(&other);
}

static void check_rates(const struct guest *from, struct kvm_state *state)
{
	if (!state->tsc_khz) {
		skip(1, "KVM does not tell the rate of the TSC");
		return;
	}
	check_rate(from, state, state->tsc_khz + state->tsc_khz / 10000, true,
		   "about the same");
	check_rate(from, state, state->tsc_khz - state->tsc_khz / 3, false, "lower");
	check_rate(from, state, state->tsc_khz + state->tsc_khz / 3, false, "higher");
}

int main(void)
{
	struct kvm_state before = {0}, after = {0};
	struct guest first = {0}, second = {0};
	struct error err = {0};

	if (access("/dev/kvm", R_OK | W_OK) < 0) {
		skip(1, "no /dev/kvm");
		return done_testing();
	}
	ok(boot(&first, &err) && count(&first, 5), "a flat guest counts: %s", err.text);
	ok(has_counted(&first, 5), "five rounds, ten of the second vCPU");
	is_int(get(&before, &first, &err), 0, "its state can be read: %s", err.text);
	is_int(before.vcpu[1].regs.rcx, 10, "the count is in its register");
	check_vector(&before, 0);
	check_vector(&before, 1);
	if (!ok(revive(&second, &first, &before, &err), "and set into a new VM: %s",
		err.text))
		return done_testing();
	is_int(get(&after, &second, &err), 0, "and be read again: %s", err.text);
	compare(&before, &after);
	ok(count(&second, 3), "the new VM runs");
	ok(has_counted(&second, 8), "its vCPUs count on, with the vectors they had");
	drop(&second);
	check_rates(&first, &before);
	fork_once(&first);
	fork_once(&first);
	ok(count(&first, 1) && has_counted(&first, 6), "the parent runs on");
	kvm_state_fini(&before);
	kvm_state_fini(&after);
	drop(&first);
	gmem_fini(&first.mem);
	return done_testing();
}
