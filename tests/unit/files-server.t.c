/* The guest's file server, as a process on a folder: each operation and its errnos. */
#include "tests/unit/files_kit.h"

#define RW (FILES_O_READ | FILES_O_WRITE)

static struct stat stat_of(const char *name)
{
	struct stat st = {0};

	fstatat(kit.dir_fd, name, &st, AT_SYMLINK_NOFOLLOW);
	return st;
}

static void looking(void)
{
	struct files_reply r;
	struct stat st;

	make_file("plain", "12345");
	st = stat_of("plain");
	r = ASK(.op = FILES_LOOKUP, .path = "plain");
	ok(r.error == 0 && r.has_attr, "lookup: a file is there");
	is_int(r.attr.size, 5, "lookup: size");
	is_int(r.attr.ino, st.st_ino, "lookup: inode");
	is_int(r.attr.dev, st.st_dev, "lookup: device");
	is_int(r.attr.mode, st.st_mode, "lookup: mode");
	is_int(r.attr.mtime_ns, st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec,
	       "lookup: time");
	is_int(r.watch, -1, "lookup: no watch was asked for");
	r = ASK(.op = FILES_LOOKUP, .path = "none");
	ok(r.error == ENOENT && !r.has_attr, "lookup: ENOENT");
	r = ASK(.op = FILES_LOOKUP, .path = "plain/x");
	is_int(r.error, ENOTDIR, "lookup: ENOTDIR");
	r = ASK(.op = FILES_GETATTR, .path = "");
	ok(r.error == 0 && S_ISDIR(r.attr.mode), "getattr: the root");
	r = ASK(.op = FILES_GETATTR, .handle = 12345);
	is_int(r.error, EBADF, "getattr: no such handle");
}

static void nothing_leads_outside(void)
{
	static const char *const bad[] = {"..",	  "../etc", "/etc",  "/",
					  "a//b", "./a",    "sub/.."};
	static const char *const through[] = {"abs/passwd", "up/etc/passwd", "self/plain"};
	int e;

	mkdirat(kit.dir_fd, "sub", 0755);
	ok(symlinkat("/etc", kit.dir_fd, "abs") == 0 &&
	       symlinkat("../..", kit.dir_fd, "up") == 0 &&
	       symlinkat(".", kit.dir_fd, "self") == 0,
	   "there are links to the outside");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		is_int(ASK(.op = FILES_LOOKUP, .path = bad[i]).error, EINVAL,
		       "lookup of '%s'", bad[i]);
		is_int(ASK(.op = FILES_MKDIR, .path = bad[i]).error, EINVAL,
		       "mkdir of '%s'", bad[i]);
		is_int(ASK(.op = FILES_RENAME, .path = "sub", .path2 = bad[i]).error,
		       EINVAL, "rename to '%s'", bad[i]);
	}
	for (size_t i = 0; i < 3; i++) {
		e = ASK(.op = FILES_LOOKUP, .path = through[i]).error;
		ok(e == ELOOP || e == ENOTDIR, "lookup of '%s'", through[i]);
		e = ASK(.op = FILES_OPEN, .path = through[i], .flags = RW).error;
		ok(e == ELOOP || e == ENOTDIR, "open of '%s'", through[i]);
		e = ASK(.op = FILES_SYMLINK, .path = through[i], .path2 = "x").error;
		ok(e == ELOOP || e == ENOTDIR, "symlink at '%s'", through[i]);
	}
	is_int(ASK(.op = FILES_OPEN, .path = "abs", .flags = RW).error, ELOOP,
	       "open of a link");
	is_int(ASK(.op = FILES_LIST, .path = "abs", .size = 9999).error, ENOTDIR,
	       "list of a link");
	ok(S_ISLNK(ASK(.op = FILES_LOOKUP, .path = "abs").attr.mode), "a link is a link");
}

static void contents(void)
{
	struct files_reply r = ASK(.op = FILES_OPEN, .path = "new", .mode = 0640,
				   .flags = RW | FILES_O_CREAT | FILES_O_EXCL);
	uint32_t h = r.handle;

	ok(r.error == 0 && h && r.attr.size == 0, "open: a new file");
	is_int(stat_of("new").st_mode, S_IFREG | 0640, "open: its mode, without a umask");
	r = ASK(.op = FILES_WRITE, .handle = h, .offset = 3,
		.data = (const uint8_t *)"hello", .data_len = 5);
	ok(r.error == 0 && r.value == 5 && r.attr.size == 8, "write: at an offset");
	r = ASK(.op = FILES_READ, .handle = h, .offset = 0, .size = 100);
	ok(r.error == 0 && r.data_len == 8, "read: to the end");
	is_mem(r.data, "\0\0\0hello", 8, "read: what was written");
	r = ASK(.op = FILES_READ, .handle = h, .offset = 8, .size = 100);
	ok(r.error == 0 && r.data_len == 0, "read: behind the end");
	is_int(ASK(.op = FILES_READ, .handle = h, .size = FILES_IO_MAX + 1).error, EINVAL,
	       "read: more than a reply takes");
	r = ASK(.op = FILES_WRITE, .handle = h, .flags = FILES_O_APPEND,
		.data = (const uint8_t *)"!", .data_len = 1);
	ok(r.error == 0 && r.attr.size == 9, "write: appended");
	is_int(ASK(.op = FILES_CLOSE, .handle = h).error, 0, "close");
	is_int(ASK(.op = FILES_READ, .handle = h, .size = 1).error, EBADF,
	       "read: a closed handle");
	is_int(ASK(.op = FILES_CLOSE, .handle = h).error, EBADF, "close: twice");
	is_int(
	    ASK(.op = FILES_OPEN, .path = "new", .flags = RW | FILES_O_CREAT | FILES_O_EXCL)
		.error,
	    EEXIST, "open: O_EXCL");
}

int main(void)
{
	kit_begin();
	looking();
	nothing_leads_outside();
	contents();
	is_int(kit_end(), 0, "the server ends with its socket");
	return done_testing();
}
