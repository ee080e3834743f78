/*
 * What pffs can do with the machine when it has given up its rights: each test does so in a
 * process of its own.
 */
#include "pffs/cli/account.h"
#include "pffs/cli/confine.h"
#include "tests/unit/tap.h"
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAILURES_MAX 100

static char dir[] = "/tmp/pffs-rights.XXXXXX";
static char inside[64], outside[64];

static _Noreturn void give_up(const char *path)
{
	diag("cannot make %s: %s", path, strerror(errno));
	exit(EXIT_FAILURE);
}

/* Run @fn in a process of its own. Return: what it returned. */
static int apart(int (*fn)(void))
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit(fn());
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void write_file(const char *folder, const char *name)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, "x", 1) != 1)
		give_up(path);
	close(fd);
}

static int can_open(const char *folder, const char *name, int flags)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, flags | O_CLOEXEC, 0600);
	if (fd >= 0)
		close(fd);
	return fd >= 0 ? 0 : errno;
}

static int confine_to_inside(void)
{
	int fd = open(inside, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return confine(fd, -1, NULL) > 0 ? 0 : -1;
}

static int reads_its_own(void)
{
	char path[128], renamed[128];

	if (confine_to_inside() < 0)
		return FAILURES_MAX;
	snprintf(path, sizeof(path), "%s/new", inside);
	snprintf(renamed, sizeof(renamed), "%s/renamed", inside);
	return can_open(inside, "file", O_RDWR | O_TRUNC) ||
	       can_open(inside, "new", O_RDWR | O_CREAT) || rename(path, renamed) < 0 ||
	       unlink(renamed) < 0 || can_open("/usr", "lib", O_RDONLY | O_DIRECTORY) ||
	       can_open("/dev", "null", O_RDWR);
}

static int reads_nothing_else(void)
{
	char path[128], link_path[128];

	if (confine_to_inside() < 0)
		return FAILURES_MAX;
	snprintf(path, sizeof(path), "%s/file", outside);
	snprintf(link_path, sizeof(link_path), "%s/link", inside);
	return (can_open(outside, "file", O_RDONLY) != EACCES) +
	       (can_open(outside, "new", O_RDWR | O_CREAT) != EACCES) +
	       (can_open("/etc", "passwd", O_RDONLY) != EACCES) +
	       (can_open("/", "tmp", O_RDONLY | O_DIRECTORY) != EACCES) +
	       (unlink(path) == 0) + (link(path, link_path) == 0) +
	       (symlink("/etc", link_path) == 0) + (mkdir(link_path, 0700) == 0) +
	       (execl("/bin/true", "true", NULL) == 0);
}

static int reaches_no_port(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	cleanup_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (confine_to_inside() < 0)
		return FAILURES_MAX;
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return 1;
	address.sin_port = htons(9);
	return connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 ||
	       errno != EACCES;
}

static int signals_nobody(void)
{
	if (confine_to_inside() < 0)
		return FAILURES_MAX;
	return kill(getppid(), 0) == 0 || errno != EPERM;
}

static int becomes_another(void)
{
	struct account account;
	int fd;

	if (account_choose(NULL, &account, NULL) < 0)
		return FAILURES_MAX;
	fd = account_own(&account, inside, NULL);
	if (fd < 0 || account_enter(&account, NULL) < 0)
		return FAILURES_MAX;
	return (geteuid() == 0 || geteuid() != account.uid) + (getegid() == 0) +
	       (getgroups(0, NULL) != 0) + (setuid(0) == 0) + (setgid(0) == 0) +
	       (can_open("/etc", "shadow", O_RDONLY) != EACCES) +
	       (prctl(PR_GET_DUMPABLE) != 0) +
	       (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) +
	       (prctl(PR_CAPBSET_READ, 0) != 0);
}

/* By its descriptor, although the directory above it is not for it. */
static int owns_what_it_is_given(void)
{
	struct account account;
	char path[64];
	int fd;

	if (account_choose(NULL, &account, NULL) < 0)
		return FAILURES_MAX;
	fd = account_own(&account, inside, NULL);
	if (fd < 0 || account_enter(&account, NULL) < 0)
		return FAILURES_MAX;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return can_open(path, "file", O_RDWR) ||
	       can_open(path, "other", O_RDWR | O_CREAT) ||
	       can_open(inside, "file", O_RDONLY) != EACCES;
}

/* As in a container that has no other users. */
static int cannot_give(void)
{
	const struct account account = {.uid = 12345, .gid = 12345, .name = "12345"};
	int fd;

	if (unshare(CLONE_NEWUSER) < 0)
		return 0;
	fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0 0 1", 5) != 5)
		return FAILURES_MAX;
	close(fd);
	return account_own(&account, inside, NULL) >= 0;
}

static int leaves_what_is_in_use(void)
{
	const struct account account = {.uid = 12345, .gid = 12345, .name = "12345"};
	char path[128];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/lock", inside);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX) < 0)
		return FAILURES_MAX;
	return (account_own(&account, inside, NULL) != -EBUSY) +
	       (stat(inside, &st) < 0 || st.st_uid != 0);
}

static void landlock(void)
{
	unsigned version = confine_version();

	if (!version) {
		skip(4, "the kernel has no Landlock");
		return;
	}
	is_int(apart(reads_its_own), 0, "it reads and writes what is its own");
	is_int(apart(reads_nothing_else), 0, "and nothing else of the machine");
	if (version >= 4)
		is_int(apart(reaches_no_port), 0, "it reaches no port");
	if (version >= 6)
		is_int(apart(signals_nobody), 0, "it signals nobody else's process");
}

static void accounts(void)
{
	struct account account;
	struct error err;

	is_int(account_choose("no-such-user", &account, &err), getuid() ? -EPERM : -ENOENT,
	       "a user that is not there is refused");
	if (getuid() != 0) {
		skip(4, "only root becomes another user");
		return;
	}
	is_int(apart(cannot_give), 0, "a directory that cannot be given is only told of");
	is_int(apart(leaves_what_is_in_use), 0, "one that a pffs uses stays its user's");
	is_int(apart(becomes_another), 0, "root's becomes another user, for good");
	is_int(apart(owns_what_it_is_given), 0, "and has the directory that it was given");
}

static void remove_all(const char *folder)
{
	static const char *const names[] = {"file", "other", "lock"};
	char path[128];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		unlink(path);
	}
	rmdir(folder);
}

int main(void)
{
	if (!mkdtemp(dir))
		give_up(dir);
	snprintf(inside, sizeof(inside), "%s/inside", dir);
	snprintf(outside, sizeof(outside), "%s/outside", dir);
	if (mkdir(inside, 0700) < 0 || mkdir(outside, 0755) < 0)
		give_up(inside);
	write_file(inside, "file");
	write_file(outside, "file");
	landlock();
	accounts();
	remove_all(inside);
	remove_all(outside);
	is_int(rmdir(dir), 0, "nothing is left");
	return done_testing();
}
