/*
 * Names: each operation that makes, finds, moves or removes one, and its errnos.
 */
#include "tests/tools/conform.h"

#include <stdio.h>
#include <sys/time.h>

static char long_name[NAME_MAX + 2];	/* one byte too long */
static char longest_name[NAME_MAX + 1]; /* not too long */

/* Operations that make something of the name. */
static int make_dir(const char *path)
{
	return mkdir(path, 0755);
}

static int create(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	return fd < 0 ? -1 : close(fd);
}

static int make_fifo(const char *path)
{
	return mkfifo(path, 0644);
}

static int make_symlink(const char *path)
{
	return symlink("file", path);
}

static int make_link(const char *path)
{
	return link("file", path);
}

static int move_to(const char *path)
{
	make_file("moved", "");
	return rename("moved", path);
}

/* Operations on something that is there. */
static int open_it(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -1 : close(fd);
}

static int stat_it(const char *path)
{
	struct stat st;

	return stat(path, &st);
}

static int access_it(const char *path)
{
	return access(path, R_OK);
}

static int chmod_it(const char *path)
{
	return chmod(path, 0644);
}

static int chown_it(const char *path)
{
	return chown(path, 0, 0);
}

static int truncate_it(const char *path)
{
	return truncate(path, 0);
}

static int touch_it(const char *path)
{
	return utimensat(AT_FDCWD, path, NULL, 0);
}

static int readlink_it(const char *path)
{
	char target[64];

	return (int)readlink(path, target, sizeof(target));
}

static int link_it(const char *path)
{
	return link(path, "linked");
}

static int move_it(const char *path)
{
	return rename(path, "moved");
}

struct operation {
	const char *name;
	int (*run)(const char *path);
	bool makes;
};

static const struct operation operations[] = {
    {"mkdir", make_dir, true},	    {"open O_CREAT|O_EXCL", create, true},
    {"mkfifo", make_fifo, true},    {"symlink", make_symlink, true},
    {"link to", make_link, true},   {"rename to", move_to, true},
    {"open", open_it, false},	    {"stat", stat_it, false},
    {"access", access_it, false},   {"chmod", chmod_it, false},
    {"chown", chown_it, false},	    {"truncate", truncate_it, false},
    {"utimensat", touch_it, false}, {"readlink", readlink_it, false},
    {"link of", link_it, false},    {"rename of", move_it, false},
    {"unlink", unlink, false},	    {"rmdir", rmdir, false},
};

static void paths_that_lead_nowhere(void)
{
	char in_dir[NAME_MAX + 8];

	make_file("file", "text");
	must(mkdir("dir", 0755));
	must(symlink("loop2", "loop"));
	must(symlink("loop", "loop2"));
	snprintf(in_dir, sizeof(in_dir), "dir/%s", long_name);
	for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
		const struct operation *op = &operations[i];

		fails(ENOENT, op->run("missing/x"), "%s: below a missing name", op->name);
		fails(ENOTDIR, op->run("file/x"), "%s: below a file", op->name);
		fails(ELOOP, op->run("loop/x"), "%s: through a loop of links", op->name);
		fails(ENAMETOOLONG, op->run(in_dir), "%s: a name of 256 bytes", op->name);
		if (!op->makes)
			fails(ENOENT, op->run("missing"), "%s: a missing name", op->name);
		else if (op->run != move_to)
			fails(EEXIST, op->run("file"), "%s: a name that is there",
			      op->name);
		if (op->makes)
			works(op->run(longest_name), "%s: a name of 255 bytes", op->name);
		remove(longest_name);
	}
	is_str(content("file"), "text", "none of that changed the file");
}

static void removal(void)
{
	must(mkdir("full", 0755));
	make_file("full/x", "");
	make_file("plain", "");
	must(symlink("full", "to-full"));
	fails_either(ENOTEMPTY, EEXIST, rmdir("full"), "rmdir: a directory with entries");
	fails(ENOTDIR, rmdir("plain"), "rmdir: a file");
	fails(ENOTDIR, rmdir("to-full"), "rmdir: a link to a directory");
	fails(EINVAL, rmdir("full/."), "rmdir: its name is .");
	fails_either(ENOTEMPTY, EEXIST, rmdir("full/.."), "rmdir: its name is ..");
	fails_either(EISDIR, EPERM, unlink("full"), "unlink: a directory");
	fails(ENOTDIR, unlink("plain/"), "unlink: a file with a slash behind it");
	works(unlink("to-full"), "unlink: a link");
	works(access("full/x", F_OK), "what it pointed to stays");
	works(unlink("full/x"), "unlink: the entry");
	works(rmdir("full"), "rmdir: the empty directory");
	fails(ENOENT, rmdir("full"), "rmdir: once more");
}

static int rename_with(const char *from, const char *to, unsigned flags)
{
	return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
}

static void renames(void)
{
	struct stat before, after;

	make_file("a", "of a");
	make_file("b", "of b");
	must(mkdir("d", 0755));
	must(mkdir("e", 0755));
	make_file("e/x", "");
	before = stat_of("a");
	works(rename("a", "b"), "rename: onto a file");
	after = stat_of("b");
	is_str(content("b"), "of a", "which has the content");
	is_int(after.st_ino, before.st_ino, "and the inode's number of what was moved");
	fails(ENOENT, access("a", F_OK), "whose name is gone");
	fails(EISDIR, rename("b", "d"), "rename: a file onto a directory");
	fails(ENOTDIR, rename("d", "b"), "rename: a directory onto a file");
	fails_either(ENOTEMPTY, EEXIST, rename("d", "e"), "rename: onto a full directory");
	fails(EINVAL, rename("e", "e/sub"), "rename: a directory into itself");
	fails_either(EINVAL, EBUSY, rename("e/.", "f"), "rename: of .");
	works(rename("e", "d"), "rename: a directory onto an empty one");
	works(access("d/x", F_OK), "with its entries");
	works(rename("d/x", "y"), "rename: into another directory");
	works(rename("y", "y"), "rename: onto itself");
	works(link("y", "z"), "a second link");
	works(rename("y", "z"), "rename: onto a link of the same file");
	works(access("y", F_OK), "changes nothing");
	unlink("y");
	unlink("z");
	rmdir("d");
	unlink("b");
}

static void renames_with_flags(void)
{
	make_file("a", "of a");
	make_file("b", "of b");
	must(mkdir("d", 0755));
	make_file("d/x", "");
	fails(EEXIST, rename_with("a", "b", RENAME_NOREPLACE), "NOREPLACE: a name there");
	is_str(content("b"), "of b", "which is left alone");
	works(rename_with("a", "c", RENAME_NOREPLACE), "NOREPLACE: a new name");
	works(rename_with("b", "c", RENAME_EXCHANGE), "EXCHANGE: two files");
	is_str(content("b"), "of a", "which change their places");
	is_str(content("c"), "of b", "both");
	works(rename_with("b", "d", RENAME_EXCHANGE), "EXCHANGE: a file and a directory");
	is_str(content("d"), "of a", "the one");
	works(access("b/x", F_OK), "and the other");
	fails(ENOENT, rename_with("c", "missing", RENAME_EXCHANGE),
	      "EXCHANGE: a missing name");
	fails(EINVAL, rename_with("c", "d", RENAME_EXCHANGE | RENAME_NOREPLACE),
	      "EXCHANGE and NOREPLACE at once");
	fails(EINVAL, rename_with("c", "e", 1u << 20), "rename: an unknown flag");
	fails(EXDEV, rename("c", "/dev/shm/conform-of-another-file-system"),
	      "rename: to another file system");
	fails(EXDEV, link("c", "/dev/shm/conform-of-another-file-system"),
	      "link: to another file system");
	remove_tree("b");
	unlink("c");
	unlink("d");
}

static void hard_links(void)
{
	make_file("first", "one");
	must(mkdir("dir2", 0755));
	works(link("first", "dir2/second"), "link: in another directory");
	is_int(stat_of("first").st_nlink, 2, "a file with two names");
	is_int(stat_of("dir2/second").st_ino, stat_of("first").st_ino, "is one inode");
	make_file("dir2/second", "two");
	is_str(content("first"), "two", "with one content");
	works(chmod("first", 0600), "chmod of one name");
	is_int(stat_of("dir2/second").st_mode & 07777, 0600, "is seen at the other");
	fails(EEXIST, link("first", "dir2/second"), "link: a name that is there");
	fails(EPERM, link("dir2", "dir3"), "link: a directory");
	works(unlink("first"), "unlink: one name");
	is_int(stat_of("dir2/second").st_nlink, 1, "leaves the other alone");
	is_str(content("dir2/second"), "two", "with the content");
	remove_tree("dir2");
}

static void symbolic_links(void)
{
	char target[PATH_MAX], got[PATH_MAX], name[16], to[16];

	make_file("aim", "hit");
	works(symlink("aim", "arrow"), "symlink");
	is_int(readlink("arrow", got, sizeof(got)), 3, "readlink gives the target");
	is_int(stat_of("arrow").st_size, 3, "whose length is the link's size");
	ok(S_ISLNK(stat_of("arrow").st_mode), "lstat tells that it is a link");
	is_str(content("arrow"), "hit", "it is followed");
	fails(ELOOP, open("arrow", O_RDONLY | O_NOFOLLOW), "open: O_NOFOLLOW");
	works(symlink("nowhere", "dangling"), "symlink: to nothing");
	fails(ENOENT, access("dangling", F_OK), "which is not there");
	works(open("dangling", O_WRONLY | O_CREAT, 0644), "open: O_CREAT through it");
	works(access("nowhere", F_OK), "makes the target");
	fails(EEXIST, open("dangling", O_WRONLY | O_CREAT | O_EXCL, 0644),
	      "open: O_EXCL does not follow");
	fails(ENOENT, symlink("", "empty"), "symlink: an empty target");
	for (size_t i = 0; i < sizeof(target) - 1; i++)
		target[i] = i % 200 == 199 ? '/' : 'a';
	target[PATH_MAX - 1] = '\0';
	works(symlink(target, "long"), "symlink: a target of 4,095 bytes");
	is_int(readlink("long", got, sizeof(got)), PATH_MAX - 1, "which is kept");
	is_mem(got, target, PATH_MAX - 1, "byte by byte");
	fails(EINVAL, readlink("aim", got, sizeof(got)), "readlink: a file");
	must(symlink("aim", "chain0"));
	for (int i = 1; i < 40; i++) {
		snprintf(name, sizeof(name), "chain%d", i);
		snprintf(to, sizeof(to), "chain%d", i - 1);
		must(symlink(to, name));
	}
	works(access("chain39", F_OK), "a chain of 40 links");
	must(symlink("chain39", "chain40"));
	fails(ELOOP, access("chain40", F_OK), "but not of 41");
}

static void special_files(void)
{
	works(mkfifo("fifo", 0640), "mkfifo");
	ok(S_ISFIFO(stat_of("fifo").st_mode), "which is one");
	works(mknod("regular", S_IFREG | 0600, 0), "mknod: a file");
	is_int(stat_of("regular").st_size, 0, "which is empty");
	if (!conform_mount) {
		ok(true, "devices can be made elsewhere");
		return;
	}
	fails(EPERM, mknod("null", S_IFCHR | 0666, 0x103), "mknod: a device");
}

static void opens(void)
{
	int fd;

	make_file("plain-file", "12345");
	must(mkdir("some-dir", 0755));
	fails(ENOTDIR, open("plain-file", O_RDONLY | O_DIRECTORY),
	      "open: O_DIRECTORY, a file");
	fails(EISDIR, open("some-dir", O_WRONLY), "open: a directory for writing");
	fails(EISDIR, open("some-dir", O_RDONLY | O_CREAT, 0644),
	      "open: O_CREAT, a directory");
	fails(ENOTDIR, open("plain-file/", O_RDONLY),
	      "open: a file with a slash behind it");
	fails(EEXIST, open("plain-file", O_WRONLY | O_CREAT | O_EXCL, 0644),
	      "open: O_EXCL");
	fd = open("plain-file", O_WRONLY | O_TRUNC);
	is_int(stat_of("plain-file").st_size, 0, "open: O_TRUNC empties");
	close(fd);
	fd = (int)works(open("umasked", O_WRONLY | O_CREAT, 0666), "open: O_CREAT");
	is_int(stat_of("umasked").st_mode & 07777, 0644, "with the mode less the umask");
	close(fd);
	must(mkdir("masked-dir", 0777));
	is_int(stat_of("masked-dir").st_mode & 07777, 0755, "so does mkdir");
	fd = (int)works(open("readonly", O_RDWR | O_CREAT | O_EXCL, 0400),
			"open: O_CREAT for writing, mode 0400");
	works(write(fd, "x", 1), "which can be written by this descriptor");
	close(fd);
	fd = open("some-dir", O_RDONLY | O_DIRECTORY);
	works(mkdirat(fd, "below", 0755), "mkdirat: in an open directory");
	must(rename("some-dir", "moved-dir"));
	works(faccessat(fd, "below", F_OK, 0), "which may be moved");
	unlinkat(fd, "below", AT_REMOVEDIR);
	rmdir("moved-dir");
	fails(ENOENT, mkdirat(fd, "below", 0755), "but not removed");
	close(fd);
}

/* Every byte that a name may have, alone and in sequences that are no text. */
static void names_of_any_bytes(void)
{
	static const char *const names[] = {
	    "a\nb", "\n", " ",	      " x ",	      "-rf",
	    "...",  ".x", "\xff\xfe", "\xc3\x28",     "\xed\xa0\x80",
	    "*?[",  "\\", "'\"`$(x)", "\xe2\x82\xac", "\t\r\v",
	};
	char name[2] = "";
	unsigned wrong = 0;

	for (int byte = 1; byte < 256; byte++) {
		name[0] = (char)byte;
		if (byte == '/' || byte == '.')
			continue;
		make_file(name, name);
		wrong += strcmp(content(name), name) != 0;
		wrong += unlink(name) != 0;
	}
	is_int(wrong, 0, "each byte but / and NUL is a name");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		make_file(names[i], names[i]);
		is_str(content(names[i]), names[i], "name %zu of odd bytes", i);
		works(unlink(names[i]), "and it goes");
	}
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	memset(long_name, 'n', NAME_MAX + 1);
	memset(longest_name, 'n', NAME_MAX);
	paths_that_lead_nowhere();
	removal();
	renames();
	renames_with_flags();
	hard_links();
	symbolic_links();
	special_files();
	opens();
	names_of_any_bytes();
	return end();
}
