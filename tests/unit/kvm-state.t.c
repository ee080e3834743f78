/*
 * The state that KVM keeps of a VM survives being set into another one. The guest
 * counts in 32-bit protected mode, without paging: that runs on a software KVM too.
 */
#include "vmctl/kvm_state.h"

#include "tests/unit/tap.h"
#include "util/io.h"
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
#define COUNT  0x2000 /* where the guest keeps its counter */
#define PORT   0x10

/* 1: inc ecx; mov [COUNT], ecx; out PORT, al; jmp 1b */
static const uint8_t guest_code[] = {
    0x41, 0x89, 0x0d, COUNT & 0xff, COUNT >> 8, 0, 0, 0xe6, PORT, 0xeb, 0xf5,
};

struct guest {
	struct gmem mem;
	struct kvm_vm kvm;
	struct kvm_run *run;
	int fd;
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

static bool enter(int fd)
{
	struct kvm_regs regs = {.rip = CODE, .rflags = 2, .rdx = 0x1234567, .rsi = 77};
	struct kvm_sregs sregs;

	if (ioctl(fd, KVM_GET_SREGS, &sregs) < 0)
		return false;
	sregs.cs = flat(8, 11);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat(16, 3);
	sregs.cr0 |= 1;
	return ioctl(fd, KVM_SET_SREGS, &sregs) == 0 && ioctl(fd, KVM_SET_REGS, &regs) == 0;
}

static bool boot(struct guest *g, struct error *err)
{
	if (gmem_init(&g->mem, MEMORY, err) < 0 || kvm_vm_init(&g->kvm, &g->mem, err) < 0)
		return false;
	g->fd = kvm_vcpu_init(&g->kvm, 0, 1, &g->run, err);
	if (g->fd < 0)
		return false;
	gmem_write(&g->mem, CODE, guest_code, sizeof(guest_code));
	return enter(g->fd) || (error_set(err, errno, "cannot enter the guest"), false);
}

/* A second VM over the same memory, which gets @state. */
static bool revive(struct guest *g, const struct guest *from, const struct kvm_state *state,
		   struct error *err)
{
	g->mem = from->mem;
	if (kvm_vm_init(&g->kvm, &g->mem, err) < 0)
		return false;
	g->fd = kvm_vcpu_make(&g->kvm, 0, &g->run, err);
	return g->fd >= 0 && kvm_state_set(state, g->kvm.vm_fd, &g->fd, err) == 0;
}

static int get(struct kvm_state *state, const struct guest *g, struct error *err)
{
	return kvm_state_get(state, g->kvm.dev_fd, g->kvm.vm_fd, &g->fd, 1, err);
}

static void drop(struct guest *g)
{
	munmap(g->run, g->kvm.run_size);
	close(g->fd);
	kvm_vm_abandon(&g->kvm);
}

/* Go round the guest's loop, and complete the last access to the port. */
static bool count(struct guest *g, int rounds)
{
	if (!g->run)
		return false;
	while (rounds--) {
		if (ioctl(g->fd, KVM_RUN, 0) < 0 || g->run->exit_reason != KVM_EXIT_IO)
			return false;
	}
	g->run->immediate_exit = 1;
	ioctl(g->fd, KVM_RUN, 0);
	g->run->immediate_exit = 0;
	return true;
}

static uint32_t counter(const struct guest *g)
{
	uint32_t value;

	memcpy(&value, gmem_ptr(&g->mem, COUNT, 4), 4);
	return value;
}

/* MSRs that go on counting, or that tell of the clock. */
static bool is_clock(uint32_t msr)
{
	return msr == 0x10 || msr == 0x6e0 || msr == 0x11 || msr == 0x4b564d00 ||
	       msr == 0xe7 || msr == 0xe8 || msr == 0x40000020 || msr == 0x40000010;
}

static void compare_msrs(const struct kvm_state *a, const struct kvm_state *b)
{
	unsigned differ = 0;

	for (uint32_t i = 0; i < a->msr_count; i++) {
		const struct kvm_msr_entry *x = &a->vcpu[0].msrs[i];
		const struct kvm_msr_entry *y = &b->vcpu[0].msrs[i];

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

static void compare(const struct kvm_state *a, const struct kvm_state *b)
{
	const struct kvm_vcpu_state *x = &a->vcpu[0], *y = &b->vcpu[0];

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
	compare_msrs(a, b);
	for (unsigned i = 0; i < KVM_STATE_CHIPS && a->has_irqchip; i++)
		is_mem(&b->chip[i], &a->chip[i], sizeof(a->chip[i]),
		       "interrupt controller %u is the same", i);
	ok(b->clock.clock >= a->clock.clock, "the clock does not go back");
}

static void fork_once(const struct guest *g, uint64_t usec[3])
{
	struct kvm_state state = {0};
	uint64_t t0 = io_monotonic_ns(), t1, t2;
	int status = -1, pair[2];
	pid_t pid;

	if (get(&state, g, NULL) < 0 || pipe(pair) < 0)
		return;
	t1 = io_monotonic_ns();
	pid = fork();
	if (pid == 0) {
		struct guest child = {.fd = -1};
		uint64_t done;
		struct error err;

		close(g->fd);
		close(g->kvm.vm_fd);
		if (!revive(&child, g, &state, &err) || !count(&child, 1))
			_exit(1);
		done = io_monotonic_ns();
		_exit(write(pair[1], &done, sizeof(done)) < 0 ||
		      counter(&child) != (uint32_t)state.vcpu[0].regs.rcx + 1);
	}
	t2 = io_monotonic_ns();
	if (read(pair[0], &usec[2], sizeof(usec[2])) == sizeof(usec[2]))
		usec[2] = (usec[2] - t2) / 1000;
	usec[0] = (t1 - t0) / 1000;
	usec[1] = (t2 - t1) / 1000;
	waitpid(pid, &status, 0);
	is_int(status, 0, "a child process counts on in a VM of its own");
	close(pair[0]);
	close(pair[1]);
	kvm_state_fini(&state);
}

int main(void)
{
	struct kvm_state before = {0}, after = {0};
	struct guest first = {.fd = -1}, second = {.fd = -1};
	uint64_t usec[3] = {0};
	struct error err = {0};

	if (access("/dev/kvm", R_OK | W_OK) < 0) {
		skip(1, "no /dev/kvm");
		return done_testing();
	}
	ok(boot(&first, &err) && count(&first, 5), "a flat guest counts: %s", err.text);
	is_int(counter(&first), 5, "five rounds");
	is_int(get(&before, &first, &err), 0, "its state can be read: %s", err.text);
	is_int(before.vcpu[0].regs.rcx, 5, "the count is in its register");
	if (!ok(revive(&second, &first, &before, &err), "and set into a new VM: %s",
		err.text))
		return done_testing();
	is_int(get(&after, &second, &err), 0, "and be read again: %s", err.text);
	compare(&before, &after);
	ok(count(&second, 3), "the new VM runs");
	is_int(counter(&second), 8, "it counts on");
	drop(&second);
	for (int i = 0; i < 5; i++) {
		fork_once(&first, usec);
		diag("state read %d us, fork(2) %d us, then a running child in %d us",
		     (int)usec[0], (int)usec[1], (int)usec[2]);
	}
	ok(count(&first, 1), "the parent runs on");
	kvm_state_fini(&before);
	kvm_state_fini(&after);
	drop(&first);
	gmem_fini(&first.mem);
	return done_testing();
}
