/*
 * Theory of operation
 *
 * The guest runs in 32-bit protected mode, flat and without paging, in one page
 * of code: it counts down a register in ring 0, reports that through port
 * PORT_LOOP, executes int3, whose handler puts a mark into AL, and reports AL
 * through PORT_INT3. On a CPU with vmx or svm a round of the loop takes about a
 * nanosecond. A software KVM interprets each instruction, which takes some
 * hundred times longer, and not all of them know int3.
 *
 * A child does all this and leaves its findings in shared memory, step by step.
 * A timer interrupts a KVM_RUN that does not end; the parent kills a child that
 * does not end.
 */
#include "vmctl/probe_kvm.h"

#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define GUEST_MEMORY 0x10000
#define GUEST_GDT    0x500
#define GUEST_IDT    0x600
#define GUEST_CODE   0x1000
#define GUEST_INT3   0x1100
#define GUEST_STACK  0x8000
#define CODE_SEL     0x08
#define DATA_SEL     0x10
#define ROUNDS	     100000
#define PORT_LOOP    0x10
#define PORT_INT3    0x11
#define MARK	     0x3c
#define RUN_MS	     1000
#define CHILD_MS     2500

static const uint8_t guest_code[] = {
    0xb9, ROUNDS & 0xff, ROUNDS >> 8 & 0xff, ROUNDS >> 16 & 0xff, 0, /* mov ecx, ROUNDS */
    0x49,							     /* 1: dec ecx */
    0x75, 0xfd,							     /* jnz 1b */
    0xe6, PORT_LOOP,						     /* out PORT_LOOP, al */
    0xcc,							     /* int3 */
    0xe6, PORT_INT3,						     /* out PORT_INT3, al */
    0xf4,							     /* hlt */
};

static const uint8_t guest_int3[] = {
    0xb0, MARK, /* mov al, MARK */
    0xcf,	/* iret */
};

/* Descriptors: Intel SDM vol. 3A, 3.4.5 (segments) and 6.11 (interrupt gates). */
static void fill_memory(uint8_t *memory)
{
	static const uint64_t gdt[] = {0, 0x00cf9b000000ffffu, 0x00cf93000000ffffu};
	static const uint64_t gate =
	    (uint64_t)GUEST_INT3 | (uint64_t)CODE_SEL << 16 | (uint64_t)0x8e00 << 32;

	memcpy(memory + GUEST_GDT, gdt, sizeof(gdt));
	memcpy(memory + GUEST_IDT + 3 * sizeof(gate), &gate, sizeof(gate));
	memcpy(memory + GUEST_CODE, guest_code, sizeof(guest_code));
	memcpy(memory + GUEST_INT3, guest_int3, sizeof(guest_int3));
}

static struct kvm_segment flat_segment(uint16_t selector, uint8_t type)
{
	return (struct kvm_segment){
	    .limit = 0xffffffff,
	    .selector = selector,
	    .type = type,
	    .present = 1,
	    .db = 1,
	    .s = 1,
	    .g = 1,
	};
}

static int set_registers(int vcpu)
{
	struct kvm_regs regs = {.rip = GUEST_CODE, .rsp = GUEST_STACK, .rflags = 2};
	struct kvm_sregs sregs;

	if (ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0)
		return -errno;
	sregs.cs = flat_segment(CODE_SEL, 0xb);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat_segment(DATA_SEL, 3);
	sregs.gdt = (struct kvm_dtable){.base = GUEST_GDT, .limit = 3 * 8 - 1};
	sregs.idt = (struct kvm_dtable){.base = GUEST_IDT, .limit = 4 * 8 - 1};
	sregs.cr0 |= 1; /* PE */
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0 || ioctl(vcpu, KVM_SET_REGS, &regs) < 0)
		return -errno;
	return 0;
}

/* Run the guest until it writes to @port. Return: what it wrote, or -errno. */
static int run_until(int vcpu, const struct kvm_run *run, uint16_t port)
{
	if (ioctl(vcpu, KVM_RUN, 0) < 0)
		return -errno;
	if (run->exit_reason != KVM_EXIT_IO || run->io.port != port)
		return -EIO;
	return ((const uint8_t *)run)[run->io.data_offset];
}

static void run_guest(int kvm, int vcpu, struct probe *probe)
{
	int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	const struct kvm_run *run;
	uint64_t start;

	if (size <= 0 || set_registers(vcpu) < 0)
		return;
	run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED)
		return;
	start = io_monotonic_ns();
	if (run_until(vcpu, run, PORT_LOOP) < 0)
		return;
	probe->loop_ps = (int64_t)((io_monotonic_ns() - start) * 1000 / ROUNDS);
	probe->int3 = run_until(vcpu, run, PORT_INT3) == MARK;
}

static int make_vm(int kvm, struct probe *probe)
{
	uint64_t start = io_monotonic_ns();
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);

	probe->create_errno = vm < 0 ? errno : 0;
	if (vm >= 0)
		probe->create_usec = (int64_t)((io_monotonic_ns() - start) / 1000);
	return vm;
}

static void measure(struct probe *probe)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm, vcpu;
	void *memory = mmap(NULL, GUEST_MEMORY, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region slot = {
	    .memory_size = GUEST_MEMORY,
	    .userspace_addr = (uintptr_t)memory,
	};

	probe->open_errno = kvm < 0 ? errno : 0;
	probe->access = kvm >= 0;
	probe->node = kvm >= 0 || access("/dev/kvm", F_OK) == 0;
	if (kvm < 0 || memory == MAP_FAILED)
		return;
	probe->api_version = ioctl(kvm, KVM_GET_API_VERSION, 0);
	vm = make_vm(kvm, probe);
	if (vm < 0)
		return;
	fill_memory(memory);
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
		return;
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu >= 0)
		run_guest(kvm, vcpu, probe);
}

static void on_alarm(int signal)
{
	(void)signal;
}

/* The timer repeats: the first one may come just before KVM_RUN. */
static void interrupt_later(void)
{
	struct sigaction action = {.sa_handler = on_alarm};
	struct itimerval timer = {
	    .it_value = {.tv_sec = RUN_MS / 1000, .tv_usec = RUN_MS % 1000 * 1000L},
	    .it_interval = {.tv_usec = 50000},
	};

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

/* A child that even SIGKILL does not end is left to whoever reaps us. */
static void wait_child(pid_t pid)
{
	cleanup_close int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd wait = {.fd = fd, .events = POLLIN};

	if (poll(&wait, 1, CHILD_MS) == 0) {
		kill(pid, SIGKILL);
		poll(&wait, 1, 500);
	}
	waitpid(pid, NULL, WNOHANG);
}

void probe_kvm(struct probe *probe)
{
	struct probe *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	if (shared == MAP_FAILED)
		return;
	*shared = *probe;
	pid = fork();
	if (pid == 0) {
		interrupt_later();
		measure(shared);
		shared->measured = true;
		_exit(0);
	}
	if (pid > 0)
		wait_child(pid);
	*probe = *shared;
	munmap(shared, sizeof(*shared));
}
