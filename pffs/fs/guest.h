/*
 * NAME/fs/: the files of the guest.
 *
 * Theory of operation: a FUSE request that needs the guest is an ask. It is sent when
 * what was written to its file before it has arrived, and is answered once: by the guest's
 * reply, with EIO when the sandbox dies, or with EINTR when its program is interrupted
 * and the guest does not answer soon. Names and attributes are answered from what pffs
 * knows (core/files_cache.h), if it does.
 *
 * An open file is a path and flags, and a handle of the guest's in one epoch. When the
 * guest does not know the handle any more, because the machine is another one or the file
 * server was ended, the file is opened again by its path. A file that the kernel has in
 * its page cache is open without a handle at first: who reads it and closes it soon does
 * not need the guest.
 */
#pragma once

#include "pffs/core/files/files_cache.h"
#include "pffs/core/files/files_node.h"
#include "pffs/core/files/files_path.h"
#include "pffs/fs/operations.h"

#include <sys/stat.h>

/* An open file: fi->fh of all in fs/ that is no directory. */
struct guest_file {
	struct link link;	 /* on node->opens */
	struct link open;	 /* on fs->guest_files until it was released */
	struct sandbox *sb;	 /* reference */
	struct files_node *node; /* reference */
	unsigned refs;		 /* the kernel's, asks, writes */
	uint32_t handle;	 /* the guest's; 0: none */
	uint64_t epoch;		 /* of the handle, as sb->files counts them */
	uint32_t flags;		 /* FILES_O_* to open it again with */
	int error;	    /* of a write that was answered long ago: a positive errno */
	struct buf lockers; /* uint64_t: owners of POSIX locks that were taken by it */
	struct loop_timer soon;	    /* it is opened in the guest as well, then */
	struct files_call *opening; /* that, or NULL */
	uint8_t *ahead; /* the whole file, as it was when it was opened, or NULL */
	uint32_t ahead_len;
	struct files_version ahead_of;
};

struct ask;
typedef void ask_fn(struct ask *ask, const struct files_reply *reply);

/* One of the calls that an ask is: several for a large read, else one. */
struct ask_part {
	struct ask *ask;
	struct files_call *call; /* NULL when it was answered */
	size_t got;
};

#define ASK_PARTS   (FS_IO_MAX / FILES_IO_MAX)
#define ASK_NOTHING 0 /* an operation: only wait for what was written before */

struct ask {
	struct fs *fs;
	fuse_req_t req;		  /* NULL: answered, but what it asks for goes on */
	struct sandbox *sb;	  /* reference */
	struct files_node *node;  /* reference, or NULL: the path, up to @name */
	struct files_node *to;	  /* reference, or NULL: the second path, up to @to_name */
	struct guest_file *file;  /* reference, or NULL: the handle */
	struct guest_file *file2; /* likewise, the second one */
	struct files_node *about; /* reference, or NULL: whose writes are waited for */
	struct link wait;	  /* on about->settle */
	uint64_t after;		  /* the newest write to @about that it waits for */
	struct files_moment asked, asked_to; /* of its directories, when it was sent */
	struct loop_timer patience;	     /* since an interrupt */
	ask_fn *answer;
	struct link locker; /* on fs->guest_lockers: it may rightly take for ever */
	bool unlocks;	    /* it goes on when its program does not wait */
	bool reopened;	    /* its files were opened again once */
	struct guest_file *reopening; /* the one that is being opened now */
	struct guest_file *spare;   /* reference, or NULL: likewise, before its name goes */
	struct files_node *leaving; /* reference, or NULL: what loses its name */
	int error;		    /* of a part: a positive errno */
	unsigned pending;
	struct ask_part parts[ASK_PARTS];
	char *data;    /* of a read */
	void *context; /* the answer's */
	bool named, to_named;
	char name[FILES_NAME_MAX + 1], to_name[FILES_NAME_MAX + 1];
	struct files_request request; /* without what the fields above say */
};

/* guest_ask.c */

/**
 * ask_new() - for a request about a node in fs/.
 * Return: the ask, or NULL: @req was answered.
 */
struct ask *ask_new(fuse_req_t req, const struct node *node, int op);

/** ask_name() - the path is a name in the node. Return: false: the ask was answered. */
bool ask_name(struct ask *ask, const char *name);

/** ask_to() - the second path is a name in @dir. Return: false: it was answered. */
bool ask_to(struct ask *ask, struct files_node *dir, const char *name);

/** ask_by() - by the handle of an open file; its writes are waited for. */
void ask_by(struct ask *ask, struct guest_file *file);

/** ask_after() - not before what was written to @node has arrived. */
void ask_after(struct ask *ask, struct files_node *node);

/** ask_go() - send it. @answer answers ask->req, then the ask is freed. */
void ask_go(struct ask *ask, ask_fn *answer);

/** ask_send() - send it, when nothing has to come before any more. */
void ask_send(struct ask *ask);

/** ask_fail() - answer with a positive errno instead of sending it. */
void ask_fail(struct ask *ask, int error);

/** ask_done() - the answer of what only succeeds or fails. */
void ask_done(struct ask *ask, const struct files_reply *reply);

/** ask_settled() - send what has waited for the node's writes. */
void ask_settled(struct files_node *node);

/**
 * ask_watch() - the watch under which the answer is true that has just come, or -1: what
 * is known changed meanwhile, and the answer may be of before.
 */
int32_t ask_watch(const struct ask *ask, const struct files_reply *reply);

/** ask_watch_to() - likewise that of the second directory. */
int32_t ask_watch_to(const struct ask *ask, const struct files_reply *reply);

/**
 * ask_changed_name() - the ask has changed its name in its directory.
 * @watch: of ask_watch() before anything was learnt of the answer.
 * @attr:  what the name is now, or NULL: none.
 */
void ask_changed_name(struct ask *ask, int32_t watch, const struct files_reply *reply,
		      const struct files_attr *attr);

/** ask_changed_to() - likewise the second one. */
void ask_changed_to(struct ask *ask, int32_t watch, const struct files_reply *reply,
		    const struct files_attr *attr);

/** ask_changed_file() - the ask has changed the file that it is about. */
void ask_changed_file(struct ask *ask, int32_t watch, const struct files_reply *reply);

/** ask_changed() - likewise, of what only that file's directory tells; if it succeeded. */
void ask_changed(struct ask *ask, const struct files_reply *reply);

/** ask_changed_done() - the answer of what changes a file and only succeeds or fails. */
void ask_changed_done(struct ask *ask, const struct files_reply *reply);

/** ask_whose() - the owner of what is made, from who asks. */
void ask_whose(struct ask *ask);

/** guest_stat() - attributes as stat(2) shows them. */
void guest_stat(const struct sandbox *sb, const struct files_attr *attr, struct stat *st);

/**
 * guest_stale() - what who came by a name is told when the name is none any more, or
 * another file's: when the kernel hears ESTALE, it looks the name up.
 */
int guest_stale(int error);

/** guest_seconds() - how long the kernel may keep the attributes that it is told now. */
double guest_seconds(struct files_node *node);

/** guest_reply_entry() - answer a request for a name. */
void guest_reply_entry(fuse_req_t req, struct files_node *dir, const char *name,
		       const struct files_attr *attr);

/** guest_entry() - what the kernel is told of a name, one lookup more, or false. */
struct files_node *guest_entry(struct files_node *dir, const char *name,
			       const struct files_attr *attr,
			       struct fuse_entry_param *entry);

/** guest_attr() - the good attributes of a reply, or NULL. */
static inline const struct files_attr *guest_attr(const struct files_reply *reply)
{
	return reply->has_attr && files_attr_ok(&reply->attr) ? &reply->attr : NULL;
}

/** guest_dir_attr() - what a reply says of a directory, if it is good, or NULL. */
static inline const struct files_attr *guest_dir_attr(bool has,
						      const struct files_attr *attr)
{
	return has && files_attr_ok(attr) && S_ISDIR(attr->mode) ? attr : NULL;
}

/* guest_open.c */

/** guest_file_ref(), guest_file_unref() - the last one closes the guest's handle. */
struct guest_file *guest_file_ref(struct guest_file *file);
void guest_file_unref(struct guest_file *file);

/** guest_file_live() - the guest knows its handle, as far as we know. */
bool guest_file_live(const struct guest_file *file);

/** guest_file_open_soon() - if it is open for long, it is open in the guest as well. */
void guest_file_open_soon(struct guest_file *file);

/**
 * guest_file_unopened() - find one that has the node open, but not yet in the guest, where
 * it would be opened soon: that is the caller's to do now. Return: a reference, or NULL.
 */
struct guest_file *guest_file_unopened(const struct files_node *node);

/** guest_ahead_is() - what it has of the file is in it now. */
bool guest_ahead_is(const struct guest_file *file);

/** guest_ahead_drop() - it has been read, or is not true any more. */
void guest_ahead_drop(struct guest_file *file);

/** guest_file_reopen() - ask for a new handle. Return: as files_request(), or -ESTALE. */
int guest_file_reopen(struct guest_file *file, files_done_fn *done, void *ctx,
		      struct files_call **call);

/** guest_file_lost() - the guest does not know @handle, which the file may have had. */
void guest_file_lost(struct guest_file *file, uint32_t handle);

/** guest_file_reopened() - take the reply to that. Return: 0 or a positive errno. */
int guest_file_reopened(struct guest_file *file, const struct files_reply *reply);

static inline struct guest_file *guest_file(const struct fuse_file_info *fi)
{
	return (struct guest_file *)(uintptr_t)fi->fh;
}

/* guest_lock.c */

/** guest_lock_has() - the owner may have POSIX locks on the file. */
bool guest_lock_has(const struct files_node *node, uint64_t owner);

/** guest_lock_forget() - all of the owner's are unlocked. */
void guest_lock_forget(struct files_node *node, uint64_t owner);

/** guest_lockers_end() - the mount has gone: nobody waits for a lock any more. */
void guest_lockers_end(struct fs *fs);

/** guest_lock_release() - the file is closed for good, and all that it locked unlocked. */
void guest_lock_release(struct guest_file *file);

/* guest_names.c */

/** guest_known() - what can be said of a name without asking. */
enum files_known guest_known(struct files_node *dir, const char *name,
			     struct files_attr *attr);

/** guest_missed() - what is known of the directory did not answer a question. */
void guest_missed(struct files_node *dir);

/* guest_spare.c */

/**
 * guest_spare() - have the guest open what loses its name by the ask, for those who have it
 * open without the guest. Return: whether that has begun; the ask is sent then when it is
 * done.
 */
bool guest_spare(struct ask *ask);

/** guest_spare_end() - the ask is freed: what it was about to open is opened later. */
void guest_spare_end(struct ask *ask);

/* guest_write.c */

/** guest_write_hurry() - somebody waits for what was written to @node. */
void guest_write_hurry(struct files_node *node);

/** guest_write_arrived() - the guest has what was written to @node up to this one. */
bool guest_write_arrived(const struct files_node *node, uint64_t number);

/** guest_write_error() - of writes before, told once. Return: a positive errno or 0. */
int guest_write_error(struct guest_file *file);

/* The operations, for nodes in fs/ alone. */
void guest_lookup(fuse_req_t req, const struct node *dir, const char *name);
void guest_mkdir(fuse_req_t req, const struct node *dir, const char *name, mode_t mode);
void guest_mknod(fuse_req_t req, const struct node *dir, const char *name, mode_t mode);
void guest_symlink(fuse_req_t req, const char *target, const struct node *dir,
		   const char *name);
void guest_link(fuse_req_t req, const struct node *node, const struct node *dir,
		const char *name);
void guest_unlink(fuse_req_t req, const struct node *dir, const char *name);
void guest_rmdir(fuse_req_t req, const struct node *dir, const char *name);
void guest_rename(fuse_req_t req, const struct node *dir, const char *name,
		  const struct node *to, const char *to_name, unsigned flags);

void guest_getattr(fuse_req_t req, const struct node *node);
void guest_setattr(fuse_req_t req, const struct node *node, const struct stat *attr,
		   int to_set, struct guest_file *file);
void guest_readlink(fuse_req_t req, const struct node *node);
void guest_statfs(fuse_req_t req, const struct node *node);
void guest_getxattr(fuse_req_t req, const struct node *node, const char *name, size_t size);
void guest_setxattr(fuse_req_t req, const struct node *node, const char *name,
		    const char *value, size_t size, int flags);
void guest_listxattr(fuse_req_t req, const struct node *node, size_t size);
void guest_removexattr(fuse_req_t req, const struct node *node, const char *name);

/** guest_files_close(), guest_dirs_close() - those of a session that has ended. */
void guest_files_close(struct fs *fs);
void guest_dirs_close(struct fs *fs);

void guest_opendir(fuse_req_t req, const struct node *node, struct fuse_file_info *fi);
/** guest_readdir() - @plus: with attributes. */
void guest_readdir(fuse_req_t req, size_t size, off_t offset, struct fuse_file_info *fi,
		   bool plus);
void guest_releasedir(fuse_req_t req, struct fuse_file_info *fi);

void guest_open(fuse_req_t req, const struct node *node, struct fuse_file_info *fi);
void guest_create(fuse_req_t req, const struct node *dir, const char *name, mode_t mode,
		  struct fuse_file_info *fi);
void guest_read(fuse_req_t req, size_t size, off_t offset, struct fuse_file_info *fi);
void guest_write(fuse_req_t req, const char *data, size_t size, off_t offset,
		 struct fuse_file_info *fi);
void guest_flush(fuse_req_t req, struct fuse_file_info *fi);
void guest_fsync(fuse_req_t req, int datasync, struct fuse_file_info *fi);
void guest_release(fuse_req_t req, struct fuse_file_info *fi);
void guest_fallocate(fuse_req_t req, int mode, off_t offset, off_t size,
		     struct fuse_file_info *fi);
void guest_lseek(fuse_req_t req, off_t offset, int whence, struct fuse_file_info *fi);
void guest_getlk(fuse_req_t req, struct fuse_file_info *fi, const struct flock *lock);
void guest_setlk(fuse_req_t req, struct fuse_file_info *fi, const struct flock *lock,
		 bool wait);
void guest_flock(fuse_req_t req, struct fuse_file_info *fi, int op);
void guest_copy(fuse_req_t req, off_t offset, struct fuse_file_info *fi, off_t to_offset,
		struct fuse_file_info *to_fi, size_t size);
