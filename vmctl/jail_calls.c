#include "vmctl/jail_calls.h"

#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct rule {
	int call;
	int errnum; /* it fails by; 0: it is allowed */
	bool filtered;
	struct scmp_arg_cmp argument; /* if @filtered */
};

#include "vmctl/syscalls.inc"

/*
 * What the C library needs for memory, threads, locks, signals and time. Without clone3(2),
 * whose arguments no filter can see, it takes clone(2): with these flags for a thread.
 *
 * #syscalls:vm,vcpu brk mmap(2==PROT_READ|PROT_WRITE) madvise futex rt_sigprocmask
 * rt_sigreturn clock_gettime exit
 * #syscalls:vm mmap(2==PROT_NONE) mprotect(2==PROT_READ|PROT_WRITE) munmap mremap
 * rt_sigaction set_robust_list rseq exit_group clone3=ENOSYS
 * clone(0==CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD|CLONE_SYSVSEM|CLONE_SETTLS|CLONE_PARENT_SETTID|CLONE_CHILD_CLEARTID)
 */

/*
 * What a sanitizer needs for a thread's stack and its own memory.
 *
 * #syscalls:sanitizer gettid sched_getaffinity sigaltstack mmap munmap mprotect madvise
 */
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#define COUNT(rules) (sizeof(rules) / sizeof((rules)[0]))

/* What a vCPU thread installs; no filter in processes that are not VMs. */
static struct sock_fprog vcpu_program;

static int add_rules(scmp_filter_ctx filter, const struct rule *rules, size_t count)
{
	int r = 0;

	for (size_t i = 0; i < count && r == 0; i++)
		r = seccomp_rule_add_array(
		    filter,
		    rules[i].errnum ? SCMP_ACT_ERRNO((unsigned)rules[i].errnum)
				    : SCMP_ACT_ALLOW,
		    rules[i].call, rules[i].filtered, &rules[i].argument);
	return r;
}

/* What libseccomp makes is written to a file. */
static int export(scmp_filter_ctx filter, struct sock_fprog *program)
{
	cleanup_close int fd = memfd_create("filter", MFD_CLOEXEC);
	cleanup_free void *bytes = NULL;
	struct stat st;
	int r = fd < 0 ? -errno : seccomp_export_bpf(filter, fd);

	if (r < 0 || fstat(fd, &st) < 0)
		return r < 0 ? r : -errno;
	bytes = malloc((size_t)st.st_size);
	if (!bytes || pread(fd, bytes, (size_t)st.st_size, 0) != st.st_size)
		return -ENOMEM;
	program->len = (unsigned short)((size_t)st.st_size / sizeof(struct sock_filter));
	program->filter = bytes;
	bytes = NULL;
	return 0;
}

static int compile(const struct rule *rules, size_t count, struct sock_fprog *program)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int r = filter ? 0 : -ENOMEM;

	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH,
				     SCMP_ACT_KILL_PROCESS);
	if (r == 0) /* a tree, not a list */
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (r == 0)
		r = add_rules(filter, rules, count);
	if (r == 0 && SANITIZED)
		r = add_rules(filter, sanitizer_rules, COUNT(sanitizer_rules));
	if (r == 0)
		r = export(filter, program);
	seccomp_release(filter);
	return r;
}

static int install(const struct sock_fprog *program)
{
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, program) < 0 ? -errno : 0;
}

static const struct {
	const struct rule *rules;
	size_t count;
} lists[] = {
    [JAIL_CALLS_VM] = {vm_rules, COUNT(vm_rules)},
    [JAIL_CALLS_INIT] = {init_rules, COUNT(init_rules)},
    [JAIL_CALLS_DNS] = {dns_rules, COUNT(dns_rules)},
    [JAIL_CALLS_RESOLV] = {resolv_rules, COUNT(resolv_rules)},
    [JAIL_CALLS_PROXY] = {proxy_rules, COUNT(proxy_rules)},
};

int jail_calls_enter(enum jail_calls calls, struct error *err)
{
	struct sock_fprog program = {0};
	int r = 0;

	if (calls == JAIL_CALLS_ANY)
		return 0;
	if (calls == JAIL_CALLS_VM)
		r = compile(vcpu_rules, COUNT(vcpu_rules), &vcpu_program);
	if (r == 0)
		r = compile(lists[calls].rules, lists[calls].count, &program);
	if (r == 0)
		r = install(&program);
	free(program.filter);
	return r < 0 ? error_set(err, -r, "cannot filter system calls") : 0;
}

/* #syscalls:vm seccomp(0==SECCOMP_SET_MODE_FILTER) */
int jail_calls_enter_vcpu(struct error *err)
{
	int r = vcpu_program.filter ? install(&vcpu_program) : 0;

	return r < 0 ? error_set(err, -r, "cannot filter a vCPU's system calls") : 0;
}
