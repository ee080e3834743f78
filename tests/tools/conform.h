/*
 * What the programs share that say whether a directory behaves as Linux's file systems
 * do: conform-NAME DIRECTORY makes a directory of its own in there, tries things with
 * short relative names, and speaks TAP. Each holds for ext4, for overlayfs, and for a
 * sandbox's fs/.
 */
#pragma once

#include "tests/unit/tap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONFORM_LIMIT 300 /* seconds that a program may take */

static char conform_dir[PATH_MAX];
static bool conform_mount; /* it is a FUSE file system */

static inline const char *errno_name(int errnum)
{
	const char *name = errnum ? strerrorname_np(errnum) : "success";

	return name ? name : "an unknown errno";
}

/** works() - the call does not return -1. Return: what it returned. */
#define works(call, ...)                                                                   \
	({                                                                                 \
		errno = 0;                                                                 \
		intmax_t works_r = (intmax_t)(call);                                       \
		int works_errno = errno;                                                   \
		if (!tap_ok(works_r != -1, __FILE__, __LINE__, __VA_ARGS__))               \
			diag("%s: %s", #call, errno_name(works_errno));                    \
		works_r;                                                                   \
	})

/** fails() - the call returns -1 with this errno. */
#define fails(errnum, call, ...) fails_either(errnum, errnum, call, __VA_ARGS__)

/** fails_either() - the call returns -1 with one of these errnos. */
#define fails_either(errnum, other, call, ...)                                             \
	do {                                                                               \
		errno = 0;                                                                 \
		intmax_t fails_r = (intmax_t)(call);                                       \
		int fails_errno = fails_r == -1 ? errno : 0;                               \
		if (!tap_ok(fails_errno == (errnum) || fails_errno == (other), __FILE__,   \
			    __LINE__, __VA_ARGS__))                                        \
			diag("%s: got %s, want %s", #call, errno_name(fails_errno),        \
			     errno_name(errnum));                                          \
	} while (0)

static inline int conform_remove(const char *path, const struct stat *st, int type,
				 struct FTW *ftw)
{
	(void)st;
	(void)ftw;
	return type == FTW_DP ? rmdir(path) : unlink(path);
}

/** remove_tree() - a directory and all in it. */
static inline int remove_tree(const char *path)
{
	return nftw(path, conform_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/** must() - a step that prepares a test succeeds, or the program ends. */
#define must(call)                                                                         \
	do {                                                                               \
		if ((call) < 0) {                                                          \
			diag("%s: %s", #call, strerror(errno));                            \
			exit(2);                                                           \
		}                                                                          \
	} while (0)

/** begin() - enter a new directory in argv[1], or end the program. */
static inline void begin(int argc, char **argv)
{
	struct statfs fs;

	alarm(CONFORM_LIMIT);
	umask(022);
	if (argc != 2 ||
	    snprintf(conform_dir, sizeof(conform_dir), "%s/conform.XXXXXX", argv[1]) >=
		(int)sizeof(conform_dir) ||
	    !mkdtemp(conform_dir) || chdir(conform_dir) < 0 || statfs(".", &fs) < 0) {
		fprintf(stderr, "cannot work in %s: %s\n", argc == 2 ? argv[1] : "DIR",
			strerror(errno));
		exit(2);
	}
	conform_mount = fs.f_type == FUSE_SUPER_MAGIC;
}

/** end() - that directory goes, which is a test, too. Return: for main(). */
static inline int end(void)
{
	works(chdir("/"), "the directory can be left");
	works(remove_tree(conform_dir), "and removed with all that is in it");
	return done_testing();
}

/** make_file() - with these bytes. */
static inline void make_file(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		diag("cannot make %s: %s", name, strerror(errno));
	close(fd);
}

/** content() - of a small file, as a string; "" when it cannot be read. */
static inline const char *content(const char *name)
{
	static char text[4096];
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	close(fd);
	return text;
}

/** stat_of() - as lstat(2), all zeros when that fails. */
static inline struct stat stat_of(const char *name)
{
	struct stat st;

	if (lstat(name, &st) < 0)
		st = (struct stat){0};
	return st;
}

/** in_child() - Return: what @fn returned in a process of its own, 0 to 255. */
static inline int in_child(int (*fn)(void))
{
	int status = 0;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(fn());
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
		return 255;
	return WEXITSTATUS(status);
}

/** errno_of() - Return: 0, or the errno of a call that returned -1. */
#define errno_of(call) ((call) == -1 ? errno : 0)

/**
 * be_ordinary() - give up root's power over files, but not its user id, which is the
 * owner's here.
 */
static inline void be_ordinary(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

	if (syscall(SYS_capset, &header, none) < 0)
		_exit(254);
}
