/*
 * The mount: a FUSE session in the event loop.
 */
#pragma once

#include "pffs/core/core.h"
#include "util/loop.h"

#define FUSE_USE_VERSION 35
#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <sys/types.h>

#define FS_IO_MAX (1u << 20) /* bytes of one read or write */

struct fs {
	struct core *core;
	struct loop *loop;
	struct loop_source source;
	struct fuse_session *session;
	struct link open; /* struct handle */
	bool shared;	  /* other users may make sandboxes of their own */
	uid_t uid;	  /* who mounted */
	gid_t gid;
	void (*ended)(struct fs *fs); /* the mount has gone */
	struct link locks, lockers;   /* locks.c */
	struct fuse_buf request;      /* what libfuse receives into */
	char scratch[FS_IO_MAX];      /* what a read is gathered in */
};

struct fs_options {
	const char *mountpoint;
	bool allow_other;
};

/**
 * fs_mount() - mount and serve.
 * @fs: the caller's, zeroed but for @fs->ended; stays valid until fs_unmount().
 * Return: 0 or -errno with @err filled.
 */
int fs_mount(struct fs *fs, struct core *core, const struct fs_options *options,
	     struct error *err);

/** fs_unmount() - unmount if it is still mounted, free the session. */
void fs_unmount(struct fs *fs);
