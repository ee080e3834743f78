#include "pffs/fs/fs.h"

#include "pffs/fs/guest.h"
#include "pffs/fs/operations.h"
#include "util/io.h"
#include "wire/files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REQUESTS_AT_ONCE 16

static void fs_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	/* The kernel takes the smaller one of this and what fs_read_ahead() has set. */
	conn->max_readahead = FS_READ_AHEAD_KIB << 10;
	conn->want &= ~(unsigned)FUSE_CAP_WRITEBACK_CACHE;
	/* Who writes to a setuid program without the power to keep the bits loses them. */
	conn->want &= ~(unsigned)FUSE_CAP_HANDLE_KILLPRIV;
	conn->max_write = FS_IO_MAX;
	conn->max_background = FILES_IN_FLIGHT;
	conn->congestion_threshold = FILES_IN_FLIGHT;
}

static const struct fuse_lowlevel_ops operations = {
    .init = fs_init,
    .lookup = fs_lookup,
    .forget = fs_forget,
    .forget_multi = fs_forget_multi,
    .getattr = fs_getattr,
    .setattr = fs_setattr,
    .readlink = fs_readlink,
    .mknod = fs_mknod,
    .mkdir = fs_mkdir,
    .unlink = fs_unlink,
    .rmdir = fs_rmdir,
    .symlink = fs_symlink,
    .rename = fs_rename,
    .link = fs_link,
    .create = fs_create,
    .open = fs_open,
    .read = fs_read,
    .write = fs_write,
    .flush = fs_flush,
    .release = fs_release,
    .fsync = fs_fsync,
    .opendir = fs_opendir,
    .readdir = fs_readdir,
    .readdirplus = fs_readdirplus,
    .releasedir = fs_releasedir,
    .statfs = fs_statfs,
    .poll = fs_poll,
    .getlk = fs_getlk,
    .setlk = fs_setlk,
    .flock = fs_flock,
    .getxattr = fs_getxattr,
    .setxattr = fs_setxattr,
    .listxattr = fs_listxattr,
    .removexattr = fs_removexattr,
    .fallocate = fs_fallocate,
    .lseek = fs_lseek,
    .copy_file_range = fs_copy,
};

/* A mount that was aborted does not interrupt who waits in it, and a lock may be waited
 * for without end: its answer would be owed as long. */
static void session_gone(struct fs *fs)
{
	fs_lockers_end(fs);
	guest_lockers_end(fs);
	loop_del(fs->loop, &fs->source);
	fs->ended(fs);
}

/* A few requests at a time, so that a busy mount does not starve the link. */
static void session_ready(struct loop_source *source, uint32_t revents)
{
	struct fs *fs = container_of(source, struct fs, source);
	int r = 1;

	(void)revents;
	for (int i = 0; i < REQUESTS_AT_ONCE && (r > 0 || r == -EINTR); i++) {
		r = fuse_session_receive_buf(fs->session, &fs->request);
		if (r > 0)
			fuse_session_process_buf(fs->session, &fs->request);
	}
	if ((r <= 0 && r != -EAGAIN && r != -EINTR) || fuse_session_exited(fs->session))
		session_gone(fs);
}

static int make_session(struct fs *fs, const struct fs_options *options, struct error *err)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	int r = fuse_opt_add_arg(&args, "pffs");

	r |= fuse_opt_add_arg(&args, FS_MOUNT_OPTIONS "fsname=pffs");
	if (options->allow_other)
		r |= fuse_opt_add_arg(&args, "-oallow_other");
	if (r == 0)
		fs->session = fuse_session_new(&args, &operations, sizeof(operations), fs);
	fuse_opt_free_args(&args);
	if (!fs->session)
		return error_say(err, EINVAL, "cannot make a FUSE session");
	return 0;
}

int fs_mount(struct fs *fs, struct core *core, const struct fs_options *options,
	     struct error *err)
{
	char device[32];
	int fd, r;

	fs->core = core;
	fs->loop = core->loop;
	fs->source = LOOP_SOURCE_NONE;
	list_init(&fs->open);
	list_init(&fs->guest_files);
	list_init(&fs->guest_dirs);
	list_init(&fs->listings);
	list_init(&fs->locks);
	list_init(&fs->lockers);
	list_init(&fs->guest_lockers);
	fs->shared = options->allow_other;
	fs->only = options->only ? options->only->serial : 0;
	fs->uid = options->uid;
	fs->gid = options->gid;
	r = make_session(fs, options, err);
	if (r < 0)
		return r;
	snprintf(device, sizeof(device), "/dev/fd/%d", options->fuse_fd);
	if (fuse_session_mount(fs->session, device) != 0) {
		fuse_session_destroy(fs->session);
		fs->session = NULL;
		return error_say(err, EIO, "cannot serve the mount");
	}
	stale_init(fs);
	fd = fuse_session_fd(fs->session);
	r = io_set_nonblock(fd, true);
	if (r == 0)
		r = loop_add(fs->loop, &fs->source, fd, EPOLLIN, session_ready);
	if (r < 0)
		fs_unmount(fs);
	return r < 0 ? error_set(err, -r, "cannot serve the mount") : 0;
}

void fs_unmount(struct fs *fs)
{
	if (!fs->session)
		return;
	stale_fini(fs);
	loop_del(fs->loop, &fs->source);
	fuse_session_unmount(fs->session);
	fuse_session_destroy(fs->session);
	free(fs->request.mem);
	fs->session = NULL;
}

void fs_close_all(struct fs *fs)
{
	struct handle *h;

	list_for_each (h, &fs->open, struct handle, link)
		handle_close(h);
	guest_files_close(fs);
	guest_dirs_close(fs);
	fs_listings_close(fs);
	fs_locks_free(fs);
}

void fs_owe(struct fs *fs)
{
	fs->owed++;
}

void fs_settle(struct fs *fs)
{
	if (--fs->owed == 0 && fs->source.fd < 0)
		fs->ended(fs);
}
