#include "pffs/fs/node.h"

#include "pffs/core/files/files_node.h"
#include "pffs/core/net/ports.h"
#include "pffs/core/template.h"
#include "pffs/core/terminal.h"
#include "pffs/fs/fs.h"
#include "pffs/fs/handle.h"
#include "pffs/fs/net_ports.h"
#include "pffs/fs/targets.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define FIGURE_NAME	"%u.png"
#define DIR_MODE(perm)	(S_IFDIR | (perm))
#define FILE_MODE(perm) (S_IFREG | (perm))

static const struct kind_info kinds[KIND_COUNT] = {
    [KIND_ROOT] = {NULL, 0, DIR_MODE(0700), NULL},
    [KIND_README] = {"README", KIND_ROOT, FILE_MODE(0400), &readme_ops},
    [KIND_TEMPLATES] = {"templates", KIND_ROOT, DIR_MODE(0700), NULL},
    [KIND_FALLBACK] = {".default", KIND_TEMPLATES, FILE_MODE(0600), &fallback_ops},
    [KIND_TEMPLATE] = {NULL, KIND_TEMPLATES, DIR_MODE(0700), NULL},
    [KIND_TEMPLATE_INFO] = {"info", KIND_TEMPLATE, FILE_MODE(0400), &template_info_ops},
    [KIND_TEMPLATE_PACKAGES] = {"packages", KIND_TEMPLATE, FILE_MODE(0400),
				&template_packages_ops},
    [KIND_TEMPLATE_FORKS] = {"forks", KIND_TEMPLATE, DIR_MODE(0700), NULL},
    [KIND_TEMPLATE_FORKS_N] = {".n", KIND_TEMPLATE_FORKS, FILE_MODE(0600), &many_ops},
    [KIND_NEW] = {"new", KIND_ROOT, FILE_MODE(0400), &new_ops},
    [KIND_ALL_EVENTS] = {"events", KIND_ROOT, FILE_MODE(0600), &all_events_ops},
    [KIND_HOST] = {"host", KIND_ROOT, FILE_MODE(0400), &host_ops},
    [KIND_METRICS] = {"metrics", KIND_ROOT, FILE_MODE(0400), &metrics_ops},
    [KIND_ROOT_ERROR] = {"error", KIND_ROOT, FILE_MODE(0400), &root_error_ops},
    [KIND_SANDBOX] = {NULL, KIND_ROOT, DIR_MODE(0700), NULL},
    [KIND_EXEC] = {"exec", KIND_SANDBOX, FILE_MODE(0600), &exec_ops},
    [KIND_BASH] = {"bash", KIND_SANDBOX, FILE_MODE(0600), &bash_ops},
    [KIND_STDIN] = {"stdin", KIND_SANDBOX, FILE_MODE(0200), &stdin_ops},
    [KIND_STDOUT] = {"stdout", KIND_SANDBOX, FILE_MODE(0400), &stdout_ops},
    [KIND_STDERR] = {"stderr", KIND_SANDBOX, FILE_MODE(0400), &stderr_ops},
    [KIND_OUTPUT] = {"output", KIND_SANDBOX, FILE_MODE(0400), &output_ops},
    [KIND_EXIT] = {"exit", KIND_SANDBOX, FILE_MODE(0400), &exit_ops},
    [KIND_LAST] = {"last", KIND_SANDBOX, S_IFLNK | 0700, NULL},
    [KIND_RUNS] = {"runs", KIND_SANDBOX, DIR_MODE(0500), NULL},
    [KIND_CTL] = {"ctl", KIND_SANDBOX, FILE_MODE(0200), &ctl_ops},
    [KIND_STATUS] = {"status", KIND_SANDBOX, FILE_MODE(0400), &status_ops},
    [KIND_ERROR] = {"error", KIND_SANDBOX, FILE_MODE(0400), &error_ops},
    [KIND_EVENTS] = {"events", KIND_SANDBOX, FILE_MODE(0600), &events_ops},
    [KIND_CONFIG] = {"config", KIND_SANDBOX, DIR_MODE(0500), NULL},
    [KIND_EXEC_TIMEOUT] = {"exec_timeout", KIND_CONFIG, FILE_MODE(0600), &config_ops},
    [KIND_IDLE_TIMEOUT] = {"idle_timeout", KIND_CONFIG, FILE_MODE(0600), &config_ops},
    [KIND_MAX_LIFETIME] = {"max_lifetime", KIND_CONFIG, FILE_MODE(0600), &config_ops},
    [KIND_PERSISTENT] = {"persistent", KIND_CONFIG, FILE_MODE(0600), &config_ops},
    [KIND_EGRESS] = {"egress", KIND_CONFIG, FILE_MODE(0600), &config_ops},
    [KIND_MEMORY_MIB] = {"memory_mib", KIND_CONFIG, FILE_MODE(0600), &config_ops},
    [KIND_VCPUS] = {"vcpus", KIND_CONFIG, FILE_MODE(0600), &config_ops},
    [KIND_DISK_MIB] = {"disk_mib", KIND_CONFIG, FILE_MODE(0600), &config_ops},
    [KIND_PIDS] = {"pids", KIND_CONFIG, FILE_MODE(0600), &config_ops},
    [KIND_CPU_PERCENT] = {"cpu_percent", KIND_CONFIG, FILE_MODE(0600), &config_ops},
    [KIND_FORKS] = {"forks", KIND_SANDBOX, DIR_MODE(0700), NULL},
    [KIND_FORKS_N] = {".n", KIND_FORKS, FILE_MODE(0600), &many_ops},
    [KIND_MERGE] = {"merge", KIND_SANDBOX, FILE_MODE(0600), &merge_ops},
    [KIND_STATS] = {"stats", KIND_SANDBOX, FILE_MODE(0400), &stats_ops},
    [KIND_FILES] = {"fs", KIND_SANDBOX, DIR_MODE(0700), NULL},
    [KIND_FILE] = {NULL, KIND_FILES, 0, NULL},
    [KIND_CHANGES] = {"changes", KIND_SANDBOX, FILE_MODE(0400), &diff_ops},
    [KIND_CHANGES_JSON] = {"changes.json", KIND_SANDBOX, FILE_MODE(0400), &diff_ops},
    [KIND_CHANGES_PATCH] = {"changes.patch", KIND_SANDBOX, FILE_MODE(0400), &diff_ops},
    [KIND_DIFF] = {"diff", KIND_SANDBOX, DIR_MODE(0500), NULL},
    [KIND_PARENT_LIST] = {"parent", KIND_DIFF, FILE_MODE(0400), &diff_ops},
    [KIND_PARENT_JSON] = {"parent.json", KIND_DIFF, FILE_MODE(0400), &diff_ops},
    [KIND_PARENT_PATCH] = {"parent.patch", KIND_DIFF, FILE_MODE(0400), &diff_ops},
    [KIND_TEMPLATE_LIST] = {"template", KIND_DIFF, FILE_MODE(0400), &diff_ops},
    [KIND_TEMPLATE_JSON] = {"template.json", KIND_DIFF, FILE_MODE(0400), &diff_ops},
    [KIND_TEMPLATE_PATCH] = {"template.patch", KIND_DIFF, FILE_MODE(0400), &diff_ops},
    [KIND_DIFF_LIST] = {NULL, KIND_DIFF, FILE_MODE(0400), &diff_ops},
    [KIND_DIFF_JSON] = {NULL, KIND_DIFF, FILE_MODE(0400), &diff_ops},
    [KIND_DIFF_PATCH] = {NULL, KIND_DIFF, FILE_MODE(0400), &diff_ops},
    [KIND_DIFF_PATHS] = {"diff_paths", KIND_CONFIG, FILE_MODE(0600), &diff_paths_ops},
    [KIND_PTY] = {"pty", KIND_SANDBOX, DIR_MODE(0700), NULL},
    [KIND_TERMINAL] = {NULL, KIND_PTY, DIR_MODE(0500), NULL},
    [KIND_TERMINAL_DATA] = {"data", KIND_TERMINAL, FILE_MODE(0600), &terminal_data_ops},
    [KIND_TERMINAL_SIZE] = {"size", KIND_TERMINAL, FILE_MODE(0600), &terminal_size_ops},
    [KIND_TERMINAL_COMMAND] = {"command", KIND_TERMINAL, FILE_MODE(0600),
			       &terminal_command_ops},
    [KIND_TERMINAL_EXIT] = {"exit", KIND_TERMINAL, FILE_MODE(0400), &terminal_exit_ops},
    [KIND_NET] = {"net", KIND_SANDBOX, DIR_MODE(0500), NULL},
    [KIND_NET_EGRESS] = {"egress", KIND_NET, FILE_MODE(0600), &net_egress_ops},
    [KIND_NET_ALLOW] = {"allow", KIND_NET, FILE_MODE(0600), &net_allow_ops},
    [KIND_NET_LOG] = {"log", KIND_NET, FILE_MODE(0400), &net_log_ops},
    [KIND_NET_SECRETS] = {"secrets", KIND_NET, FILE_MODE(0600), &net_secrets_ops},
    [KIND_NET_STATUS] = {"status", KIND_NET, FILE_MODE(0400), &net_status_ops},
    [KIND_NET_PORTS] = {"ports", KIND_NET, FILE_MODE(0600), &net_ports_ops},
    [KIND_PORT] = {NULL, KIND_NET, S_IFSOCK | 0600, NULL},
    [KIND_RUN] = {NULL, KIND_RUNS, DIR_MODE(0500), NULL},
    [KIND_RUN_CODE] = {"code", KIND_RUN, FILE_MODE(0400), &code_ops},
    [KIND_RUN_LANGUAGE] = {"language", KIND_RUN, FILE_MODE(0400), &run_language_ops},
    [KIND_RUN_STDOUT] = {"stdout", KIND_RUN, FILE_MODE(0400), &stdout_ops},
    [KIND_RUN_STDERR] = {"stderr", KIND_RUN, FILE_MODE(0400), &stderr_ops},
    [KIND_RUN_OUTPUT] = {"output", KIND_RUN, FILE_MODE(0400), &output_ops},
    [KIND_RUN_EXIT] = {"exit", KIND_RUN, FILE_MODE(0400), &exit_ops},
    [KIND_RUN_CHANGES] = {"changes", KIND_RUN, FILE_MODE(0400), &run_changes_ops},
    [KIND_RUN_FIGURES] = {"figures", KIND_RUN, DIR_MODE(0500), NULL},
    [KIND_RUN_FIGURE] = {NULL, KIND_RUN_FIGURES, FILE_MODE(0400), &figure_ops},
    [KIND_RUN_STATUS] = {"status", KIND_RUN, FILE_MODE(0400), &run_status_ops},
};

_Static_assert(KIND_RUN_FIGURE + AGENT_FIGURES <= 0x100, "a kind is one byte");

const struct kind_info *kind_info(enum kind kind)
{
	return &kinds[kind];
}

static bool of_template(enum kind kind)
{
	return kind >= KIND_TEMPLATE && kind <= KIND_TEMPLATE_FORKS_N;
}

static bool of_sandbox(enum kind kind)
{
	return kind >= KIND_SANDBOX;
}

static bool of_target(enum kind kind)
{
	return kind >= KIND_DIFF_LIST && kind <= KIND_DIFF_PATCH;
}

static bool of_terminal(enum kind kind)
{
	return kind >= KIND_TERMINAL && kind <= KIND_TERMINAL_EXIT;
}

static bool of_run(enum kind kind)
{
	return kind >= KIND_RUN;
}

fuse_ino_t node_ino(const struct node *node)
{
	uint64_t serial = node->sb ? node->sb->serial : 0;
	uint64_t part = of_run(node->kind)	  ? node->run->number & NODE_PART_MAX
			: of_terminal(node->kind) ? node->terminal->number
			: node->kind == KIND_PORT ? node->port->number
			: of_target(node->kind)	  ? node->target->serial & NODE_PART_MAX
			: of_template(node->kind) ? node->template + 1
			: node->kind == KIND_FILE ? node->file->number
						  : 0;

	if (node->kind == KIND_SANDBOX && serial == node->fs->only)
		return FUSE_ROOT_ID;
	return serial << 32 | part << 8 | ((uint64_t)node->kind + node->figure);
}

/*
 * A mount of a single sandbox has that and its forks. Who made the mount may have made
 * it without default_permissions, and is no match for another user's forks.
 */
static int check_only(const struct fs *fs, const struct sandbox *sb)
{
	const struct sandbox *at = sb;

	while (at && at->serial != fs->only)
		at = sandbox_of_folder(fs->core, at->folder);
	if (!at)
		return -ENOENT;
	return fs->uid == sb->uid || fs->uid == 0 || fs->uid == fs->core->options.uid
		   ? 0
		   : -EACCES;
}

bool node_may_see(const struct fs *fs, const struct sandbox *sb)
{
	return !fs->only || check_only(fs, sb) == 0;
}

fuse_ino_t node_ino_of(const struct sandbox *sb, const struct files_node *file)
{
	const struct node node = {.kind = file->number ? KIND_FILE : KIND_FILES,
				  .sb = (struct sandbox *)(uintptr_t)sb,
				  .file = (struct files_node *)(uintptr_t)file};

	return node_ino(&node);
}

/* Number 0 is the root, which is made when somebody looks for it. */
static int file_at(struct node *node, unsigned number)
{
	struct files_node *root = files_root(node->sb);

	node->file = node->kind == KIND_FILES ? root
		     : number		      ? files_node_at(node->sb->files, number)
					      : NULL;
	return node->file ? 0 : -ENOENT;
}

int node_at(struct fs *fs, fuse_ino_t ino, struct node *node)
{
	unsigned kind = ino & 0xff, part = ino >> 8 & NODE_PART_MAX;
	int r;

	if (fs->only && ino == FUSE_ROOT_ID) {
		kind = KIND_SANDBOX;
		ino = fs->only << 32 | kind;
	}
	*node = (struct node){.fs = fs, .kind = kind};
	if (kind > KIND_RUN_FIGURE) {
		node->figure = kind - KIND_RUN_FIGURE;
		kind = node->kind = KIND_RUN_FIGURE;
	}
	if (kind < KIND_ROOT || kind >= KIND_COUNT)
		return -ENOENT;
	if (of_template(kind) && !fs->only) {
		node->template = part - 1;
		return templates_has(&fs->core->templates, node->template) ? 0 : -ENOENT;
	}
	if (of_sandbox(kind))
		node->sb = sandbox_by_serial(fs->core, ino >> 32);
	if (node->sb && node->sb->folder == FOLDER_HIDDEN)
		return -ENOENT;
	r = fs->only ? check_only(fs, node->sb) : 0;
	if (r < 0)
		return r;
	if ((kind == KIND_FILES || kind == KIND_FILE) && node->sb)
		return file_at(node, part);
	if (of_target(kind) && node->sb) {
		node->target = sandbox_by_serial(fs->core, part);
		return node->target && node_may_see(fs, node->target) ? 0 : -ENOENT;
	}
	if (of_terminal(kind) && node->sb) {
		node->terminal = terminal_at(node->sb, part);
		return node->terminal ? 0 : -ENOENT;
	}
	if (kind == KIND_PORT && node->sb) {
		node->port = net_port_at(fs, node->sb, part);
		return node->port ? 0 : -ENOENT;
	}
	if (of_run(kind) && node->sb)
		node->run = sandbox_run(node->sb, part);
	if (kind == KIND_RUN_FIGURE && node->run && node->figure >= node->run->figure_count)
		return -ENOENT;
	return (of_sandbox(kind) && !node->sb) || (of_run(kind) && !node->run) ? -ENOENT
									       : 0;
}

bool node_folder(const struct node *node, folder_t *folder)
{
	switch (node->kind) {
	case KIND_ROOT:
		*folder = FOLDER_ROOT;
		return true;
	case KIND_TEMPLATE_FORKS:
		*folder = FOLDER_TEMPLATE(node->template);
		return true;
	case KIND_FORKS:
		*folder = FOLDER_FORKS(node->sb->serial);
		return true;
	default:
		return false;
	}
}

static size_t template_of(const struct node *dir)
{
	struct templates *templates = &dir->fs->core->templates;

	if (dir->kind == KIND_TEMPLATE_FORKS)
		return dir->template;
	if (!templates_has(templates, templates->fallback))
		templates_scan(templates);
	return templates->fallback;
}

int node_fork(const struct node *dir, struct fork_order *order, fork_done_fn *done,
	      void *ctx, struct error *err)
{
	if (dir->kind == KIND_FORKS && dir->sb->folder == FOLDER_HIDDEN)
		return error_say(err, EIO, "%s is a template now", dir->sb->name);
	if (dir->kind == KIND_FORKS)
		return fork_begin(dir->sb, order, done, ctx, err);
	return template_fork(dir->fs->core, template_of(dir), order, done, ctx, err);
}

static int parse_number(const char *name, uint32_t *number)
{
	char *end;
	unsigned long value = strtoul(name, &end, 10);

	if (name[0] < '1' || name[0] > '9' || *end || value > NODE_PART_MAX)
		return -ENOENT;
	*number = (uint32_t)value;
	return 0;
}

/* A figure is N.png. */
static int figure_child(const struct node *dir, const char *name, struct node *child)
{
	char expected[16];

	child->kind = KIND_RUN_FIGURE;
	for (child->figure = 0; child->figure < dir->run->figure_count; child->figure++) {
		snprintf(expected, sizeof(expected), FIGURE_NAME, child->figure + 1);
		if (strcmp(name, expected) == 0)
			return 0;
	}
	return -ENOENT;
}

static int named_child(const struct node *dir, const char *name, struct node *child)
{
	folder_t folder;
	int index;
	uint32_t number;

	if (node_folder(dir, &folder)) {
		child->kind = KIND_SANDBOX;
		child->sb = sandbox_find(dir->fs->core, folder, name);
		return child->sb ? 0 : -ENOENT;
	}
	if (dir->kind == KIND_TEMPLATES) {
		index = template_find(dir->fs->core, name);
		child->kind = KIND_TEMPLATE;
		child->template = (size_t)index;
		return index >= 0 ? 0 : -ENOENT;
	}
	if (dir->kind == KIND_RUN_FIGURES)
		return figure_child(dir, name, child);
	if (dir->kind == KIND_DIFF)
		return target_child(dir, name, child);
	if (dir->kind == KIND_NET)
		return net_child(dir, name, child);
	if (dir->kind == KIND_PTY) {
		child->kind = KIND_TERMINAL;
		child->terminal = terminal_find(dir->sb, name);
		return child->terminal ? 0 : -ENOENT;
	}
	if (dir->kind == KIND_RUNS && parse_number(name, &number) == 0) {
		child->kind = KIND_RUN;
		child->run = sandbox_run(dir->sb, number);
		return child->run ? 0 : -ENOENT;
	}
	return -ENOENT;
}

/* `last` is there when there is a run that it can point at. */
static bool exists(const struct node *node)
{
	return node->kind != KIND_LAST || sandbox_newest(node->sb);
}

int node_child(const struct node *dir, const char *name, struct node *child)
{
	*child = *dir;
	for (int kind = KIND_ROOT; kind < KIND_COUNT; kind++) {
		if (kinds[kind].parent != dir->kind || !kinds[kind].name ||
		    strcmp(kinds[kind].name, name) != 0)
			continue;
		child->kind = kind;
		if (kind == KIND_FILES)
			return file_at(child, 0);
		return exists(child) ? 0 : -ENOENT;
	}
	return named_child(dir, name, child);
}

static void list_named(const struct node *dir,
		       void (*emit)(void *ctx, const char *name, const struct node *node),
		       void *ctx)
{
	struct core *core = dir->fs->core;
	struct node child = *dir;
	folder_t folder;
	char number[16];

	if (node_folder(dir, &folder)) {
		child.kind = KIND_SANDBOX;
		list_for_each (child.sb, &core->sandboxes, struct sandbox, link)
			if (child.sb->folder == folder && !child.sb->making)
				emit(ctx, child.sb->name, &child);
	} else if (dir->kind == KIND_TEMPLATES) {
		child.kind = KIND_TEMPLATE;
		template_look(core);
		for (child.template = 0;
		     child.template <core->templates.count; child.template ++)
			if (templates_has(&core->templates, child.template))
				emit(ctx, core->templates.list[child.template].name,
				     &child);
	} else if (dir->kind == KIND_RUN_FIGURES) {
		child.kind = KIND_RUN_FIGURE;
		for (; child.figure < dir->run->figure_count; child.figure++) {
			snprintf(number, sizeof(number), FIGURE_NAME, child.figure + 1);
			emit(ctx, number, &child);
		}
	} else if (dir->kind == KIND_DIFF) {
		target_list(dir, emit, ctx);
	} else if (dir->kind == KIND_NET) {
		net_list(dir, emit, ctx);
	} else if (dir->kind == KIND_PTY) {
		child.kind = KIND_TERMINAL;
		list_for_each (child.terminal, &dir->sb->terminals, struct terminal, link)
			if (!child.terminal->removed)
				emit(ctx, child.terminal->name, &child);
	} else if (dir->kind == KIND_RUNS) {
		child.kind = KIND_RUN;
		list_for_each (child.run, &dir->sb->runs, struct run, link) {
			snprintf(number, sizeof(number), "%u", child.run->number);
			emit(ctx, number, &child);
		}
	}
}

void node_list(const struct node *dir,
	       void (*emit)(void *ctx, const char *name, const struct node *node),
	       void *ctx)
{
	struct node child = *dir;

	for (int kind = KIND_ROOT; kind < KIND_COUNT; kind++) {
		child.kind = kind;
		if (kinds[kind].parent == dir->kind && kinds[kind].name && exists(&child))
			emit(ctx, kinds[kind].name, &child);
	}
	list_named(dir, emit, ctx);
}

/* The owner's permissions of a node, given to group and others as far as the
 * sandbox's directory gives them. A folder of sandboxes on a shared mount is like
 * /tmp: everybody may make entries there and end only their own. */
static mode_t mode_of(const struct node *node)
{
	folder_t folder;
	mode_t mode = kinds[node->kind].mode, owner = mode >> 6 & 7, dir;

	if (S_ISLNK(mode))
		return S_IFLNK | 0777;
	if (node->kind == KIND_TEMPLATE_FORKS_N && node->fs->shared)
		return mode | 0666;
	if (node->kind == KIND_ALL_EVENTS) /* who writes changes what he himself reads */
		return mode | 0666;
	if (!node->sb) {
		if (node_folder(node, &folder))
			return node->fs->shared ? S_IFDIR | 01777 : S_IFDIR | 0755;
		owner &= S_ISDIR(mode) ? 5 : 4;
		return mode | owner << 3 | owner;
	}
	dir = node->sb->mode;
	if (node->kind == KIND_SANDBOX)
		return S_IFDIR | dir;
	return mode | (owner << 3 & dir) | (owner & dir);
}

static struct timespec changed_at(const struct node *node)
{
	struct timespec now;

	if (node->kind == KIND_SANDBOX)
		return node->sb->created;
	if (node->kind == KIND_ERROR)
		return node->sb->changed;
	if (node->run && node->run->state == RUN_ENDED)
		return node->run->ended;
	clock_gettime(CLOCK_REALTIME, &now);
	return now;
}

void node_stat(const struct node *node, struct stat *st)
{
	const struct file_ops *ops = kinds[node->kind].ops;

	*st = (struct stat){
	    .st_ino = node_ino(node),
	    .st_mode = mode_of(node),
	    .st_nlink = 1,
	    .st_uid = node->sb ? node->sb->uid : node->fs->uid,
	    .st_gid = node->sb ? node->sb->gid : node->fs->gid,
	    .st_blksize = 4096,
	    .st_mtim = changed_at(node),
	};
	st->st_atim = st->st_ctim = st->st_mtim;
	if (ops && ops->size)
		st->st_size = (off_t)ops->size(node);
	st->st_blocks = (st->st_size + 511) / 512;
}
