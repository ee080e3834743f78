/* Names through the guest's file server: making, moving, removing and listing them. */
#include "tests/unit/files_kit.h"

#include <linux/capability.h>
#include <sys/syscall.h>

#include <sys/socket.h>
#include <sys/sysmacros.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define MANY	 10000

static struct stat stat_of(const char *name)
{
	struct stat st = {0};

	fstatat(kit.dir_fd, name, &st, AT_SYMLINK_NOFOLLOW);
	return st;
}

static bool exists(const char *name)
{
	return faccessat(kit.dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void directories(void)
{
	struct files_reply r = ASK(.op = FILES_MKDIR, .path = "d", .mode = 01777);

	ok(r.error == 0 && r.attr.mode == (S_IFDIR | 01777), "mkdir: no umask");
	is_int(stat_of("d").st_mode, S_IFDIR | 01777, "mkdir: it is there");
	is_int(ASK(.op = FILES_MKDIR, .path = "d").error, EEXIST, "mkdir: EEXIST");
	is_int(ASK(.op = FILES_MKDIR, .path = "").error, EEXIST, "mkdir: the root");
	is_int(ASK(.op = FILES_MKDIR, .path = "none/x").error, ENOENT, "mkdir: ENOENT");
	is_int(ASK(.op = FILES_MKDIR, .path = "d/in", .mode = 0700).error, 0,
	       "mkdir: in another");
	is_int(ASK(.op = FILES_RMDIR, .path = "d").error, ENOTEMPTY, "rmdir: ENOTEMPTY");
	is_int(ASK(.op = FILES_UNLINK, .path = "d").error, EISDIR, "unlink: EISDIR");
	is_int(ASK(.op = FILES_RMDIR, .path = "d/in").error, 0, "rmdir");
	is_int(ASK(.op = FILES_RMDIR, .path = "d/in").error, ENOENT, "rmdir: ENOENT");
	is_int(ASK(.op = FILES_RMDIR, .path = "").error, EBUSY, "rmdir: the root");
	make_file("plain", "x");
	is_int(ASK(.op = FILES_RMDIR, .path = "plain").error, ENOTDIR, "rmdir: ENOTDIR");
	is_int(ASK(.op = FILES_UNLINK, .path = "plain/x").error, ENOTDIR,
	       "unlink: ENOTDIR");
	is_int(ASK(.op = FILES_UNLINK, .path = "plain").error, 0, "unlink");
	is_int(ASK(.op = FILES_UNLINK, .path = "plain").error, ENOENT, "unlink: ENOENT");
	ok(!exists("plain"), "unlink: it has gone");
}

static void special_files(void)
{
	static const struct {
		mode_t type;
		int error;
	} cases[] = {
	    {S_IFREG, 0},     {S_IFIFO, 0},	{S_IFSOCK, 0},
	    {S_IFCHR, EPERM}, {S_IFBLK, EPERM}, {S_IFLNK, EINVAL},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct files_reply r =
		    ASK(.op = FILES_MKNOD, .path = "node", .mode = cases[i].type | 0640);

		is_int(r.error, cases[i].error, "mknod: type 0%o", cases[i].type);
		ok(r.error || r.attr.mode == (cases[i].type | 0640), "mknod: its mode");
		unlinkat(kit.dir_fd, "node", 0);
	}
	is_int(ASK(.op = FILES_MKNOD, .path = "d", .mode = S_IFREG).error, EEXIST,
	       "mknod: EEXIST");
}

/* A FIFO nobody writes to would hold up who opens it; a device may do anything. */
static void what_is_no_file_is_not_opened(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un {
		sa_family_t family;
		char path[108];
	} at = {AF_UNIX, "sock"};

	if (mkfifoat(kit.dir_fd, "fifo", 0644) ||
	    bind(fd, (struct sockaddr *)&at, sizeof(at)))
		abort();
	for (uint32_t how = FILES_O_READ; how <= FILES_O_WRITE; how <<= 1) {
		uint32_t create = how | FILES_O_CREAT;

		is_int(ASK(.op = FILES_OPEN, .path = "fifo", .flags = how).error, ENXIO,
		       "open: a FIFO");
		is_int(ASK(.op = FILES_OPEN, .path = "fifo", .flags = create).error, ENXIO,
		       "open: a FIFO, to create it");
		is_int(ASK(.op = FILES_OPEN, .path = "sock", .flags = how).error, ENXIO,
		       "open: a socket");
	}
	close(fd);
	if (mknodat(kit.dir_fd, "null", S_IFCHR | 0666, makedev(1, 3)) < 0) {
		skip(3, "we may not make devices");
		return;
	}
	is_int(ASK(.op = FILES_OPEN, .path = "null", .flags = FILES_O_READ).error, EPERM,
	       "open: a device");
	is_int(ASK(.op = FILES_SETATTR, .path = "null", .flags = FILES_SET_SIZE).error,
	       EINVAL, "truncate: a device");
	is_int(ASK(.op = FILES_LOOKUP, .path = "null").attr.rdev, makedev(1, 3),
	       "lookup: a device's number");
}

static void links(void)
{
	struct files_reply r;

	make_file("one", "1");
	r = ASK(.op = FILES_LINK, .path = "one", .path2 = "two");
	ok(r.error == 0 && r.attr.nlink == 2, "link: two names");
	is_int(stat_of("two").st_ino, stat_of("one").st_ino, "link: one file");
	is_int(ASK(.op = FILES_LINK, .path = "one", .path2 = "two").error, EEXIST,
	       "link: EEXIST");
	is_int(ASK(.op = FILES_LINK, .path = "none", .path2 = "x").error, ENOENT,
	       "link: ENOENT");
	is_int(ASK(.op = FILES_LINK, .path = "d", .path2 = "x").error, EPERM,
	       "link: a directory");
	r = ASK(.op = FILES_SYMLINK, .path = "sym", .path2 = "/any/../where\n");
	ok(r.error == 0 && S_ISLNK(r.attr.mode), "symlink");
	r = ASK(.op = FILES_READLINK, .path = "sym");
	ok(r.error == 0 && r.data_len == 14, "readlink");
	is_mem(r.data, "/any/../where\n", 14, "readlink: the very bytes");
	is_int(ASK(.op = FILES_READLINK, .path = "one").error, EINVAL, "readlink: a file");
	is_int(ASK(.op = FILES_SYMLINK, .path = "one", .path2 = "x").error, EEXIST,
	       "symlink: EEXIST");
	is_int(ASK(.op = FILES_SYMLINK, .path = "e", .path2 = "").error, ENOENT,
	       "symlink: to nothing");
	r = ASK(.op = FILES_LINK, .path = "sym", .path2 = "sym2");
	ok(r.error == 0 && S_ISLNK(r.attr.mode) && r.attr.nlink == 2,
	   "link: to a symbolic link, not through it");
	is_int(ASK(.op = FILES_UNLINK, .path = "sym").error, 0, "unlink: a link");
}

static int rename_error(const char *from, const char *to, uint32_t flags)
{
	return ASK(.op = FILES_RENAME, .path = from, .path2 = to, .flags = flags).error;
}

static void renames(void)
{
	make_file("a", "a");
	make_file("b", "bb");
	is_int(rename_error("a", "b", FILES_NOREPLACE), EEXIST, "rename: RENAME_NOREPLACE");
	is_int(rename_error("a", "b", FILES_EXCHANGE), 0, "rename: RENAME_EXCHANGE");
	ok(stat_of("a").st_size == 2 && stat_of("b").st_size == 1, "rename: they changed");
	is_int(rename_error("a", "none", FILES_EXCHANGE), ENOENT, "rename: with nothing");
	is_int(rename_error("a", "b", 0), 0, "rename: over another");
	ok(!exists("a") && stat_of("b").st_size == 2, "rename: it is the other now");
	is_int(rename_error("a", "c", 0), ENOENT, "rename: ENOENT");
	is_int(rename_error("b", "c", FILES_NOREPLACE), 0, "rename: to a free name");
	is_int(rename_error("c", "d", 0), EISDIR, "rename: a file over a directory");
	is_int(rename_error("d", "c", 0), ENOTDIR, "rename: and the reverse");
	is_int(rename_error("d", "d/x", 0), EINVAL, "rename: into itself");
	is_int(rename_error("c", "d/c", 0), 0, "rename: into a directory");
	is_int(rename_error("", "x", 0), EBUSY, "rename: the root");
	is_int(rename_error("d/c", "", 0), EBUSY, "rename: onto the root");
	is_int(rename_error("d/c", "c", FILES_NOREPLACE | FILES_EXCHANGE), EINVAL,
	       "rename: both flags");
	is_int(rename_error("d/c", "none/c", 0), ENOENT, "rename: to no directory");
}

/* Names are bytes; only slash and NUL are none of theirs. */
static void any_bytes(void)
{
	static char longest[FILES_NAME_MAX + 1];
	const char *const names[] = {"line\nbreak", "\xff\xfe\x80", " ", "...",
				     "\\\"'*?",	    "\x01\x7f",	    "-", longest};
	struct files_entry entry;
	struct files_reply r;
	struct cursor c;
	size_t seen = 0;

	memset(longest, 'L', FILES_NAME_MAX);
	ASK(.op = FILES_MKDIR, .path = "bytes", .mode = 0755);
	for (size_t i = 0; i < COUNT(names); i++) {
		char path[512];

		snprintf(path, sizeof(path), "bytes/%s", names[i]);
		r = ASK(.op = FILES_OPEN, .path = path, .mode = 0644,
			.flags = FILES_O_WRITE | FILES_O_CREAT | FILES_O_EXCL);
		ok(r.error == 0 && exists(path), "a name of strange bytes, number %zu", i);
		ASK(.op = FILES_CLOSE, .handle = r.handle);
	}
	r = ASK(.op = FILES_LIST, .path = "bytes", .size = FILES_IO_MAX);
	c = cursor_over(r.data, r.data_len);
	while (files_get_entry(&c, &entry) > 0)
		for (size_t i = 0; i < COUNT(names); i++)
			seen += strcmp(entry.name, names[i]) == 0;
	is_int(seen, COUNT(names), "all of them are listed");
	ok(r.has_attr && r.attr.ino == stat_of("bytes").st_ino,
	   "and with them their directory's attributes");
}

/* Page through "many". Return: how many names were seen in their pages of @size. */
static int page_through(uint32_t size, uint32_t flags, void (*between)(void))
{
	static uint8_t seen[MANY];
	struct files_reply r = {0};
	struct files_entry entry = {.cookie = 0};
	uint32_t handle = 0;
	int count = 0;

	memset(seen, 0, sizeof(seen));
	while (!r.error && !r.value) {
		struct cursor c;

		r = ASK(.op = FILES_LIST, .path = handle ? "" : "many", .handle = handle,
			.offset = entry.cookie, .size = size, .flags = flags);
		if (r.handle && flags)
			handle = r.handle;
		c = cursor_over(r.data, r.data_len);
		while (files_get_entry(&c, &entry) > 0) {
			int number = (int)strtol(entry.name, NULL, 10);

			if (number >= 0 && number < MANY && !seen[number]++)
				count += S_ISREG(entry.attr.mode) && entry.attr.nlink == 1;
		}
		if (between)
			between();
	}
	if (handle)
		ASK(.op = FILES_CLOSE, .handle = handle);
	return count;
}

/* Others come and go beside the many. */
static void disturb(void)
{
	static int n;
	char name[32];

	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "many/x%d", n++ % 100);
		if (unlinkat(kit.dir_fd, name, 0) < 0)
			make_file(name, "");
	}
}

static void a_large_directory(void)
{
	char name[32];
	struct files_reply r;

	ASK(.op = FILES_MKDIR, .path = "many", .mode = 0755);
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "many/%d", i);
		make_file(name, "");
	}
	is_int(page_through(FILES_IO_MAX, 0, NULL), MANY, "10,000 names in large pages");
	is_int(page_through(4096, 0, NULL), MANY, "in small ones");
	is_int(page_through(8192, FILES_KEEP, disturb), MANY,
	       "with an open directory, while others change");
	r = ASK(.op = FILES_LIST, .path = "many", .size = 20);
	is_int(r.error, EINVAL, "a page too small for a name");
	r = ASK(.op = FILES_LIST, .path = "d", .size = 4096, .flags = FILES_KEEP);
	ok(r.error == 0 && r.value == 1 && !r.handle, "a short list needs no handle");
	is_int(ASK(.op = FILES_LIST, .path = "d/c", .size = 4096).error, ENOTDIR,
	       "list: a file");
	is_int(ASK(.op = FILES_LIST, .path = "none", .size = 4096).error, ENOENT,
	       "list: nothing");
}

/* What the caller is not is what only root can give. */
static void owners(void)
{
	struct files_reply r;

	if (geteuid() != 0) {
		skip(10, "we are not root");
		return;
	}
	r = ASK(.op = FILES_OPEN, .path = "owned", .mode = 06755, .uid = 12, .gid = 34,
		.flags = FILES_O_WRITE | FILES_O_CREAT);
	ok(r.error == 0 && r.attr.uid == 12 && r.attr.gid == 34, "open: the owner");
	is_int(r.attr.mode, S_IFREG | 06755, "open: setuid bits stay");
	r = ASK(.op = FILES_MKDIR, .path = "owned.d", .mode = 0755, .uid = 12, .gid = 34);
	ok(r.error == 0 && r.attr.uid == 12 && r.attr.gid == 34, "mkdir: the owner");
	ASK(.op = FILES_SETATTR, .path = "owned.d", .flags = FILES_SET_MODE, .mode = 02755);
	r = ASK(.op = FILES_MKDIR, .path = "owned.d/sub", .mode = 0755, .uid = 56,
		.gid = 78);
	ok(r.error == 0 && r.attr.uid == 56 && r.attr.gid == 34,
	   "mkdir: the group of a setgid directory");
	ok(r.attr.mode & S_ISGID, "mkdir: and its bit");
	r = ASK(.op = FILES_OPEN, .path = "owned.d/f", .mode = 0644, .uid = 56, .gid = 78,
		.flags = FILES_O_WRITE | FILES_O_CREAT);
	ok(r.error == 0 && r.attr.uid == 56 && r.attr.gid == 34, "open: the same");
	r = ASK(.op = FILES_SYMLINK, .path = "owned.l", .path2 = "owned", .uid = 56);
	ok(r.error == 0 && r.attr.uid == 56, "symlink: the owner");
	is_int(stat_of("owned").st_uid, 12, "symlink: not that of its target");
	r = ASK(.op = FILES_SETATTR, .path = "owned", .flags = FILES_SET_GID, .gid = 9);
	ok(r.error == 0 && r.attr.uid == 12 && r.attr.gid == 9, "chown: the group alone");
	ok(!(r.attr.mode & S_ISUID), "chown: takes setuid away, as always");
}

/* What cannot be given to its owner is not made. Without the power to give it is so for
 * all; with it, when the disk is full. */
static void without_power(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2] = {0};

	syscall(SYS_capget, &header, caps);
	caps[0].effective &= ~(1u << CAP_CHOWN);
	caps[0].permitted &= ~(1u << CAP_CHOWN);
	if (syscall(SYS_capset, &header, caps) < 0)
		abort();
	kit_begin();
	is_int(ASK(.op = FILES_OPEN, .path = "f", .mode = 0644, .uid = 12,
		   .flags = FILES_O_WRITE | FILES_O_CREAT)
		   .error,
	       EPERM, "open: no owner");
	is_int(ASK(.op = FILES_MKDIR, .path = "d", .mode = 0755, .uid = 12).error, EPERM,
	       "mkdir: no owner");
	is_int(ASK(.op = FILES_MKNOD, .path = "p", .mode = S_IFIFO, .uid = 12).error, EPERM,
	       "mknod: no owner");
	is_int(ASK(.op = FILES_SYMLINK, .path = "l", .path2 = "f", .uid = 12).error, EPERM,
	       "symlink: no owner");
	ok(!exists("f") && !exists("d") && !exists("p") && !exists("l"),
	   "and nothing is left of them");
	is_int(kit_end(), 0, "the server ends with its socket");
}

int main(void)
{
	kit_begin();
	directories();
	special_files();
	what_is_no_file_is_not_opened();
	links();
	renames();
	any_bytes();
	a_large_directory();
	owners();
	is_int(kit_end(), 0, "the server ends with its socket");
	without_power();
	return done_testing();
}
