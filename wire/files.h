/*
 * Requests about the guest's files: pffs <-> the guest's file server, as payloads of
 * AGENT_FILES, AGENT_FILES_REPLY and AGENT_FILES_CHANGED frames (wire/agent.h).
 *
 * Theory of operation
 *
 * A request is one AGENT_FILES frame, whose stream is the request's id: the host's
 * choice, never 0, and never used again, so that a fork's late answers to what its
 * parent was asked mean nothing. Its one reply is one AGENT_FILES_REPLY frame with the
 * same stream. Requests are served in parallel and answered in any order; who wants an
 * order waits for the reply. AGENT_FILES_CANCEL with a request's stream asks for an
 * early answer (-EINTR) to a request that waits for a lock; there is still one reply.
 *
 * Every request has the same fields, of which each operation uses some. Files are named
 * by their path from the root of the guest's root file system, without a leading slash,
 * "" for the root itself; components are never "", "." or "..", and no symbolic link is
 * followed. Or by @handle, where the operation says so: what FILES_OPEN or FILES_TREE
 * gave. Handles end with the epoch: at AGENT_WAKE the server closes all of them, their
 * locks included, and forgets all watches. Who has a handle of an older epoch gets
 * -EBADF and opens again.
 *
 * With FILES_WATCH the server first sets a watch, by inotify and for one event alone, on
 * the directory that the operation is about (FILES_LIST, FILES_GETATTR: itself; else the
 * one that holds the name), and then answers, with the watch's number; FILES_LOOKUP also
 * when it answers with an error. What is known of a watched directory is true until
 * AGENT_FILES_CHANGED names the watch: its own attributes, its names (also that there is
 * none), and their attributes, with these exceptions, which inotify does not tell of:
 * attributes of the directories in it (each has a watch of its own), of files with
 * several links, and the times of files that are written through a shared mapping. That
 * a file gets a second link elsewhere inotify does not tell either: if @links_told, the
 * guest knows of each link that is made, and tells of everything then; if not, so much
 * is unknown of each file.
 * AGENT_FILES_CHANGED comes before any output, any exit of a run and any reply that
 * was written after the change; when it had to come before the reply that has the watch's
 * number, it comes again behind it. Numbers of watches are the guest kernel's, above 0;
 * they are not used again within an epoch.
 *
 * Changes that the host asks for. With FILES_WATCH they do not use up the watch: the reply
 * has its number, and says what a change made of what the host knows. So it goes with
 * FILES_OPEN (FILES_O_CREAT or FILES_O_TRUNC), FILES_CLOSE, FILES_WRITE, FILES_SETATTR,
 * FILES_FALLOCATE, FILES_COPY (where handle2 is), FILES_MKDIR, FILES_MKNOD,
 * FILES_SYMLINK, FILES_LINK, FILES_UNLINK, FILES_RMDIR, FILES_RENAME, FILES_SETXATTR and
 * FILES_REMOVEXATTR. The directory is the one that holds the name; of a handle the one
 * where it was opened, which only those that were opened for writing remember.
 *  - @watch: the number, when the operation succeeded and the rest of the reply says all
 *    about the name; else -1: nothing is known of the directory any more. It may be
 *    another number than before, and then only the reply is known.
 *  - @attr: of what has the name now; where the operation removes the name, there is none
 *    and no file has it.
 *  - @dir: of the directory now, if the operation may change names in it.
 *  - FILES_RENAME: these are of @path's directory, @watch2 and @dir2 of @path2's; @attr is
 *    of what @path2 names now, and with FILES_EXCHANGE @attr2 of what @path does.
 *  - FILES_LINK: the same, and both names are of what @attr tells.
 *  - FILES_MKDIR: @watch2 is of the new directory, @dir2 its attributes, and value is 1 if
 *    it was empty then; else there is no watch2.
 *  - FILES_SETATTR, FILES_SETXATTR, FILES_REMOVEXATTR of a directory: its own watch, if it
 *    has one, is told as changed. The root is in no directory, and so there is no watch.
 * What others do to that name at the same time is in the reply, but not told by
 * AGENT_FILES_CHANGED. So from the moment when the host asks for such a change to the
 * reply, what it knows of these names, and of the directory's own attributes and whole
 * list if names change, is no answer for anybody. Replies with a watch are in order:
 * what a later one says of a name or of a directory is newer.
 *
 * The guest is hostile: the host trusts no field of a reply.
 */
#pragma once

#include "util/error.h"
#include "wire/agent.h"
#include "wire/cursor.h"

#include <stdbool.h>
#include <stdint.h>

#define FILES_IO_MAX	(256u << 10) /* bytes of data in one request or reply */
#define FILES_PATH_MAX	4096u	     /* bytes of a path, without a NUL */
#define FILES_NAME_MAX	255u	     /* bytes of one component */
#define FILES_IN_FLIGHT 64u	     /* requests that the host has unanswered at most */

enum files_op {
	FILES_LOOKUP = 1,  /* path -> attr; FILES_WATCH: its directory */
	FILES_GETATTR = 2, /* path or handle -> attr; FILES_WATCH: when a directory */
	FILES_SETATTR = 3, /* path or handle, FILES_SET_*: the fields named there -> attr */
	FILES_LIST = 4,	   /* path or handle, offset (a cookie, 0: start), size -> entries,
			      at most that many bytes; attr: the directory's; value 1:
			      there are no more. FILES_KEEP: if there are, handle, with
			      which names that stay are seen once, whatever changes */
	FILES_READLINK = 5, /* path -> data: the target */
	FILES_OPEN = 6,	    /* path, flags FILES_O_*; with FILES_O_CREAT mode, uid, gid
			       -> handle, attr. FILES_O_READ alone and size: data, if
			       the whole file is at most that long; value 1: they are
			       all of it */
	FILES_CLOSE = 7,    /* handle */
	FILES_READ = 8,	    /* handle, offset, size -> data; short only at the end */
	FILES_WRITE = 9,    /* handle, offset, data, FILES_O_APPEND -> value: bytes, attr */
	FILES_FSYNC = 10,   /* handle or path; FILES_DATA_ONLY */
	FILES_FALLOCATE = 11, /* handle, mode (of fallocate(2)), offset, size -> attr */
	FILES_SEEK = 12,      /* handle, offset, mode SEEK_DATA or SEEK_HOLE -> value */
	FILES_COPY = 13,      /* handle, offset: from; handle2, offset2: to; size -> value:
			  bytes,      perhaps fewer */
	FILES_MKDIR = 14,     /* path, mode, uid, gid -> attr */
	FILES_MKNOD = 15,     /* path, mode with type (no devices), uid, gid -> attr */
	FILES_SYMLINK = 16,   /* path, path2: the target, uid, gid -> attr */
	FILES_LINK = 17,      /* path: the file, path2: its new name -> attr */
	FILES_UNLINK = 18,    /* path */
	FILES_RMDIR = 19,     /* path */
	FILES_RENAME = 20,    /* path, path2, flags FILES_NOREPLACE or FILES_EXCHANGE */
	FILES_STATFS = 21,    /* -> statfs */
	FILES_GETXATTR = 22,  /* path, path2: name, size (0: value says) -> data, value */
	FILES_SETXATTR = 23,  /* path, path2: name, data, mode: XATTR_CREATE or _REPLACE */
	FILES_LISTXATTR =
	    24, /* path, size (0: value says) -> data: names and NULs, value */
	FILES_REMOVEXATTR = 25, /* path, path2: name */
	FILES_GETLK = 26, /* handle, owner, lock: mode F_RDLCK or F_WRLCK, offset, size
			     (0: to the end) -> value: mode that is in the way, or
			     F_UNLCK */
	FILES_SETLK = 27, /* the same, also F_UNLCK; FILES_WAIT */
	FILES_FLOCK = 28, /* handle, mode LOCK_*, without LOCK_NB; FILES_WAIT */
	FILES_TREE = 29,  /* -> handle to be read: entries of wire/tree.h; value: its bytes.
			     FILES_IMAGE: all that the image has, as if it were new.
			     Data: picks (wire/picks.h), of which alone it tells */
	FILES_MARK = 30,  /* -> value: a moment that has just been, in ns; the clock is the
			     machine's and goes on in its forks. ENODATA: see below */
	FILES_SINCE = 31, /* offset: a moment -> data: picks for FILES_TREE, outside of
			     which nothing has changed since. ENODATA: they are too many,
			     or not known */
	FILES_OP_MAX = FILES_SINCE,
};

/* Flags of a request. */
#define FILES_WATCH	(1u << 0)
#define FILES_DATA_ONLY (1u << 1)
#define FILES_WAIT	(1u << 2)
#define FILES_NOREPLACE (1u << 3)
#define FILES_EXCHANGE	(1u << 4)
#define FILES_O_READ	(1u << 5)
#define FILES_O_WRITE	(1u << 6)
#define FILES_O_CREAT	(1u << 7)
#define FILES_O_EXCL	(1u << 8)
#define FILES_O_TRUNC	(1u << 9)
#define FILES_O_APPEND	(1u << 10)
#define FILES_IMAGE	(1u << 11)
#define FILES_KEEP	(1u << 12)
#define FILES_DROP_SUID (1u << 13) /* of a write, and O_TRUNC: setuid bits go */
#define FILES_SET_MODE	(1u << 16)
#define FILES_SET_UID	(1u << 17)
#define FILES_SET_GID	(1u << 18)
#define FILES_SET_SIZE	(1u << 19)
#define FILES_SET_ATIME (1u << 20)
#define FILES_SET_MTIME (1u << 21)
#define FILES_NOW_ATIME (1u << 22) /* with FILES_SET_ATIME: the guest's now */
#define FILES_NOW_MTIME (1u << 23)

struct files_request {
	uint32_t flags;
	uint32_t handle, handle2; /* 0: none */
	uint32_t mode, uid, gid;
	uint64_t offset, offset2, size;
	uint64_t owner;		    /* of a lock: any number */
	int64_t atime_ns, mtime_ns; /* since 1970 */
	const char *path, *path2;   /* C strings; NULL is encoded as "" */
	const uint8_t *data;	    /* in the frame */
	uint32_t data_len;
	uint8_t op;			      /* enum files_op */
	char paths[2 * (FILES_PATH_MAX + 1)]; /* what files_get_request() points into */
};

/* As stat(2) has it. */
struct files_attr {
	uint64_t ino;
	uint64_t dev; /* of the layer that holds the file: tells equal ino apart */
	uint32_t mode, nlink, uid, gid, rdev, blksize;
	uint64_t size, blocks; /* blocks of 512 bytes */
	int64_t atime_ns, mtime_ns, ctime_ns;
};

struct files_statfs {
	uint64_t bsize, blocks, bfree, bavail, files, ffree;
	uint32_t namelen;
};

struct files_reply {
	int32_t error; /* 0 or a positive errno; then only watch counts */
	uint32_t handle;
	int32_t watch;	/* number of the watch that was set, or -1 */
	int32_t watch2; /* the same; or 0 */
	uint64_t value;
	bool has_attr, has_dir, has_attr2, has_dir2;
	bool links_told; /* by watches: see above */
	struct files_attr attr, dir, attr2, dir2;
	const uint8_t *data; /* in the frame */
	uint32_t data_len;
};

/* One entry of a directory, in the data of a reply to FILES_LIST. */
struct files_entry {
	struct files_attr attr;
	uint64_t cookie; /* FILES_LIST goes on behind it with this offset */
	char name[FILES_NAME_MAX + 1];
};

/** files_asks_change() - does it ask for a change of what is known of a directory? */
static inline bool files_asks_change(const struct files_request *request)
{
	return request->flags & FILES_WATCH && request->op != FILES_LOOKUP &&
	       request->op != FILES_GETATTR && request->op != FILES_LIST;
}

/**
 * files_put_request() - append a request as one frame.
 * Return: 0 or -ENOMEM, -EMSGSIZE, -ENAMETOOLONG.
 */
int files_put_request(struct buf *out, uint16_t epoch, uint32_t stream,
		      const struct files_request *request);

/** files_get_request() - Return: 0, or -EPROTO with @err filled. */
int files_get_request(const struct agent_frame *frame, struct files_request *request,
		      struct error *err);

/* Room in front of a reply's data for all the rest of its frame. */
#define FILES_REPLY_HEAD 384

/**
 * files_put_reply_head() - complete a frame whose data stand in their place already.
 * @data: @reply->data_len bytes, with FILES_REPLY_HEAD bytes of room in front.
 * Return: how many bytes of that room the frame begins in front of @data.
 */
size_t files_put_reply_head(uint8_t *data, uint16_t epoch, uint32_t stream,
			    const struct files_reply *reply);

/** files_get_reply() - Return: 0, or -EPROTO with @err filled. */
int files_get_reply(const struct agent_frame *frame, struct files_reply *reply,
		    struct error *err);

/** files_put_entry() - one entry of a directory. Overflow: it did not fit any more. */
void files_put_entry(struct cursor *c, const struct files_entry *entry);

/**
 * files_get_entry() - the next entry of a reply's data.
 * Return: 1, 0 at the end, or -EPROTO: malformed, or a name that no directory can have
 * ("", ".", "..", one with a slash or a NUL).
 */
int files_get_entry(struct cursor *c, struct files_entry *entry);

/** files_put_statfs(), files_get_statfs() - the data of a reply to FILES_STATFS. */
void files_put_statfs(struct cursor *c, const struct files_statfs *st);
int files_get_statfs(const struct files_reply *reply, struct files_statfs *st);

/**
 * files_path_ok() - components of 1 to FILES_NAME_MAX bytes with single slashes between
 * them, none "." or "..", FILES_PATH_MAX bytes in all; or "".
 */
bool files_path_ok(const char *path);
