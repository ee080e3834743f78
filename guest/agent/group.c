#include "guest/agent/group.h"

#include "guest/agent/log.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#define CGROUP_ROOT   "/sys/fs/cgroup"
#define CGROUPS	      CGROUP_ROOT "/programs"
#define PROC_STAT_MAX 4096
#define PROC_FILE_MAX (1u << 20)   /* cgroup.procs of more processes than pid_max */
#define FREEZE_NS     10000000000u /* that processes get to stop */
#define FIELD_STATE   3		   /* in /proc/PID/stat, counted from 1 */
#define FIELD_SESSION 6
#define FIELD_START   22

static bool have_cgroups;
static int memory_events = -1; /* of all groups together */
static bool held;	       /* all groups are frozen, also those that are made now */
static struct link abandoned = {&abandoned, &abandoned};

static bool write_file(const char *path, const char *value)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && io_write_all(fd, value, strlen(value)) == 0;
}

void groups_init(void)
{
	static const char *const controllers[] = {"+cpuset", "+memory", "+pids"};

	for (size_t i = 0; i < sizeof(controllers) / sizeof(controllers[0]); i++)
		if (!write_file(CGROUP_ROOT "/cgroup.subtree_control", controllers[i]))
			log_say("cannot use the cgroup controller %s", controllers[i] + 1);
	mkdir(CGROUPS, 0755);
	have_cgroups = access(CGROUPS "/cgroup.procs", W_OK) == 0;
	memory_events = open(CGROUPS "/memory.events", O_RDONLY | O_CLOEXEC);
}

void groups_limit(const char *file, const char *value)
{
	char path[sizeof(CGROUPS) + NAME_MAX];

	snprintf(path, sizeof(path), CGROUPS "/%s", file);
	if (have_cgroups && !write_file(path, value))
		log_say("cannot write %s to %s: %s", value, path, strerror(errno));
}

unsigned long groups_memory_kills(void)
{
	static const char key[] = "oom_kill ";
	char text[256];
	ssize_t n =
	    memory_events < 0 ? -1 : pread(memory_events, text, sizeof(text) - 1, 0);
	const char *at;

	text[n > 0 ? n : 0] = '\0';
	at = strstr(text, key);
	return at ? strtoul(at + strlen(key), NULL, 10) : 0;
}

static bool group_write(const struct group *group, const char *file, const char *value)
{
	cleanup_close int fd = -1;

	if (group->fd < 0)
		return false;
	fd = openat(group->fd, file, O_WRONLY | O_CLOEXEC);
	return fd >= 0 && io_write_all(fd, value, strlen(value)) == 0;
}

void group_freeze(const struct group *group, bool on)
{
	group_write(group, "cgroup.freeze", on || held ? "1" : "0");
}

struct group *group_new(const char *name)
{
	static unsigned int made;
	struct group *group = calloc(1, sizeof(*group));

	if (!group)
		return NULL;
	list_init(&group->link);
	group->fd = -1;
	if (!have_cgroups)
		return group;
	snprintf(group->path, sizeof(group->path), CGROUPS "/%.24s-%u", name, ++made);
	if (mkdir(group->path, 0755) == 0)
		group->fd = open(group->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (held)
		group_freeze(group, true);
	return group;
}

static bool group_remove(struct group *group)
{
	if (group->fd >= 0 && rmdir(group->path) < 0)
		return false;
	if (group->fd >= 0)
		close(group->fd);
	list_del(&group->link);
	free(group);
	return true;
}

void group_abandon(struct group *group)
{
	if (group && !group_remove(group))
		list_add_before(&abandoned, &group->link);
}

void groups_sweep(void)
{
	struct group *group;

	list_for_each (group, &abandoned, struct group, link)
		group_remove(group);
}

/* A file of the cgroup @name. Return: a descriptor, or -1. */
static int open_file(const char *name, const char *file, int flags)
{
	char path[sizeof(CGROUPS) + NAME_MAX + sizeof("/cgroup.freeze")];

	snprintf(path, sizeof(path), CGROUPS "/%s/%s", name, file);
	return open(path, flags | O_CLOEXEC);
}

static void set_frozen(const char *name, const char *value)
{
	cleanup_close int fd = open_file(name, "cgroup.freeze", O_WRONLY);

	if (fd < 0 || io_write_all(fd, value, 1) < 0)
		log_say("cannot stop the processes of %s, or let them go on", name);
}

/* Is cgroup.events, which is @fd, that of one whose processes have all stopped? */
static bool is_frozen(int fd)
{
	char text[64];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return n <= 0 || strstr(text, "frozen 1"); /* or it has gone */
}

/* A process stops when it is about to return from what it asked the kernel for: until
 * then it may write. The kernel reports a change of the file as POLLPRI. */
static void wait_for_group(const char *name, uint64_t until_ns)
{
	cleanup_close int fd = open_file(name, "cgroup.events", O_RDONLY);
	struct pollfd changed = {.fd = fd, .events = POLLPRI};

	while (!is_frozen(fd)) {
		uint64_t now_ns = io_monotonic_ns();

		if (now_ns >= until_ns) {
			log_say("the processes of %s have not stopped", name);
			return;
		}
		poll(&changed, 1, (int)((until_ns - now_ns) / 1000000) + 1);
	}
}

/* The next cgroup in @dir, or NULL. One that a process made inside one of ours stops with
 * it. */
static const char *next_group(DIR *dir)
{
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
			return entry->d_name;
	return NULL;
}

static DIR *open_groups(void)
{
	return have_cgroups ? opendir(CGROUPS) : NULL;
}

void groups_hold(bool on)
{
	cleanup_closedir DIR *dir = open_groups();
	const char *name;

	held = on;
	while ((name = next_group(dir)))
		set_frozen(name, on ? "1" : "0");
}

bool groups_have_stopped(void)
{
	cleanup_closedir DIR *dir = open_groups();
	const char *name;
	bool all = true;

	while (all && (name = next_group(dir))) {
		cleanup_close int fd = open_file(name, "cgroup.events", O_RDONLY);

		all = is_frozen(fd);
	}
	return all;
}

void groups_freeze(void)
{
	uint64_t until_ns = io_monotonic_ns() + FREEZE_NS;
	cleanup_closedir DIR *dir = NULL;
	const char *name;

	groups_hold(true);
	dir = open_groups();
	while ((name = next_group(dir)))
		wait_for_group(name, until_ns);
}

void group_kill(const struct group *group)
{
	struct procs procs;

	if (group_write(group, "cgroup.kill", "1"))
		return;
	procs = group_list(group);
	for (size_t i = 0; i < procs.count; i++)
		kill(procs.list[i].pid, SIGKILL);
	procs_fini(&procs);
}

/* The field @number of a stat line; the second field may hold any byte. */
static const char *stat_field(const char *text, int number)
{
	const char *at = strrchr(text, ')');

	for (int i = 2; at && i < number; i++) {
		at = strchr(at, ' ');
		if (at)
			at++;
	}
	return at;
}

/* Return: the stat line of @pid, to be freed; NULL when it has ended. */
static char *read_stat(pid_t pid)
{
	char path[32];
	size_t len;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	return io_read_file(path, PROC_STAT_MAX, &len, NULL);
}

bool proc_sleeps(pid_t pid)
{
	cleanup_free char *text = read_stat(pid);
	const char *state = text ? stat_field(text, FIELD_STATE) : NULL;

	return state && *state == 'S';
}

/* Read what is known of @pid. Return: false when it has ended. */
static bool inspect(pid_t pid, struct proc *proc, pid_t *session)
{
	cleanup_free char *text = read_stat(pid);
	const char *state, *sid, *start;

	if (!text)
		return false;
	state = stat_field(text, FIELD_STATE);
	sid = stat_field(text, FIELD_SESSION);
	start = stat_field(text, FIELD_START);
	if (!state || !sid || !start || *state == 'Z' || *state == 'X')
		return false;
	*session = (pid_t)strtol(sid, NULL, 10);
	*proc = (struct proc){.pid = pid, .start = strtoull(start, NULL, 10)};
	return true;
}

static void procs_add(struct procs *procs, const struct proc *proc)
{
	struct proc *grown = procs->list;

	/* The room is a power of two, and grows when the count reaches one. */
	if ((procs->count & (procs->count - 1)) == 0)
		grown = realloc(procs->list,
				(procs->count ? 2 * procs->count : 1) * sizeof(*proc));
	if (!grown)
		return;
	procs->list = grown;
	procs->list[procs->count++] = *proc;
}

static struct procs list_cgroup(const struct group *group)
{
	struct procs procs = {0};
	struct proc proc;
	pid_t session;
	char path[sizeof(group->path) + 16];
	size_t len;
	cleanup_free char *text = NULL;
	char *rest, *line;

	snprintf(path, sizeof(path), "%s/cgroup.procs", group->path);
	rest = text = io_read_file(path, PROC_FILE_MAX, &len, NULL);
	while (rest && (line = strsep(&rest, "\n")))
		if (*line && inspect((pid_t)strtol(line, NULL, 10), &proc, &session))
			procs_add(&procs, &proc);
	return procs;
}

static struct procs list_session(pid_t leader)
{
	cleanup_closedir DIR *dir = opendir("/proc");
	struct procs procs = {0};
	struct dirent *entry;
	struct proc proc;
	pid_t session;

	while (dir && (entry = readdir(dir)))
		if (isdigit((unsigned char)entry->d_name[0]) &&
		    inspect((pid_t)strtol(entry->d_name, NULL, 10), &proc, &session) &&
		    session == leader)
			procs_add(&procs, &proc);
	return procs;
}

struct procs group_list(const struct group *group)
{
	return group->fd >= 0 ? list_cgroup(group) : list_session(group->session);
}

bool groups_are_gone(void)
{
	groups_sweep();
	return have_cgroups && list_empty(&abandoned);
}

bool group_is_empty(const struct group *group)
{
	struct procs procs = {0};
	bool empty;

	if (!group)
		return true;
	procs = group_list(group);
	empty = group->fd >= 0 && procs.count == 0;
	procs_fini(&procs);
	return empty;
}

bool procs_have(const struct procs *procs, const struct proc *proc)
{
	for (size_t i = 0; i < procs->count; i++)
		if (procs->list[i].pid == proc->pid && procs->list[i].start == proc->start)
			return true;
	return false;
}

void procs_fini(struct procs *procs)
{
	free(procs->list);
	*procs = (struct procs){0};
}
