/*
 * The tree under the mount: which nodes there are, what they are called, and
 * what a number of an inode means.
 *
 * Theory of operation: a node is a kind of entry and what it belongs to: nothing,
 * a template, a sandbox, or a run, a terminal or a port of a sandbox. Its inode number is
 * exactly that: the sandbox's serial (32 bits), the run's, terminal's or port's number or
 * the template's index + 1 (24 bits), the kind (8 bits). So no table of inodes is kept,
 * lookup counts mean nothing, and a number is never used for two things, because serials
 * and run numbers are not. The root is number 1: KIND_ROOT, or, in a mount of a single
 * sandbox, that one.
 */
#pragma once

#include "pffs/core/fork.h"
#include "pffs/fs/fs.h"

#define NODE_PART_MAX 0xffffffu /* of 24 bits */

enum kind {
	KIND_ROOT = 1,
	KIND_README,
	KIND_TEMPLATES,
	KIND_FALLBACK, /* templates/.default */
	KIND_TEMPLATE,
	KIND_TEMPLATE_INFO,
	KIND_TEMPLATE_PACKAGES,
	KIND_TEMPLATE_FORKS,
	KIND_TEMPLATE_FORKS_N,
	KIND_NEW,
	KIND_ALL_EVENTS,
	KIND_HOST,
	KIND_METRICS,
	KIND_ROOT_ERROR,
	KIND_SANDBOX,
	KIND_EXEC,
	KIND_BASH,
	KIND_STDIN,
	KIND_STDOUT,
	KIND_STDERR,
	KIND_OUTPUT,
	KIND_EXIT,
	KIND_LAST,
	KIND_RUNS,
	KIND_CTL,
	KIND_STATUS,
	KIND_ERROR,
	KIND_EVENTS,
	KIND_CONFIG,
	KIND_EXEC_TIMEOUT, /* and the next ones: in the order of enum config_key */
	KIND_IDLE_TIMEOUT,
	KIND_MAX_LIFETIME,
	KIND_PERSISTENT,
	KIND_EGRESS,
	KIND_MEMORY_MIB,
	KIND_VCPUS,
	KIND_DISK_MIB,
	KIND_PIDS,
	KIND_CPU_PERCENT,
	KIND_FORKS,
	KIND_FORKS_N,
	KIND_MERGE,
	KIND_STATS,
	KIND_CHANGES,
	KIND_CHANGES_JSON,
	KIND_CHANGES_PATCH,
	KIND_DIFF,
	KIND_PARENT_LIST,
	KIND_PARENT_JSON,
	KIND_PARENT_PATCH,
	KIND_TEMPLATE_LIST,
	KIND_TEMPLATE_JSON,
	KIND_TEMPLATE_PATCH,
	KIND_DIFF_LIST,
	KIND_DIFF_JSON,
	KIND_DIFF_PATCH,
	KIND_DIFF_PATHS,
	KIND_FILES, /* the root of the guest's files */
	KIND_FILE,  /* and all below it */
	KIND_PTY,
	KIND_TERMINAL,
	KIND_TERMINAL_DATA,
	KIND_TERMINAL_SIZE,
	KIND_TERMINAL_COMMAND,
	KIND_TERMINAL_EXIT,
	KIND_NET,
	KIND_NET_EGRESS,
	KIND_NET_ALLOW,
	KIND_NET_LOG,
	KIND_NET_SECRETS,
	KIND_NET_STATUS,
	KIND_NET_PORTS,
	KIND_PORT, /* its number is the port's */
	KIND_RUN,
	KIND_RUN_CODE,
	KIND_RUN_LANGUAGE,
	KIND_RUN_STDOUT,
	KIND_RUN_STDERR,
	KIND_RUN_OUTPUT,
	KIND_RUN_EXIT,
	KIND_RUN_CHANGES,
	KIND_RUN_STATUS,
	KIND_RUN_FIGURES,
	KIND_RUN_FIGURE, /* the last: in an inode number, the figure's is added */
	KIND_COUNT,
};

struct file_ops;
struct files_node;

/* What an inode number stands for at this moment; pointers are borrowed. */
struct node {
	struct fs *fs;
	enum kind kind;
	struct sandbox *sb;	   /* NULL where the kind belongs to none */
	struct run *run;	   /* likewise */
	struct terminal *terminal; /* likewise */
	struct port *port;	   /* likewise */
	unsigned figure;	   /* likewise: its number, from 0 on */
	size_t template;	   /* likewise */
	struct sandbox *target;	   /* likewise: of a file in diff/ that names a sandbox */
	struct files_node *file;   /* likewise: of KIND_FILES and KIND_FILE */
};

struct kind_info {
	const char *name; /* NULL where the name is a sandbox's, run's or template's */
	enum kind parent;
	mode_t mode; /* type and the owner's permissions */
	const struct file_ops *ops;
};

/** kind_info() - the table's row for @kind. */
const struct kind_info *kind_info(enum kind kind);

/** node_may_see() - is @sb in what @fs has mounted? */
bool node_may_see(const struct fs *fs, const struct sandbox *sb);

/**
 * node_at() - what @ino stands for.
 * Return: 0, -ENOENT when that has gone, or -EACCES when a mount of a single sandbox may
 * not show it.
 */
int node_at(struct fs *fs, fuse_ino_t ino, struct node *node);

/** node_ino() - the inode number of a node. */
fuse_ino_t node_ino(const struct node *node);

/** node_ino_of() - the inode number of a file of a guest. */
fuse_ino_t node_ino_of(const struct sandbox *sb, const struct files_node *file);

/** node_is_guest() - is it the guest's: a directory or file of its own? */
static inline bool node_is_guest(const struct node *node)
{
	return node->file;
}

/** ino_is_guest() - is it the number of such a node? */
static inline bool ino_is_guest(fuse_ino_t ino)
{
	return (ino & 0xff) == KIND_FILES || (ino & 0xff) == KIND_FILE;
}

/** node_child() - look a name up. Return: 0, or -ENOENT. */
int node_child(const struct node *dir, const char *name, struct node *child);

/**
 * node_list() - call @emit for each entry of a directory, "." and ".." apart.
 */
void node_list(const struct node *dir,
	       void (*emit)(void *ctx, const char *name, const struct node *node),
	       void *ctx);

/** node_stat() - fill the attributes that stat(2) shows. */
void node_stat(const struct node *node, struct stat *st);

/**
 * node_folder() - which folder of sandboxes a directory is.
 * Return: false when no sandboxes are made there.
 */
bool node_folder(const struct node *node, folder_t *folder);

/**
 * node_fork() - fork what the sandboxes in folder @dir are forks of.
 * Return: as fork_begin() and template_fork().
 */
int node_fork(const struct node *dir, struct fork_order *order, fork_done_fn *done,
	      void *ctx, struct error *err);
