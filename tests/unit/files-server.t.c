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

static void openings(void)
{
	struct files_reply r;

	make_file("text", "text");
	is_int(ASK(.op = FILES_OPEN, .path = "none", .flags = RW).error, ENOENT,
	       "open: ENOENT");
	is_int(ASK(.op = FILES_OPEN, .path = "text/x", .flags = RW).error, ENOTDIR,
	       "open: ENOTDIR");
	is_int(ASK(.op = FILES_OPEN, .path = "sub", .flags = RW).error, EISDIR,
	       "open: EISDIR");
	is_int(ASK(.op = FILES_OPEN, .path = "sub", .flags = RW | FILES_O_CREAT).error,
	       EISDIR, "open: to create what is a directory");
	r = ASK(.op = FILES_OPEN, .path = "text", .flags = RW | FILES_O_CREAT,
		.mode = 0600);
	ok(r.error == 0 && r.attr.size == 4 && (r.attr.mode & 0777) == 0644,
	   "open: O_CREAT of what is there changes nothing");
	ASK(.op = FILES_CLOSE, .handle = r.handle);
	r = ASK(.op = FILES_OPEN, .path = "text", .flags = FILES_O_READ);
	is_int(ASK(.op = FILES_WRITE, .handle = r.handle, .data = (const uint8_t *)"x",
		   .data_len = 1)
		   .error,
	       EBADF, "write: a handle for reading");
	is_int(
	    ASK(.op = FILES_SETATTR, .handle = r.handle, .flags = FILES_SET_SIZE, .size = 3)
		.attr.size,
	    3, "truncate: by any handle");
	ASK(.op = FILES_CLOSE, .handle = r.handle);
	r = ASK(.op = FILES_OPEN, .path = "text", .flags = FILES_O_WRITE);
	is_int(ASK(.op = FILES_READ, .handle = r.handle, .size = 1).error, EBADF,
	       "read: a handle for writing");
	ASK(.op = FILES_CLOSE, .handle = r.handle);
	r = ASK(.op = FILES_OPEN, .path = "text", .flags = RW | FILES_O_TRUNC);
	ok(r.error == 0 && r.attr.size == 0, "open: O_TRUNC");
	unlinkat(kit.dir_fd, "text", 0);
	is_int(ASK(.op = FILES_GETATTR, .handle = r.handle).attr.nlink, 0,
	       "getattr: a file without a name");
	is_int(ASK(.op = FILES_WRITE, .handle = r.handle, .data = (const uint8_t *)"x",
		   .data_len = 1)
		   .value,
	       1, "write: to it");
	ASK(.op = FILES_CLOSE, .handle = r.handle);
}

static mode_t mode_after_write(mode_t mode, uint32_t flags)
{
	struct files_reply r = ASK(.op = FILES_OPEN, .path = "setid", .mode = 0600,
				   .flags = FILES_O_WRITE | FILES_O_CREAT);
	uint32_t h = r.handle;

	if (fchmodat(kit.dir_fd, "setid", mode, 0) < 0)
		abort();
	r = ASK(.op = FILES_WRITE, .handle = h, .flags = flags,
		.data = (const uint8_t *)"x", .data_len = 1);
	is_int(r.attr.mode, stat_of("setid").st_mode, "write: the reply has the mode");
	ASK(.op = FILES_CLOSE, .handle = h);
	return stat_of("setid").st_mode & 07777;
}

static mode_t mode_after_emptying(mode_t mode, uint32_t flags)
{
	struct files_reply r;

	if (fchmodat(kit.dir_fd, "setid", mode, 0) < 0)
		abort();
	r = ASK(.op = FILES_OPEN, .path = "setid",
		.flags = FILES_O_WRITE | FILES_O_TRUNC | flags);
	is_int(r.attr.mode, stat_of("setid").st_mode, "open: the reply has the mode");
	ASK(.op = FILES_CLOSE, .handle = r.handle);
	return stat_of("setid").st_mode & 07777;
}

static void setuid_files(void)
{
	is_int(mode_after_write(06755, FILES_DROP_SUID), 0755,
	       "write: takes setuid and setgid bits away when told to");
	is_int(mode_after_write(06755, FILES_DROP_SUID | FILES_O_APPEND), 0755,
	       "write: and so when it appends");
	is_int(mode_after_write(03745, FILES_DROP_SUID), 03745,
	       "write: setgid without execution is no such thing");
	is_int(mode_after_write(04755, 0), geteuid() ? 0755 : 04755,
	       "write: who may keep them does");
	is_int(mode_after_emptying(06755, FILES_DROP_SUID), 0755,
	       "open: emptying a file takes them away, too");
	is_int(mode_after_emptying(04755, 0), geteuid() ? 0755 : 04755,
	       "open: who may keep them does");
	unlinkat(kit.dir_fd, "setid", 0);
}

/* Two who append at the same time do not write over one another. */
static void appending(void)
{
	uint32_t h = ASK(.op = FILES_OPEN, .path = "log", .mode = 0644,
			 .flags = FILES_O_WRITE | FILES_O_CREAT)
			 .handle;
	int fd = openat(kit.dir_fd, "log", O_WRONLY | O_APPEND | O_CLOEXEC);
	struct files_reply r;

	for (int i = 0; i < 200; i++) {
		post(&(struct files_request){.op = FILES_WRITE,
					     .handle = h,
					     .flags = FILES_O_APPEND,
					     .data = (const uint8_t *)"theirs\n",
					     .data_len = 7});
		if (write(fd, "ours\n", 5) != 5)
			abort();
		fetch(&r, PATIENCE_MSECS);
	}
	close(fd);
	is_int(stat_of("log").st_size, 200 * 12, "append: nothing is written over");
	ASK(.op = FILES_CLOSE, .handle = h);
}

static void attributes(void)
{
	const int64_t before_1970 = -1500000000, late = 4102444800000000123;
	struct files_reply r;
	int64_t now;

	make_file("attr", "12345678");
	r = ASK(.op = FILES_SETATTR, .path = "attr", .flags = FILES_SET_MODE,
		.mode = 04711);
	is_int(r.attr.mode, S_IFREG | 04711, "chmod");
	r = ASK(.op = FILES_SETATTR, .path = "attr", .size = 3,
		.flags = FILES_SET_SIZE | FILES_SET_MODE, .mode = 0600);
	ok(r.attr.size == 3 && r.attr.mode == (S_IFREG | 0600), "several at once");
	r = ASK(.op = FILES_SETATTR, .path = "attr", .size = 1ull << 40,
		.flags = FILES_SET_SIZE);
	ok(r.error == 0 && r.attr.size == 1ull << 40, "truncate: longer");
	is_int(ASK(.op = FILES_SETATTR, .path = "attr", .size = 1ull << 63,
		   .flags = FILES_SET_SIZE)
		   .error,
	       EINVAL, "truncate: more than there is");
	is_int(ASK(.op = FILES_SETATTR, .path = "sub", .flags = FILES_SET_SIZE).error,
	       EISDIR, "truncate: a directory");
	r = ASK(.op = FILES_SETATTR, .path = "attr", .atime_ns = before_1970,
		.mtime_ns = late, .flags = FILES_SET_ATIME | FILES_SET_MTIME);
	ok(r.attr.atime_ns == before_1970 && r.attr.mtime_ns == late, "utimens: both");
	r = ASK(.op = FILES_SETATTR, .path = "attr", .atime_ns = before_1970,
		.mtime_ns = INT64_MIN, .flags = FILES_SET_ATIME | FILES_SET_MTIME);
	is_int(r.error, 0, "utimens: the first moment there is");
	now = ASK(.op = FILES_SETATTR, .path = "attr",
		  .flags = FILES_SET_MTIME | FILES_NOW_MTIME)
		  .attr.mtime_ns;
	ok(now > 1600000000000000000 && now < late, "utimens: now");
	r = ASK(.op = FILES_GETATTR, .path = "attr");
	is_int(r.attr.atime_ns, before_1970, "utimens: the other stays");
	r = ASK(.op = FILES_SETATTR, .path = "abs", .mtime_ns = 5,
		.flags = FILES_SET_MTIME);
	ok(r.error == 0 && S_ISLNK(r.attr.mode) && r.attr.mtime_ns == 5,
	   "utimens: of a link itself");
	is_int(ASK(.op = FILES_SETATTR, .path = "abs", .flags = FILES_SET_MODE).error,
	       EOPNOTSUPP, "chmod: a link has no mode");
	is_int(ASK(.op = FILES_SETATTR, .path = "none", .flags = FILES_SET_MODE).error,
	       ENOENT, "chmod: ENOENT");
}

static void xattrs(void)
{
	const uint8_t *value = (const uint8_t *)"v\0\xff";
	struct files_reply r;

	make_file("x", "");
	r = ASK(.op = FILES_SETXATTR, .path = "x", .path2 = "user.a", .data = value,
		.data_len = 3);
	if (r.error == EOPNOTSUPP) {
		skip(9, "the file system has no xattrs");
		return;
	}
	is_int(r.error, 0, "setxattr");
	r = ASK(.op = FILES_GETXATTR, .path = "x", .path2 = "user.a", .size = 100);
	ok(r.error == 0 && r.data_len == 3 && memcmp(r.data, value, 3) == 0, "getxattr");
	r = ASK(.op = FILES_GETXATTR, .path = "x", .path2 = "user.a");
	ok(r.error == 0 && r.value == 3 && !r.data_len, "getxattr: its size");
	is_int(ASK(.op = FILES_GETXATTR, .path = "x", .path2 = "user.a", .size = 2).error,
	       ERANGE, "getxattr: ERANGE");
	is_int(ASK(.op = FILES_GETXATTR, .path = "x", .path2 = "user.b", .size = 9).error,
	       ENODATA, "getxattr: ENODATA");
	is_int(ASK(.op = FILES_SETXATTR, .path = "x", .path2 = "user.a", .mode = 1).error,
	       EEXIST, "setxattr: XATTR_CREATE");
	r = ASK(.op = FILES_LISTXATTR, .path = "x", .size = 100);
	ok(r.error == 0 && r.data_len == 7 && memcmp(r.data, "user.a", 7) == 0,
	   "listxattr");
	is_int(ASK(.op = FILES_REMOVEXATTR, .path = "x", .path2 = "user.a").error, 0,
	       "removexattr");
	is_int(ASK(.op = FILES_REMOVEXATTR, .path = "x", .path2 = "user.a").error, ENODATA,
	       "removexattr: twice");
}

static void holes_and_copies(void)
{
	uint32_t h = ASK(.op = FILES_OPEN, .path = "holes", .mode = 0644,
			 .flags = RW | FILES_O_CREAT)
			 .handle;
	uint32_t h2 =
	    ASK(.op = FILES_OPEN, .path = "copy", .mode = 0644, .flags = RW | FILES_O_CREAT)
		.handle;
	struct files_reply r;

	ASK(.op = FILES_WRITE, .handle = h, .offset = 1 << 20,
	    .data = (const uint8_t *)"data", .data_len = 4);
	r = ASK(.op = FILES_SEEK, .handle = h, .mode = SEEK_DATA);
	ok(r.error == 0 && r.value == 1 << 20, "seek: data");
	r = ASK(.op = FILES_SEEK, .handle = h, .offset = 1 << 20, .mode = SEEK_HOLE);
	ok(r.error == 0 && r.value == (1 << 20) + 4, "seek: the hole at the end");
	is_int(
	    ASK(.op = FILES_SEEK, .handle = h, .offset = 1 << 21, .mode = SEEK_DATA).error,
	    ENXIO, "seek: ENXIO");
	is_int(ASK(.op = FILES_SEEK, .handle = h, .mode = SEEK_SET).error, EINVAL,
	       "seek: what the host does itself");
	r = ASK(.op = FILES_COPY, .handle = h, .offset = 1 << 20, .handle2 = h2,
		.offset2 = 2, .size = 1 << 20);
	ok(r.error == 0 && r.value == 4, "copy");
	r = ASK(.op = FILES_READ, .handle = h2, .size = 10);
	ok(r.data_len == 6 && memcmp(r.data, "\0\0data", 6) == 0, "copy: it is there");
	is_int(ASK(.op = FILES_COPY, .handle = h, .handle2 = 9999, .size = 1).error, EBADF,
	       "copy: to nothing");
	r = ASK(.op = FILES_FALLOCATE, .handle = h2, .offset = 0, .size = 1 << 16);
	ok(r.error == 0 && r.attr.size == 1 << 16 && r.attr.blocks >= 128, "fallocate");
	r = ASK(.op = FILES_FALLOCATE, .handle = h2, .mode = 3, .size = 1 << 16);
	ok(r.error == 0 && r.attr.blocks < 128, "fallocate: a hole");
	is_int(ASK(.op = FILES_FALLOCATE, .handle = h2, .size = 0).error, EINVAL,
	       "fallocate: of nothing");
	is_int(ASK(.op = FILES_FSYNC, .handle = h).error, 0, "fsync");
	is_int(ASK(.op = FILES_FSYNC, .handle = h, .flags = FILES_DATA_ONLY).error, 0,
	       "fdatasync");
	is_int(ASK(.op = FILES_FSYNC, .path = "sub").error, 0, "fsync: a directory");
	ASK(.op = FILES_CLOSE, .handle = h);
	ASK(.op = FILES_CLOSE, .handle = h2);
}

static void file_system(void)
{
	struct files_reply r = ASK(.op = FILES_STATFS);
	struct files_statfs st = {0};

	ok(r.error == 0 && files_get_statfs(&r, &st) == 0, "statfs");
	ok(st.bsize && st.blocks >= st.bfree && st.bfree >= st.bavail &&
	       st.namelen == FILES_NAME_MAX,
	   "statfs: numbers that can be");
}

/* 64 in flight, answered in any order, each with its own bytes. */
static void many_at_once(void)
{
	static uint8_t data[FILES_IO_MAX];
	uint32_t h =
	    ASK(.op = FILES_OPEN, .path = "big", .mode = 0644, .flags = RW | FILES_O_CREAT)
		.handle;
	struct files_reply r;
	uint32_t first, stream;
	int good = 0;

	for (uint8_t i = 0; i < FILES_IN_FLIGHT; i++) {
		memset(data, i, sizeof(data));
		r = ASK(.op = FILES_WRITE, .handle = h,
			.offset = (uint64_t)i * FILES_IO_MAX, .data = data,
			.data_len = FILES_IO_MAX);
		good += r.value == FILES_IO_MAX;
	}
	is_int(good, FILES_IN_FLIGHT, "16 MiB are written");
	first = kit.stream + 1;
	for (uint8_t i = 0; i < FILES_IN_FLIGHT; i++)
		post(&(struct files_request){.op = FILES_READ,
					     .handle = h,

					     .offset = (uint64_t)i * FILES_IO_MAX,
					     .size = FILES_IO_MAX});
	good = 0;
	for (uint8_t i = 0; i < FILES_IN_FLIGHT; i++) {
		stream = fetch(&r, PATIENCE_MSECS);
		memset(data, (int)(stream - first), sizeof(data));
		good += stream >= first && r.data_len == FILES_IO_MAX &&
			memcmp(r.data, data, FILES_IO_MAX) == 0;
	}
	is_int(good, FILES_IN_FLIGHT, "and read by 64 requests at once");
	ASK(.op = FILES_CLOSE, .handle = h);
}

static void what_is_not_asked_for_well(void)
{
	struct buf out = {0};
	struct files_reply r;

	agent_put(&out, kit.epoch, 5, AGENT_FILES, "\xff\xff", 2);
	agent_put(&out, kit.epoch, 6, AGENT_STDIN, "x", 1);
	if (write(kit.fd, buf_peek(&out), out.len) < 0)
		abort();
	buf_fini(&out);
	ok(fetch(&r, PATIENCE_MSECS) == 5 && r.error == EPROTO, "what is no request");
	is_int(ASK(.op = FILES_LOOKUP, .path = "big").error, 0, "and on it goes");
}

int main(void)
{
	kit_begin();
	looking();
	nothing_leads_outside();
	contents();
	openings();
	setuid_files();
	appending();
	attributes();
	xattrs();
	holes_and_copies();
	file_system();
	many_at_once();
	what_is_not_asked_for_well();
	is_int(kit_end(), 0, "the server ends with its socket");
	return done_testing();
}
