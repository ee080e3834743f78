/*
 * The handlers of FUSE requests, and what they share. Each answers its request
 * exactly once, at once or, for reads, later.
 */
#pragma once

#include "pffs/core/fork.h"
#include "pffs/fs/fs.h"
#include "pffs/fs/handle.h"

/** fs_node() - what a request is about. Return: false when it was answered ENOENT. */
bool fs_node(fuse_req_t req, fuse_ino_t ino, struct node *node);

/**
 * fs_child() - what a name in a directory stands for.
 * Return: false when the request was answered with an error.
 */
bool fs_child(fuse_req_t req, fuse_ino_t parent, const char *name, struct node *node);

/** fs_refuse() - answer with an error; keep its sentence where the user looks. */
void fs_refuse(fuse_req_t req, struct fs *fs, struct sandbox *sb, const struct error *err);

/** fs_refuse_change() - answer EPERM: no names come and go in this directory. */
void fs_refuse_change(fuse_req_t req, fuse_ino_t parent);

/** fs_reply_entry() - answer with what a name stands for. */
void fs_reply_entry(fuse_req_t req, const struct node *node);

/**
 * fs_on_interrupt() - have a signal to who waits for this request call @fn.
 * Return: false when one came already, and the request was answered.
 */
bool fs_on_interrupt(fuse_req_t req, fuse_interrupt_func_t fn, void *data);

/**
 * fs_may_wait() - a signal to who waits for this request cancels *@fork, which is set
 * while there is one to cancel. Before the fork is begun.
 * Return: false when a signal came already, and the request was answered.
 */
bool fs_may_wait(fuse_req_t req, struct fork **fork);

/**
 * fs_add_entry() - an entry of a directory, @plus: with attributes, which are for nobody
 * when they come without an inode number. @next: the offset behind it.
 * Return: bytes that it takes; none were written when that is more than @size.
 */
static inline size_t fs_add_entry(fuse_req_t req, bool plus, char *to, size_t size,
				  const char *name, const struct fuse_entry_param *entry,
				  uint64_t next)
{
	return plus ? fuse_add_direntry_plus(req, to, size, name, entry, (off_t)next)
		    : fuse_add_direntry(req, to, size, name, &entry->attr, (off_t)next);
}

/** fs_handle() - the handle that an open file carries. */
static inline struct handle *fs_handle(const struct fuse_file_info *fi)
{
	return (struct handle *)(uintptr_t)fi->fh;
}

/* tree.c */
void fs_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		struct fuse_file_info *fi);
void fs_readlink(fuse_req_t req, fuse_ino_t ino);
void fs_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		struct fuse_file_info *fi);
void fs_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		    struct fuse_file_info *fi);
void fs_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);

/** fs_listings_close() - the session has ended. */
void fs_listings_close(struct fs *fs);

void fs_statfs(fuse_req_t req, fuse_ino_t ino);
void fs_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void fs_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void fs_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *name);

/* guest_only.c */
void fs_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count);
void fs_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void fs_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	       struct fuse_file_info *fi);
void fs_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void fs_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
		 size_t size, int flags);
void fs_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void fs_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);
void fs_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t size,
		  struct fuse_file_info *fi);
void fs_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence,
	      struct fuse_file_info *fi);
void fs_copy(fuse_req_t req, fuse_ino_t ino, off_t offset, struct fuse_file_info *fi,
	     fuse_ino_t to, off_t to_offset, struct fuse_file_info *to_fi, size_t size,
	     int flags);

/* locks.c */
void fs_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
	      struct flock *flock);
void fs_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
	      struct flock *flock, int sleep);
void fs_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int op);

/** fs_lockers_end() - the mount has gone: nobody waits for a lock any more. */
void fs_lockers_end(struct fs *fs);

/** fs_locks_free() - the session has ended. */
void fs_locks_free(struct fs *fs);

/** fs_unlock() - close(2) lets go of an owner's lock. */
void fs_unlock(struct fs *fs, fuse_ino_t ino, bool posix, uint64_t owner);

/* sandboxes.c */
void fs_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void fs_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void fs_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
	       const char *newname, unsigned flags);

/* file.c */
void fs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
	     struct fuse_file_info *fi);
void fs_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
	      struct fuse_file_info *fi);
void fs_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void fs_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
	     struct fuse_pollhandle *ph);
