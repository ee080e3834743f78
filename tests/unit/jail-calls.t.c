/*
 * The filters of system calls: whatever is not named kills the process that tries it.
 *
 * Each try is in a process of its own, which has the filter that a VM's process has, or one
 * of those that look at what guests send, or in a thread of a VM's, which has the one of
 * a vCPU on top.
 */
#include "tests/unit/process.h"
#include "tests/unit/tap.h"
#include "vmctl/jail_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALLS_END 470 /* above the last that a kernel of 2025 has */

/* The kernel's own, which no filter sees (Linux 6.14): a traced program is made to make
 * them, and for others they do nothing. */
#define URETPROBE 335
#define UPROBE	  336

/* As in jail_calls.c, of which this test looks at the calls alone. */
struct rule {
	int call, errnum;
	bool filtered;
	struct scmp_arg_cmp argument;
};

#include "vmctl/syscalls.inc"

struct attempt {
	long number;
	unsigned long argument[6];
	const char *what;
};

#define HERE	   (unsigned)AT_FDCWD
#define NAME(name) (uintptr_t)(name)

/* They would do something that another VM, or the host, would notice. */
static const struct attempt forbidden[] = {
    {SYS_openat, {HERE, NAME("/"), O_RDONLY}, "open a file"},
    {SYS_openat, {HERE, NAME("/made"), O_RDWR | O_CREAT, 0600}, "make a file with a name"},
    {SYS_openat,
     {HERE, NAME("/"), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600},
     "make a file that could get a name"},
    {SYS_socket, {1, 1}, "make a socket"},
    {SYS_kill, {1, 0}, "signal another process"},
    {SYS_tgkill, {1, 1, SIGUSR1}, "signal a thread of another process"},
    {SYS_ptrace, {0}, "trace"},
    {SYS_process_vm_readv, {1}, "read the memory of another process"},
    {SYS_pidfd_open, {1}, "get hold of another process"},
    {SYS_execve, {NAME("/bin/true")}, "execute a program"},
    {SYS_clone, {CLONE_NEWUSER | SIGCHLD}, "make a namespace with a process"},
    {SYS_unshare, {CLONE_NEWUSER}, "make a namespace"},
    {SYS_mmap,
     {0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1ul},
     "map code"},
    {SYS_mprotect, {0, 4096, PROT_EXEC}, "make code of memory"},
    {SYS_prctl, {PR_SET_DUMPABLE, 1}, "let itself be traced"},
    {SYS_fcntl, {0, F_SETOWN, 1}, "have a descriptor signal another process"},
    {SYS_ioctl, {0, TIOCSTI}, "type into a terminal"},
    {SYS_prlimit64, {1, 7}, "see the limits of another process"},
    {SYS_newfstatat, {HERE, NAME("/"), 0, 0}, "look for a file"},
};

static const struct attempt forbidden_to_vcpus[] = {
    {SYS_clone, {CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID | SIGCHLD}, "fork"},
    {SYS_openat,
     {HERE, NAME("/"), O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600},
     "make a file"},
    {SYS_ioctl, {0, KVM_CREATE_VM}, "make a VM"},
    {SYS_rt_sigaction, {SIGUSR1, 0, 0, 8}, "handle signals in another way"},
    {SYS_timer_create, {1}, "make a timer"},
    {SYS_seccomp, {SECCOMP_SET_MODE_FILTER}, "add to its filter"},
};

static const struct attempt forbidden_to_dns[] = {
    {SYS_openat, {HERE, NAME("/"), O_RDONLY | O_CLOEXEC}, "open a file"},
    {SYS_newfstatat, {0, NAME(""), 0, AT_EMPTY_PATH}, "look at one"},
    {SYS_socket, {AF_UNIX, SOCK_STREAM}, "make a Unix socket"},
    {SYS_ioctl, {0, SIOCGIFINDEX}, "ask for an interface"},
};

/* Whose filter. */
enum who { VM, VCPU, DNS, RESOLV, PROXY };

static void make(const struct attempt *try)
{
	const unsigned long *a = try->argument;

	syscall(try->number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static void *be_vcpu(void *arg)
{
	struct error err;

	if (jail_calls_enter_vcpu(&err) == 0)
		make(arg);
	_exit(1);
}

_Noreturn static void be_process(const struct attempt *try, enum who who)
{
	static const enum jail_calls calls[] = {JAIL_CALLS_VM, JAIL_CALLS_VM,
						JAIL_CALLS_DNS, JAIL_CALLS_RESOLV,
						JAIL_CALLS_PROXY};
	pthread_t thread;
	struct error err;

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	alarm(10);
	if (jail_calls_enter(calls[who], &err) < 0)
		_exit(1);
	if (who != VCPU)
		make(try);
	else if (pthread_create(&thread, NULL, be_vcpu, (void *)(uintptr_t)try) == 0)
		pthread_join(thread, NULL);
	_exit(1);
}

static int ended_by(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/* Return: the signal that ended who tried it, or 0. */
static int fate(const struct attempt *try, enum who who)
{
	pid_t pid = fork();

	if (pid == 0)
		be_process(try, who);
	return ended_by(pid);
}

/* As fate(), of who waits for a descriptor, and is stopped and continued meanwhile. Linux
 * goes on with poll(2) as restart_syscall(2). */
static int fate_of_stopped(long call, enum who who)
{
	int ends[2], status;
	struct pollfd waited = {.events = POLLIN};
	struct attempt try = {.number = call, .argument = {NAME(&waited), 1}};
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	waited.fd = ends[0];
	if (call == SYS_poll)
		try.argument[2] = -1ul; /* for ever, as NULL for ppoll(2) */
	pid = fork();
	if (pid == 0)
		be_process(&try, who);
	if (pid < 0)
		return -1;
	while (!strchr("SZ", process_state(pid)))
		usleep(1000);
	kill(pid, SIGSTOP);
	if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status))
		return -1;
	kill(pid, SIGCONT);
	if (write(ends[1], "", 1) != 1)
		return -1;
	close(ends[0]);
	close(ends[1]);
	return ended_by(pid);
}

#define RULES(rules) (rules), sizeof(rules) / sizeof((rules)[0])

static bool is_named(const struct rule *rules, size_t count, long number)
{
	for (size_t i = 0; i < count; i++)
		if (rules[i].call == number)
			return true;
	return false;
}

/* A build with sanitizers allows some calls whatever their arguments are. */
static bool is_sanitizers(long number)
{
#ifdef __SANITIZE_ADDRESS__
	return is_named(RULES(sanitizer_rules), number);
#else
	(void)sanitizer_rules;
	return number < 0;
#endif
}

/* All calls that there are, by their numbers. Return: how many do not kill. */
static int count_harmless(const struct rule *rules, size_t count, enum who who)
{
	int harmless = 0;

	for (long number = 0; number < CALLS_END; number++) {
		const struct attempt try = {.number = number};

		if (number == URETPROBE || number == UPROBE ||
		    is_named(rules, count, number) || is_sanitizers(number) ||
		    fate(&try, who) == SIGSYS)
			continue;
		diag("call %ld does not kill", number);
		harmless++;
	}
	return harmless;
}

int main(void)
{
	static const struct attempt allowed = {.number = SYS_getrusage};

	for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++)
		if (!is_sanitizers(forbidden[i].number))
			ok(fate(&forbidden[i], VM) == SIGSYS,
			   "a VM's process dies if it tries to %s", forbidden[i].what);
	for (size_t i = 0; i < sizeof(forbidden_to_vcpus) / sizeof(forbidden_to_vcpus[0]);
	     i++)
		ok(fate(&forbidden_to_vcpus[i], VCPU) == SIGSYS, "so does a vCPU's to %s",
		   forbidden_to_vcpus[i].what);
	for (size_t i = 0; i < sizeof(forbidden_to_dns) / sizeof(forbidden_to_dns[0]); i++)
		ok(fate(&forbidden_to_dns[i], DNS) == SIGSYS,
		   "the DNS proxy dies if it tries to %s", forbidden_to_dns[i].what);
	ok(fate(&allowed, VM) == 0, "what is named does not kill");
	ok(fate(&allowed, VCPU) == SIGSYS,
	   "but in a vCPU's thread, which has a list of its own");
	ok(fate_of_stopped(SYS_ppoll, VM) == 0,
	   "who waits, is stopped and continued waits on: a VM's process");
	ok(fate_of_stopped(SYS_ppoll, RESOLV) == 0, "what reads for the DNS proxy");
	ok(fate_of_stopped(SYS_poll, PROXY) == 0, "the proxy for secrets");
	ok(count_harmless(RULES(vm_rules), VM) == 0, "every other call kills a process");
	ok(count_harmless(RULES(vcpu_rules), VCPU) == 0, "and a vCPU's thread");
	ok(count_harmless(RULES(dns_rules), DNS) == 0, "and the DNS proxy");
	ok(count_harmless(RULES(resolv_rules), RESOLV) == 0, "and what reads for it");
	ok(count_harmless(RULES(proxy_rules), PROXY) == 0, "and the proxy for secrets");
	(void)init_rules;
	return done_testing();
}
