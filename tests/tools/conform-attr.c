/*
 * Attributes: modes, owners, times, extended attributes, and who may.
 */
#include "tests/tools/conform.h"

#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <time.h>

#define NOBODY 65534

static int mode_of(const char *name)
{
	return (int)(stat_of(name).st_mode & 07777);
}

static void modes(void)
{
	static const mode_t tried[] = {0, 0400, 0644, 0777, 01777, 02755, 04755, 07777};

	make_file("file", "text");
	must(mkdir("dir", 0755));
	for (size_t i = 0; i < sizeof(tried) / sizeof(tried[0]); i++) {
		works(chmod("file", tried[i]), "chmod %04o of a file", tried[i]);
		is_int(mode_of("file"), tried[i], "is seen");
		works(chmod("dir", tried[i]), "chmod %04o of a directory", tried[i]);
		is_int(mode_of("dir"), tried[i], "is seen");
	}
	must(chmod("dir", 02775));
	works(chown("dir", 0, 12), "a directory of another group");
	works(chmod("dir", 02775), "with the setgid bit");
	make_file("dir/file", "");
	is_int(stat_of("dir/file").st_gid, 12, "gives its group to a file made there");
	must(mkdir("dir/sub", 0755));
	is_int(stat_of("dir/sub").st_gid, 12, "and to a directory");
	ok(mode_of("dir/sub") & S_ISGID, "with the bit");
}

static void owners(void)
{
	make_file("owned", "");
	works(chown("owned", 1234, 2345), "chown");
	is_int(stat_of("owned").st_uid, 1234, "the user is seen");
	is_int(stat_of("owned").st_gid, 2345, "and the group");
	works(chown("owned", (uid_t)-1, 77), "chown: the group alone");
	is_int(stat_of("owned").st_uid, 1234, "leaves the user");
	works(chown("owned", 4000000000u, 4000000000u), "chown: a large number");
	is_int(stat_of("owned").st_uid, 4000000000u, "is seen");
	must(chmod("owned", 06755));
	works(chown("owned", 0, 0), "chown: of a setuid program");
	is_int(mode_of("owned"), 0755, "takes the bits away");
	must(symlink("owned", "link-to-owned"));
	works(lchown("link-to-owned", 5, 6), "lchown");
	is_int(stat_of("link-to-owned").st_uid, 5, "changes the link");
	is_int(stat_of("owned").st_uid, 0, "and not the file");
}

static struct timespec at(time_t seconds, long ns)
{
	return (struct timespec){seconds, ns};
}

static void set_times(const char *what, time_t seconds, long ns)
{
	const struct timespec times[2] = {at(seconds, ns), at(seconds + 1, ns)};
	struct stat st;

	works(utimensat(AT_FDCWD, "timed", times, 0), "utimensat: %s", what);
	st = stat_of("timed");
	ok(st.st_atim.tv_sec == seconds && st.st_atim.tv_nsec == ns, "its atime is exact");
	ok(st.st_mtim.tv_sec == seconds + 1 && st.st_mtim.tv_nsec == ns, "and its mtime");
}

static bool later(struct timespec a, struct timespec b)
{
	return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}

/* Longer than a tick of the guest's clock, of which a file's times are. */
static void rest(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
}

static void times_that_are_set(void)
{
	const struct timespec omit[2] = {at(0, UTIME_OMIT), at(7, 0)};
	const struct timespec now[2] = {at(0, UTIME_NOW), at(0, UTIME_NOW)};
	const struct timespec bad[2] = {at(0, 1000000000), at(0, 0)};
	struct stat before, after;

	make_file("timed", "");
	set_times("nanoseconds", 1000000000, 123456789);
	set_times("1970", 0, 1);
	set_times("before 1970", -1000, 999999999);
	set_times("after 2038", (time_t)1 << 32, 5);
	before = stat_of("timed");
	rest();
	works(utimensat(AT_FDCWD, "timed", omit, 0), "utimensat: UTIME_OMIT");
	after = stat_of("timed");
	is_int(after.st_atim.tv_sec, before.st_atim.tv_sec, "leaves what it names");
	is_int(after.st_mtim.tv_sec, 7, "and sets the other");
	ok(later(after.st_ctim, before.st_ctim), "ctime goes on");
	works(utimensat(AT_FDCWD, "timed", now, 0), "utimensat: UTIME_NOW");
	ok(labs(stat_of("timed").st_mtim.tv_sec - time(NULL)) < 60, "is about now");
	fails(EINVAL, utimensat(AT_FDCWD, "timed", bad, 0), "utimensat: a billion ns");
	must(symlink("timed", "timed-link"));
	works(utimensat(AT_FDCWD, "timed-link", omit, AT_SYMLINK_NOFOLLOW), "of a link");
	is_int(stat_of("timed-link").st_mtim.tv_sec, 7, "which is changed itself");
}

static void times_that_change(void)
{
	struct stat dir, file, now;
	int fd;

	must(mkdir("clock", 0755));
	dir = stat_of("clock");
	rest();
	make_file("clock/x", "1");
	now = stat_of("clock");
	ok(later(now.st_mtim, dir.st_mtim), "a new name changes the directory's mtime");
	dir = now;
	file = stat_of("clock/x");
	rest();
	fd = open("clock/x", O_WRONLY | O_APPEND);
	works(write(fd, "2", 1), "a write");
	close(fd);
	now = stat_of("clock/x");
	ok(later(now.st_mtim, file.st_mtim), "changes the file's mtime");
	ok(later(now.st_ctim, file.st_ctim), "and ctime");
	is_int(stat_of("clock").st_mtim.tv_nsec, dir.st_mtim.tv_nsec,
	       "not its directory's");
	file = now;
	rest();
	must(chmod("clock/x", 0600));
	now = stat_of("clock/x");
	is_int(now.st_mtim.tv_nsec, file.st_mtim.tv_nsec, "chmod does not change mtime");
	ok(later(now.st_ctim, file.st_ctim), "but ctime");
	file = now;
	rest();
	must(link("clock/x", "clock/y"));
	now = stat_of("clock/x");
	ok(later(now.st_ctim, file.st_ctim), "so does a link");
	file = now;
	rest();
	unlink("clock/y");
	now = stat_of("clock/x");
	ok(later(now.st_ctim, file.st_ctim), "and its end");
	ok(later(stat_of("clock").st_mtim, dir.st_mtim), "which is the directory's, too");
	file = now;
	rest();
	must(truncate("clock/x", 0));
	ok(later(stat_of("clock/x").st_mtim, file.st_mtim), "truncate changes mtime");
}

static bool has_name(const char *list, ssize_t len, const char *name)
{
	for (ssize_t i = 0; i < len; i += (ssize_t)strlen(list + i) + 1)
		if (strcmp(list + i, name) == 0)
			return true;
	return false;
}

static void extended_attributes(void)
{
	static char big[65537];
	char got[256];
	ssize_t len;

	make_file("x", "");
	if (setxattr("x", "user.a", "value", 5, 0) < 0 && errno == EOPNOTSUPP) {
		skip(1, "no extended attributes here");
		return;
	}
	is_int(getxattr("x", "user.a", got, sizeof(got)), 5, "getxattr");
	is_mem(got, "value", 5, "gives what was set");
	is_int(getxattr("x", "user.a", NULL, 0), 5, "and its size");
	fails(ERANGE, getxattr("x", "user.a", got, 3), "getxattr: little room");
	fails(ENODATA, getxattr("x", "user.b", got, sizeof(got)),
	      "getxattr: a missing one");
	fails(EEXIST, setxattr("x", "user.a", "v", 1, XATTR_CREATE),
	      "setxattr: XATTR_CREATE");
	fails(ENODATA, setxattr("x", "user.b", "v", 1, XATTR_REPLACE),
	      "setxattr: XATTR_REPLACE");
	works(setxattr("x", "user.empty", "", 0, 0), "setxattr: an empty value");
	is_int(getxattr("x", "user.empty", got, sizeof(got)), 0, "which is there");
	works(setxattr("x", "user.bin", "\0\xff\n", 3, 0), "setxattr: any bytes");
	is_int(getxattr("x", "user.bin", got, sizeof(got)), 3, "of any value");
	is_mem(got, "\0\xff\n", 3, "come back");
	len = works(listxattr("x", got, sizeof(got)), "listxattr");
	ok(has_name(got, len, "user.a") && has_name(got, len, "user.empty"),
	   "has them all");
	fails(ERANGE, listxattr("x", got, 3), "listxattr: little room");
	works(removexattr("x", "user.a"), "removexattr");
	fails(ENODATA, removexattr("x", "user.a"), "removexattr: once more");
	fails(E2BIG, setxattr("x", "user.big", big, sizeof(big), 0), "setxattr: too much");
	fails(EOPNOTSUPP, setxattr("x", "nonsense.x", "v", 1, 0), "setxattr: no namespace");
	must(mkdir("xd", 0755));
	works(setxattr("xd", "user.a", "dir", 3, 0), "setxattr: a directory");
	is_int(getxattr("xd", "user.a", got, sizeof(got)), 3, "is the same");
	must(symlink("x", "xl"));
	fails(EPERM, lsetxattr("xl", "user.a", "v", 1, 0), "lsetxattr: a link");
}

/* These run as the owner without root's power. */
static int read_without_permission(void)
{
	be_ordinary();
	return errno_of(open("secret", O_RDONLY));
}

static int write_without_permission(void)
{
	be_ordinary();
	return errno_of(open("readable", O_WRONLY));
}

static int search_without_permission(void)
{
	be_ordinary();
	return errno_of(access("closed/x", F_OK));
}

static int create_without_permission(void)
{
	be_ordinary();
	return errno_of(mkdir("fixed/new", 0755));
}

static int unlink_without_permission(void)
{
	be_ordinary();
	return errno_of(unlink("fixed/x"));
}

static int unlink_in_sticky(void)
{
	be_ordinary();
	return errno_of(unlink("sticky/theirs"));
}

static int chmod_of_other(void)
{
	be_ordinary();
	return errno_of(chmod("theirs", 0777));
}

static int chown_to_other(void)
{
	be_ordinary();
	return errno_of(chown("mine", NOBODY, (gid_t)-1));
}

static int time_of_other(void)
{
	const struct timespec times[2] = {{0}};

	be_ordinary();
	return errno_of(utimensat(AT_FDCWD, "theirs", times, 0));
}

static int write_to_setuid(void)
{
	int fd;

	be_ordinary();
	fd = open("setuid", O_WRONLY);
	return fd < 0 ? errno : errno_of(write(fd, "x", 1));
}

static int append_to_setuid(void)
{
	int fd;

	be_ordinary();
	fd = open("setuid", O_WRONLY | O_APPEND);
	return fd < 0 ? errno : errno_of(write(fd, "x", 1));
}

static int empty_setuid(void)
{
	be_ordinary();
	return errno_of(open("setuid", O_WRONLY | O_TRUNC));
}

static int truncate_without_permission(void)
{
	be_ordinary();
	return errno_of(truncate("readable", 0));
}

static void permissions(void)
{
	make_file("secret", "x");
	must(chmod("secret", 0));
	make_file("readable", "x");
	must(chmod("readable", 0444));
	must(mkdir("closed", 0));
	must(mkdir("fixed", 0755));
	make_file("fixed/x", "");
	must(chmod("fixed", 0555));
	must(mkdir("sticky", 0755));
	make_file("sticky/theirs", "");
	must(chown("sticky/theirs", NOBODY, NOBODY));
	must(chown("sticky", NOBODY, NOBODY));
	must(chmod("sticky", 01777));
	make_file("theirs", "");
	must(chown("theirs", NOBODY, NOBODY));
	must(chmod("theirs", 0666));
	make_file("mine", "");
	make_file("setuid", "");
	must(chmod("setuid", 06777));
	is_int(in_child(read_without_permission), EACCES, "open: mode 0000");
	is_int(in_child(write_without_permission), EACCES, "open: 0444 for writing");
	is_int(in_child(truncate_without_permission), EACCES, "truncate: 0444");
	is_int(in_child(search_without_permission), EACCES, "access: through mode 0000");
	is_int(in_child(create_without_permission), EACCES, "mkdir: in mode 0555");
	is_int(in_child(unlink_without_permission), EACCES, "unlink: in mode 0555");
	is_int(in_child(unlink_in_sticky), EPERM,
	       "unlink: another's, in a sticky directory");
	is_int(in_child(chmod_of_other), EPERM, "chmod: another's file");
	is_int(in_child(chown_to_other), EPERM, "chown: one's own to another");
	is_int(in_child(time_of_other), EPERM, "utimensat: another's file");
	is_int(in_child(write_to_setuid), 0, "write: a setuid file");
	is_int(mode_of("setuid"), 0777, "takes its bits away");
	must(chmod("setuid", 06777));
	is_int(in_child(append_to_setuid), 0, "write: behind the end of a setuid file");
	/* To a mount whoever has root's number is root, and may leave them. */
	if (!conform_mount || geteuid() != 0)
		is_int(mode_of("setuid"), 0777, "takes its bits away");
	must(chmod("setuid", 06777));
	is_int(in_child(empty_setuid), 0, "open: O_TRUNC of a setuid file");
	if (!conform_mount || geteuid() != 0)
		is_int(mode_of("setuid"), 0777, "takes its bits away");
}

static void file_system(void)
{
	struct statvfs st = {0};

	works(statvfs(".", &st), "statvfs");
	ok(st.f_blocks > 0 && st.f_bavail <= st.f_bfree && st.f_bfree <= st.f_blocks,
	   "blocks, free ones, available ones");
	is_int(st.f_namemax, NAME_MAX, "the longest name");
	ok(st.f_frsize > 0, "a size of blocks");
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	modes();
	owners();
	times_that_are_set();
	times_that_change();
	extended_attributes();
	permissions();
	file_system();
	return end();
}
