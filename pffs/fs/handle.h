/*
 * Open files.
 *
 * Theory of operation: an open file is a handle, bound at open to what it shows,
 * of which it keeps a reference. A file's behaviour is its file_ops. A read that
 * finds nothing yet answers -EAGAIN: a non-blocking reader gets that, any other
 * is parked on the handle until the handle's watch fires or a signal interrupts
 * it. Nothing here ever waits: one thread serves every file.
 */
#pragma once

#include "pffs/fs/node.h"

struct handle {
	struct link link; /* on fs->open */
	struct fs *fs;
	fuse_ino_t ino;	  /* which it was opened by */
	struct node node; /* sb, run, terminal and target are references */
	const struct file_ops *ops;
	bool stream; /* not seekable */
	int flags;   /* of open(2) */
	uid_t uid;   /* who opened it */
	gid_t gid;
	struct link parked; /* reads that wait */
	struct watch watch;
	struct fuse_pollhandle *poll;
	uint64_t pos; /* where the next read in sequence begins */

	/* What the kinds of files need; each uses its own. */
	struct run *run;   /* reference: the run that is shown or written */
	struct feed *feed; /* a writer of stdin */
	uint64_t cursor;   /* in the output of a transaction, or of a terminal */
	struct events_reader events;
	char *text; /* what a read copies from */
	size_t text_len;
	size_t text_pos;	   /* how much of it a stream's reads have taken */
	struct diff *diff;	   /* whose text is not there yet */
	int failed;		   /* -errno: there will be none */
	struct buf held;	   /* written, and not all of it yet */
	struct policy *before;	   /* reference: before what it has written; or NULL */
	struct policy *mine;	   /* reference: as its last write has left it; or NULL */
	struct question *question; /* to vmctl, whose answer is not there yet */
};

struct file_ops {
	bool stream; /* not seekable; open may decide otherwise */
	/* Bind the handle. Return: 0 or -errno with @err filled. */
	int (*open)(struct handle *h, struct error *err);
	/* Return: bytes, 0 at the end, -EAGAIN for not yet, or -errno. */
	ssize_t (*read)(struct handle *h, uint64_t offset, char *to, size_t len);
	/* Take all of @len. Return: 0 or -errno with @err filled. */
	int (*write)(struct handle *h, const char *data, size_t len, struct error *err);
	/* Instead of write, where that takes time: answer @req, now or later. */
	void (*write_later)(struct handle *h, fuse_req_t req, const char *data, size_t len);
	/* A descriptor closes: take what is held. NULL: nothing ever is. Return: as write.
	 */
	int (*flush)(struct handle *h, struct error *err);
	/* The last descriptor has closed; what the handle refers to is let go later. */
	void (*release)(struct handle *h);
	/* EPOLL bits that hold now; NULL means always readable and writable. */
	unsigned (*poll)(const struct handle *h);
	/* It was cut to no bytes by its name; NULL means that this does nothing. */
	void (*truncate)(const struct node *node);
	/* The size that stat(2) shows; NULL means 0. */
	uint64_t (*size)(const struct node *node);
	/* What is below it is not kept; NULL means 0. */
	uint64_t (*start)(const struct node *node);
	/* For text_ops: print the contents, and take a new value. */
	void (*render)(const struct node *node, FILE *out);
	int (*store)(const struct node *node, char *value, struct error *err);
};

/** handle_open() - open @node. Return: 0 or -errno with @err filled. */
int handle_open(const struct node *node, const struct fuse_ctx *who, int flags,
		struct handle **out, struct error *err);

/** handle_read() - answer @req, now or later. */
void handle_read(struct handle *h, fuse_req_t req, size_t len, uint64_t offset, int flags);

/** handle_poll() - answer @req; notify @poll once when something changes. */
void handle_poll(struct handle *h, fuse_req_t req, struct fuse_pollhandle *poll);

/** handle_may_read() - who opened @h may read the files of @sb, another sandbox. */
bool handle_may_read(const struct handle *h, const struct sandbox *sb);

/** handle_find() - a file that was opened by @ino and is still open, or NULL. */
struct handle *handle_find(const struct fs *fs, fuse_ino_t ino);

/** handle_close() - free it. Reads that are still parked are answered EINTR. */
void handle_close(struct handle *h);

/** handle_changed() - the watch function of every handle. */
void handle_changed(struct watch *watch);

/** handle_text() - set what text reads copy from; @text is owned by the handle. */
void handle_text(struct handle *h, char *text, size_t len);

/** handle_read_text() - copy from the text at @offset. Return: bytes. */
ssize_t handle_read_text(const struct handle *h, uint64_t offset, char *to, size_t len);

/* The kinds of files, in config.c, control.c, events.c, many.c, merge.c, metrics.c,
 * net.c, net_ports.c, output.c, stats.c, terminal.c and transaction.c. */
extern const struct file_ops readme_ops, template_info_ops, template_packages_ops,
    fallback_ops, host_ops, root_error_ops, error_ops, status_ops, ctl_ops, config_ops,
    run_language_ops, run_status_ops;
extern const struct file_ops stdout_ops, stderr_ops, output_ops, exit_ops, code_ops,
    run_changes_ops, figure_ops;
extern const struct file_ops exec_ops, bash_ops, stdin_ops;
extern const struct file_ops all_events_ops, events_ops, new_ops;
extern const struct file_ops diff_ops, diff_paths_ops;
extern const struct file_ops terminal_data_ops, terminal_size_ops, terminal_command_ops,
    terminal_exit_ops;
extern const struct file_ops net_egress_ops, net_allow_ops, net_log_ops, net_ports_ops,
    net_secrets_ops, net_status_ops;
extern const struct file_ops many_ops, merge_ops, metrics_ops, stats_ops;
