/*
 * Theory of operation
 *
 * From inodes to paths. A directory's inode leads to its path, always. The path of a file
 * is known only as long as the kernel has its name in memory, which it has of what was
 * just changed; one that has gone from there can be found by no means but to look at all
 * names. That is left to who asks, as is a file with several names.
 *
 * What a directory has changed when names in it came or went; so all of its names are
 * picked then.
 *
 * One writes without being noticed: a loop device, by a kernel worker. Where there are
 * some that were not there when the agent began, nothing is known.
 */
#include "guest/files/call.h"
#include "guest/files/dirty.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "wire/picks.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define ROOT_INODE     2
#define FIRST_INODE    11 /* those before are the file system's own, but for the root */
#define INODE_HANDLE   1  /* FILEID_INO32_GEN of include/linux/exportfs.h */
#define PARTITIONS     "../../partitions"
#define PARTITIONS_MAX 65536u

struct search {
	int upper;	     /* open for reading */
	char top[PATH_MAX];  /* its path, as the kernel says it */
	char work[PATH_MAX]; /* the overlay's own directory, beside it */
	size_t top_len;
	dev_t dev;
	struct buf *out;
};

/* Return: its length, or -errno. */
static int path_of(int fd, char path[PATH_MAX])
{
	ssize_t n = readlink(fd_name(fd).text, path, PATH_MAX - 1);

	if (n < 0)
		return -errno;
	path[n] = '\0';
	return (int)n;
}

static int search_begin(struct search *search, int upper, struct buf *out)
{
	struct stat st;
	char *slash;
	int n;

	search->out = out;
	search->upper = openat(upper, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (search->upper < 0 || fstat(search->upper, &st) < 0)
		return -errno;
	n = path_of(search->upper, search->top);
	if (n < 0)
		return n;
	search->top_len = (size_t)n;
	search->dev = st.st_dev;
	memcpy(search->work, search->top, (size_t)n + 1);
	slash = strrchr(search->work, '/');
	if (!slash || slash + sizeof("/work/") > search->work + PATH_MAX)
		return -ENODATA;
	strcpy(slash, "/work/");
	return 0;
}

/* Is the inode at @path of the upper layer this one? */
static bool leads_to(const struct search *search, const char *path, const struct stat *st)
{
	struct stat found;

	return fstatat(search->upper, path, &found, AT_SYMLINK_NOFOLLOW) == 0 &&
	       found.st_dev == st->st_dev && found.st_ino == st->st_ino;
}

/* Return: the path from the upper layer's root, or NULL: it is elsewhere. */
static const char *below_top(const struct search *search, const char *path)
{
	if (strncmp(path, search->top, search->top_len) != 0)
		return NULL;
	path += search->top_len;
	if (!*path)
		return path;
	return *path == '/' ? path + 1 : NULL;
}

static int add_path(const struct search *search, const char *path, enum pick_how how)
{
	return strlen(path) > FILES_PATH_MAX ? 0 : picks_put(search->out, path, how);
}

static int add_file(const struct search *search, const char *path, const struct stat *st)
{
	const char *below = below_top(search, path);

	if (below && st->st_nlink == 1 && leads_to(search, below, st))
		return add_path(search, below, PICK_NAME);
	return strncmp(path, search->work, strlen(search->work)) == 0 ? 0 : -ENODATA;
}

/* A whiteout has a name in a directory that was changed, too. */
static bool says_nothing(const struct stat *st)
{
	return !st->st_nlink || (S_ISCHR(st->st_mode) && st->st_rdev == 0);
}

static int add_inode(const struct search *search, uint64_t inode)
{
	struct {
		struct file_handle head;
		uint32_t inode, generation; /* 0: any */
	} handle = {{.handle_bytes = 8, .handle_type = INODE_HANDLE}, (uint32_t)inode, 0};
	char path[PATH_MAX];
	const char *below;
	cleanup_close int fd =
	    open_by_handle_at(search->upper, &handle.head, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	int r;

	if (fd < 0)
		return errno == ESTALE || errno == ENOENT ? 0 : -ENODATA;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (says_nothing(&st))
		return 0;
	r = path_of(fd, path);
	if (r < 0)
		return r;
	if (!S_ISDIR(st.st_mode))
		return add_file(search, path, &st);
	below = below_top(search, path);
	return below ? add_path(search, below, PICK_NAMES) : 0;
}

static int add_inodes(const struct search *search, const uint64_t *inodes, int count)
{
	int r = 0;

	for (int i = 0; i < count && r == 0; i++) {
		if (inodes[i] >= FIRST_INODE || inodes[i] == ROOT_INODE)
			r = add_inode(search, inodes[i]);
		if (search->out->len > FILES_IO_MAX)
			r = -ENODATA;
	}
	return r;
}

int loops_in(const char *partitions)
{
	size_t len;
	cleanup_free char *text = io_read_file(partitions, PARTITIONS_MAX, &len, NULL);
	int count = 0;

	if (!text)
		return INT_MAX;
	for (const char *at = text; (at = strstr(at, " loop")); at++)
		count++;
	return count;
}

int op_since(struct call *call)
{
	cleanup_free struct search *search = calloc(1, sizeof(*search));
	const struct server *server = call->server;
	cleanup_free uint64_t *inodes = NULL;
	struct buf out = {0};
	int count = 0, r = search ? 0 : -ENOMEM;

	if (r == 0 && loops_in(PARTITIONS) > server->shared->loops)
		r = -ENODATA;
	if (r == 0)
		count = r = dirty_since(&server->dirty, (int64_t)call->req.offset, &inodes);
	if (r >= 0)
		r = search_begin(search, server->changes.layers.upper, &out);
	if (r == 0)
		r = add_inodes(search, inodes, count);
	if (r == 0) {
		call->reply.data_len = (uint32_t)out.len;
		memcpy(call->data, buf_peek(&out), out.len);
	}
	if (search && search->upper > 0)
		close(search->upper);
	buf_fini(&out);
	return r;
}

int op_mark(struct call *call)
{
	int64_t moment = dirty_mark(&call->server->dirty);

	if (moment < 0)
		return (int)moment;
	call->reply.value = (uint64_t)moment;
	return 0;
}
