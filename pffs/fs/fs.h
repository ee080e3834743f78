/*
 * The mount: a FUSE session in the event loop.
 */
#pragma once

#include "pffs/core/core.h"
#include "pffs/fs/stale.h"
#include "util/loop.h"

#define FUSE_USE_VERSION 35
#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <sys/types.h>

#define FS_IO_MAX	  (1u << 20) /* bytes of one read or write */
#define FS_READ_AHEAD_KIB 4096u	     /* what the kernel is asked to read ahead */

/* With these a mount is made, and a name for what is mounted. No program in a guest's
 * files has power here, and no device. */
#define FS_MOUNT_OPTIONS "-osubtype=pffs,default_permissions,nosuid,nodev,"

struct fs {
	struct core *core;
	struct core_mount mount;
	struct stale stale;
	uint64_t number; /* of the mount, never that of another */
	struct loop *loop;
	struct loop_source source;
	struct fuse_session *session;

	struct link open;		     /* struct handle */
	struct link guest_files, guest_dirs; /* open likewise */
	struct link listings;		     /* of other directories that are open */
	bool shared;	       /* other users may make sandboxes of their own */
	uint64_t only;	       /* serial of the sandbox that is its root; 0: it has all */
	struct porter *porter; /* who makes sockets then; borrowed */
	uid_t uid;	       /* who mounted */
	gid_t gid;
	unsigned owed; /* requests whose answer has to come from elsewhere */
	/* The mount has gone. Called again when nothing is owed any more. */
	void (*ended)(struct fs *fs);
	const char *control;	    /* of control.h; NULL in a mount of one sandbox */
	const char *doors;	    /* lines of host: where the API is; likewise */
	struct link locks, lockers; /* of locks.c */
	struct link guest_lockers;  /* struct ask: who waits for a lock of the guest's */
	struct fuse_buf request;    /* what libfuse receives into */
	char scratch[FS_IO_MAX];    /* what a read is gathered in */
};

struct fs_options {
	int fuse_fd; /* of a mount that has been made; the session's, when it is served */
	bool allow_other;
	const struct sandbox *only; /* the root is this one; NULL: the root has all */
	uid_t uid;		    /* who mounts */
	gid_t gid;
};

/**
 * fs_mount() - serve a mount.
 * @fs: the caller's, zeroed but for @fs->ended; stays valid until fs_unmount().
 * Return: 0 or -errno with @err filled.
 */
int fs_mount(struct fs *fs, struct core *core, const struct fs_options *options,
	     struct error *err);

/** fs_read_ahead() - have the kernel read so far ahead on a mount, if we may. */
void fs_read_ahead(const char *mountpoint, unsigned kib);

/** fs_unmount() - unmount if it is still mounted, free the session. */
void fs_unmount(struct fs *fs);

/** fs_close_all() - close what is open in a mount that has gone: no release will come. */
void fs_close_all(struct fs *fs);

/**
 * fs_owe() - a request is kept, to be answered later; open files keep theirs by
 * themselves. Its session lives until fs_settle(), after the answer.
 */
void fs_owe(struct fs *fs);
void fs_settle(struct fs *fs);
