#include "guest/files/call.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define NSEC 1000000000

static int64_t ns_of(const struct statx_timestamp *t)
{
	int64_t ns;

	if (__builtin_mul_overflow(t->tv_sec, (int64_t)NSEC, &ns) ||
	    __builtin_add_overflow(ns, (int64_t)t->tv_nsec, &ns))
		return t->tv_sec < 0 ? INT64_MIN : INT64_MAX;
	return ns;
}

int attr_of(int dir, const char *name, struct files_attr *attr)
{
	struct statx stx;

	if (statx(dir, name, AT_SYMLINK_NOFOLLOW | (*name ? 0 : AT_EMPTY_PATH),
		  STATX_BASIC_STATS, &stx) < 0)
		return -errno;
	*attr = (struct files_attr){
	    .ino = stx.stx_ino,
	    .dev = makedev(stx.stx_dev_major, stx.stx_dev_minor),
	    .mode = stx.stx_mode,
	    .nlink = stx.stx_nlink,
	    .uid = stx.stx_uid,
	    .gid = stx.stx_gid,
	    .rdev = (uint32_t)makedev(stx.stx_rdev_major, stx.stx_rdev_minor),
	    .blksize = stx.stx_blksize,
	    .size = stx.stx_size,
	    .blocks = stx.stx_blocks,
	    .atime_ns = ns_of(&stx.stx_atime),
	    .mtime_ns = ns_of(&stx.stx_mtime),
	    .ctime_ns = ns_of(&stx.stx_ctime),
	};
	return 0;
}

int call_attr(struct call *call, int fd)
{
	int r = attr_of(fd, "", &call->reply.attr);

	call->reply.has_attr = r == 0;
	return r;
}

int op_getattr(struct call *call)
{
	if (call->req.flags & FILES_WATCH)
		call->reply.watch = watch_directory(call->server, call->fd);
	return 0;
}

static int set_size(const struct call *call)
{
	off_t size = (off_t)call->req.size;
	int r;

	if (size < 0)
		return -EINVAL;
	if (call->handle && call->handle->writable)
		r = ftruncate(call->fd, size);
	else
		r = truncate(fd_name(call->fd).text, size);
	return r < 0 ? -errno : 0;
}

static int set_owner(const struct call *call)
{
	uid_t uid = call->req.flags & FILES_SET_UID ? call->req.uid : (uid_t)-1;
	gid_t gid = call->req.flags & FILES_SET_GID ? call->req.gid : (gid_t)-1;

	return fchownat(call->fd, "", uid, gid, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

static int set_mode(const struct call *call)
{
	return chmod(fd_name(call->fd).text, call->req.mode & 07777) < 0 ? -errno : 0;
}

static struct timespec time_to_set(uint32_t flags, uint32_t set, uint32_t now, int64_t ns)
{
	struct timespec t = {.tv_nsec = UTIME_OMIT};

	if (flags & set) {
		t.tv_sec = ns / NSEC - (ns % NSEC < 0);
		t.tv_nsec = ns % NSEC + (ns % NSEC < 0 ? NSEC : 0);
		if (flags & now)
			t.tv_nsec = UTIME_NOW;
	}
	return t;
}

static int set_times(const struct call *call)
{
	uint32_t flags = call->req.flags;
	const struct timespec times[2] = {
	    time_to_set(flags, FILES_SET_ATIME, FILES_NOW_ATIME, call->req.atime_ns),
	    time_to_set(flags, FILES_SET_MTIME, FILES_NOW_MTIME, call->req.mtime_ns),
	};

	return utimensat(call->fd, "", times, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

/* A change of owner takes setuid bits away, so the mode comes behind it; times come
 * last, for all of the others set them. */
int op_setattr(struct call *call)
{
	uint32_t flags = call->req.flags;
	int r = 0;

	if (flags & FILES_SET_SIZE)
		r = set_size(call);
	if (r == 0 && flags & (FILES_SET_UID | FILES_SET_GID))
		r = set_owner(call);
	if (r == 0 && flags & FILES_SET_MODE)
		r = set_mode(call);
	if (r == 0 && flags & (FILES_SET_ATIME | FILES_SET_MTIME))
		r = set_times(call);
	return r;
}

int op_statfs(struct call *call)
{
	struct cursor c = cursor_into(call->data, FILES_IO_MAX);
	struct statvfs st;

	if (fstatvfs(call->server->root, &st) < 0)
		return -errno;
	files_put_statfs(&c, &(struct files_statfs){
				 .bsize = st.f_frsize,
				 .blocks = st.f_blocks,
				 .bfree = st.f_bfree,
				 .bavail = st.f_bavail,
				 .files = st.f_files,
				 .ffree = st.f_ffree,
				 .namelen = (uint32_t)st.f_namemax,
			     });
	call->reply.data_len = (uint32_t)(FILES_IO_MAX - cursor_left(&c));
	return 0;
}
