/*
 * forkcost: what the host's side of a fork costs, stage by stage.
 *
 * Theory of operation
 *
 * For each size of a guest, a process becomes its VM: a machine of vmctl's own with a
 * guest that is a page of code (flat.h). Round after round it is forked as vmctl forks
 * a VM (vm_fork.c): park, seal, fork(2), resume; and in the child part, start the vCPU,
 * and wait for the guest's first exit. What lies around that in vmctl (the order on a
 * socket, a new event loop) is left out. Before each round the guest has written to
 * all its pages, since fork(2) takes them from it, and spins when it is parked.
 *
 * All stamps are CLOCK_MONOTONIC, in memory that the processes share.
 */
#include "config.h"

#include "bench/calls.h"
#include "bench/flat.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "vmctl/probe.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#define ROUNDS	      100
#define ROUNDS_MAX    10000
#define EXIT_SKIP     77 /* as automake's tests have it */
#define SIZE_SECONDS  30 /* that one size of a guest may take in all */
#define ROUND_SECONDS 60 /* a round that takes longer has failed */

#define SIZES_MAX 3

struct options {
	unsigned rounds;
	unsigned sizes;
	unsigned size_mib[SIZES_MAX]; /* what the guest touches */
};

enum row {
	PARK,
	GET_STATE,
	SEAL_DISK,
	FORK,
	RESUME,
	PAUSE,
	SCHEDULE,
	GIVE_UP,
	CREATE_VM,
	MEMORY,
	CHIPS,
	VCPU,
	SET_STATE,
	REST,
	FIRST_EXIT,
	CHILD,
	TOTAL,
	END,
	ROWS
};

static const char *const row_names[ROWS] = {
    [PARK] = "park the vCPU",
    [GET_STATE] = "read KVM's state",
    [SEAL_DISK] = "seal the disk",
    [FORK] = "fork(2)",
    [RESUME] = "let the vCPU go on",
    [PAUSE] = "= pause of the parent",
    [SCHEDULE] = "child: is scheduled",
    [GIVE_UP] = "child: give up what is the parent's",
    [CREATE_VM] = "child: KVM_CREATE_VM",
    [MEMORY] = "child: memory slots",
    [CHIPS] = "child: interrupt controllers",
    [VCPU] = "child: KVM_CREATE_VCPU",
    [SET_STATE] = "child: set KVM's state",
    [REST] = "child: all else",
    [FIRST_EXIT] = "child: thread, until the first exit",
    [CHILD] = "= child: fork(2) to first exit",
    [TOTAL] = "= order to the child's first exit",
    [END] = "end of the child, reaped",
};

/* The stamps of one round; written by parent and child. */
struct round {
	uint64_t order, parked, sealed, forked, resumed;
	uint64_t begun, parted, alive;
	uint64_t reaped;
	struct calls parent, child;
};

struct shared {
	struct round round;
	unsigned rounds; /* done */
	double usec[ROWS][ROUNDS_MAX];
};

static struct shared *shared;
static pthread_mutex_t touched_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t touched_changed = PTHREAD_COND_INITIALIZER;
static bool touched;

static void on_touched(void)
{
	pthread_mutex_lock(&touched_lock);
	touched = true;
	pthread_cond_signal(&touched_changed);
	pthread_mutex_unlock(&touched_lock);
}

static void wait_touched(void)
{
	pthread_mutex_lock(&touched_lock);
	while (!touched)
		pthread_cond_wait(&touched_changed, &touched_lock);
	touched = false;
	pthread_mutex_unlock(&touched_lock);
}

/* In the child's vCPU thread. */
static void on_alive(void)
{
	shared->round.alive = io_monotonic_ns();
	_exit(0);
}

_Noreturn static void fail(const struct error *err)
{
	fprintf(stderr, "forkcost: %s\n", err->text);
	_exit(1);
}

/* Nothing is left behind, and nothing goes on for ever. */
static void end_with_parent(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(ROUND_SECONDS);
}

static _Noreturn void be_child(struct flat *flat, const struct kvm_state *state)
{
	struct round *round = &shared->round;
	struct error err;

	round->begun = io_monotonic_ns();
	calls_record(&round->child);
	if (machine_part(&flat->machine, flat->agent[0], &err) < 0 ||
	    machine_enter(&flat->machine, state, &err) < 0)
		fail(&err);
	flat_report(flat);
	round->parted = io_monotonic_ns();
	if (vcpus_start(&flat->machine.vcpus, &err) < 0)
		fail(&err);
	end_with_parent();
	for (;;)
		pause();
}

static double usec(uint64_t from, uint64_t to)
{
	return ((double)to - (double)from) / 1000;
}

static double call_usec(const struct calls *calls, unsigned long request)
{
	return (double)calls_time(calls, request) / 1000;
}

/* The end of the last call: what follows it is not KVM's. */
static uint64_t last_call(const struct calls *calls)
{
	return calls->call[calls->count - 1].to_ns;
}

static void account(const struct round *r, double row[ROWS])
{
	const struct call *first = calls_find(&r->child, KVM_CREATE_VM);
	const struct call *set = calls_find(&r->child, KVM_SET_CPUID2);
	const struct call *clock = calls_find(&r->child, KVM_SET_CLOCK);

	row[PARK] = usec(r->order, r->parked);
	row[GET_STATE] = usec(r->parked, last_call(&r->parent));
	row[SEAL_DISK] = usec(last_call(&r->parent), r->sealed);
	row[FORK] = usec(r->sealed, r->forked);
	row[RESUME] = usec(r->forked, r->resumed);
	row[PAUSE] = usec(r->order, r->resumed);
	row[SCHEDULE] = usec(r->forked, r->begun);
	row[GIVE_UP] = usec(r->begun, first->from_ns);
	row[CREATE_VM] = call_usec(&r->child, KVM_CREATE_VM);
	row[MEMORY] = call_usec(&r->child, KVM_SET_USER_MEMORY_REGION);
	row[CHIPS] = call_usec(&r->child, KVM_CREATE_IRQCHIP);
	row[VCPU] = call_usec(&r->child, KVM_CREATE_VCPU);
	row[SET_STATE] = usec(set->from_ns, clock->to_ns);
	row[REST] = usec(first->from_ns, r->parted) - row[CREATE_VM] - row[MEMORY] -
		    row[CHIPS] - row[VCPU] - row[SET_STATE];
	row[FIRST_EXIT] = usec(r->parted, r->alive);
	row[CHILD] = usec(r->sealed, r->alive);
	row[TOTAL] = usec(r->order, r->alive);
	row[END] = usec(r->alive, r->reaped);
}

static void one_round(struct flat *flat, struct kvm_state *state)
{
	struct round *r = &shared->round;
	struct machine *m = &flat->machine;
	double row[ROWS];
	struct error err;
	int status;
	pid_t pid;

	flat_dirty_disk(flat);
	r->order = io_monotonic_ns();
	vcpus_park(&m->vcpus);
	r->parked = io_monotonic_ns();
	calls_record(&r->parent);
	if (machine_seal(m, state, &err) < 0)
		fail(&err);
	calls_record(NULL);
	r->sealed = io_monotonic_ns();
	pid = fork();
	if (pid == 0)
		be_child(flat, state);
	r->forked = io_monotonic_ns();
	vcpus_resume(&m->vcpus);
	r->resumed = io_monotonic_ns();
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || status)
		_exit(1);
	r->reaped = io_monotonic_ns();
	account(r, row);
	for (unsigned i = 0; i < ROWS; i++)
		shared->usec[i][shared->rounds] = row[i];
	shared->rounds++;
}

static _Noreturn void be_vm(unsigned mib, bool huge, unsigned rounds)
{
	static struct flat flat = {.on_touched = on_touched, .on_alive = on_alive};
	static struct kvm_state state;
	struct error err;
	uint64_t until;

	if (!huge)
		prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	end_with_parent();
	if (flat_boot(&flat, mib, &err) < 0)
		fail(&err);
	wait_touched();
	until = io_monotonic_ns() + SIZE_SECONDS * 1000000000ull;
	while (shared->rounds < rounds && io_monotonic_ns() < until) {
		alarm(ROUND_SECONDS);
		one_round(&flat, &state);
		flat_touch(&flat);
		wait_touched();
	}
	_exit(0);
}

/* Return: the number of rounds, or -EIO when that did not work. */
static int measure(unsigned mib, bool huge, unsigned rounds)
{
	int status = -1;
	pid_t pid;

	shared->rounds = 0;
	pid = fork();
	if (pid == 0)
		be_vm(mib, huge, rounds);
	if (pid > 0)
		waitpid(pid, &status, 0);
	return status || !shared->rounds ? -EIO : (int)shared->rounds;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct cell {
	double p50, p95, p99;
};

/* The smallest value that so many of 100 do not exceed. */
static double percentile(const double *sorted, unsigned count, unsigned percent)
{
	unsigned rank = (count * percent + 99) / 100;

	return sorted[rank ? rank - 1 : 0];
}

static struct cell summarize(double *values, unsigned count)
{
	qsort(values, count, sizeof(*values), compare);
	return (struct cell){
	    .p50 = percentile(values, count, 50),
	    .p95 = percentile(values, count, 95),
	    .p99 = percentile(values, count, 99),
	};
}

static void print_heads(bool huge, const struct options *o, const int *rounds)
{
	printf("\n%-36s", huge ? "huge pages, us" : "4 KiB pages, us");
	for (unsigned i = 0; i < o->sizes; i++)
		printf("%10u MiB touched  ", o->size_mib[i]);
	printf("\n%-36s", "rounds");
	for (unsigned i = 0; i < o->sizes; i++)
		printf("%24d ", rounds[i]);
	printf("\n%-36s", "");
	for (unsigned i = 0; i < o->sizes; i++)
		printf("%8s%8s%8s ", "p50", "p95", "p99");
	putchar('\n');
}

/* One table: all sizes. */
static int table(bool huge, const struct options *o)
{
	struct cell cell[ROWS][SIZES_MAX];
	int done[SIZES_MAX];

	for (unsigned i = 0; i < o->sizes; i++) {
		done[i] = measure(o->size_mib[i], huge, o->rounds);
		if (done[i] < 0)
			return done[i];
		for (unsigned row = 0; row < ROWS; row++)
			cell[row][i] = summarize(shared->usec[row], (unsigned)done[i]);
	}
	print_heads(huge, o, done);
	for (unsigned row = 0; row < ROWS; row++) {
		printf("%-36s", row_names[row]);
		for (unsigned i = 0; i < o->sizes; i++)
			printf("%8.0f%8.0f%8.0f ", cell[row][i].p50, cell[row][i].p95,
			       cell[row][i].p99);
		putchar('\n');
	}
	fflush(stdout);
	return 0;
}

/* After the colon of the first line of /proc/cpuinfo that begins with @key. */
static void print_cpu(void)
{
	size_t len;
	cleanup_free char *text = io_read_file("/proc/cpuinfo", 16u << 20, &len, NULL);
	const char *line = text ? strstr(text, "model name") : NULL;
	const char *value = line ? strchr(line, ':') : NULL;

	if (value)
		printf("machine  %.*s, %ld CPUs\n", (int)strcspn(value + 2, "\n"),
		       value + 2, sysconf(_SC_NPROCESSORS_ONLN));
}

static void print_machine(void)
{
	const char *version = getenv("BENCH_VERSION");
	struct utsname uts;
	struct probe probe;
	double load;

	print_cpu();
	if (uname(&uts) == 0)
		printf("kernel   %s %s\n", uts.sysname, uts.release);
	probe_run(&probe);
	printf("KVM      %s: %s\n", probe.cpu_flag ? probe.cpu_flag : "in software",
	       probe.why);
	if (getloadavg(&load, 1) == 1)
		printf("load     %.1f before the start\n", load);
	printf("version  %s\n", version ? version : PACKAGE_VERSION);
	fflush(stdout);
}

static int usage(FILE *to, int status)
{
	fputs(
	    "usage: forkcost [--rounds N] [--touched MIB]\n"
	    "Measure the host's side of forking a VM, on this machine's KVM: N times for\n"
	    "guests that have touched 64, 512 and 2048 MiB, or only MIB.\n"
	    "The exit status is 77 when KVM cannot be used here.\n",
	    to);
	return status;
}

static int parse_number(unsigned min, unsigned max, unsigned *value)
{
	char *end;
	unsigned long n = strtoul(optarg, &end, 10);

	if (*end || n < min || n > max)
		return -EINVAL;
	*value = (unsigned)n;
	return 0;
}

/* Return: 0, 1 when help was asked for, -EINVAL. */
static int parse(int argc, char **argv, struct options *o)
{
	static const struct option options[] = {
	    {"rounds", required_argument, NULL, 'r'},
	    {"touched", required_argument, NULL, 't'},
	    {"help", no_argument, NULL, 'h'},
	    {0},
	};
	int option, r = 0;

	while (!r && (option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == 'h')
			return 1;
		if (option == 'r')
			r = parse_number(1, ROUNDS_MAX, &o->rounds);
		else if (option == 't')
			r = parse_number(4, 2048, &o->size_mib[0]);
		else
			r = -EINVAL;
		if (option == 't')
			o->sizes = 1;
	}
	return r || optind == argc ? r : -EINVAL;
}

/* Return: whether the machine has a KVM that makes VMs. */
static bool have_kvm(void)
{
	struct kvm_vm kvm;
	struct gmem mem = {0};
	struct error err;

	if (gmem_init(&mem, 1 << 20, &err) == 0 && kvm_vm_init(&kvm, &mem, &err) == 0) {
		kvm_vm_abandon(&kvm);
		gmem_fini(&mem);
		return true;
	}
	fprintf(stderr, "forkcost: not measured: %s\n", err.text);
	return false;
}

int main(int argc, char **argv)
{
	struct options o = {
	    .rounds = ROUNDS, .sizes = SIZES_MAX, .size_mib = {64, 512, 2048}};
	int r = parse(argc, argv, &o);

	if (r)
		return r < 0 ? usage(stderr, 2) : usage(stdout, 0);
	if (!have_kvm())
		return EXIT_SKIP;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 1;
	print_machine();
	if (table(true, &o) < 0 || table(false, &o) < 0) {
		fprintf(stderr, "forkcost: a round failed or took more than %d s\n",
			ROUND_SECONDS);
		return 1;
	}
	return 0;
}
