/*
 * pffs cp: files from here into a sandbox, from there to here, or from one to another.
 *
 * Directories go as tar, which tar(1) packs and unpacks at this end.
 */
#include "pffs/cli/command.h"
#include "pffs/cli/commands.h"
#include "pffs/cli/paths.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define HOME "root" /* where a path in a sandbox that is not absolute begins */

static const char help[] =
    "usage: pffs cp [-r] SOURCE TARGET\n"
    "\n"
    "Copies a file, or with -r a directory. One of the two, or both, is SANDBOX:PATH, "
    "where "
    "a PATH\n"
    "without / at its start begins in /root; the other is a path here, or - for standard "
    "input or\n"
    "output. As with cp, a copy goes into a TARGET that is a directory. In a sandbox, "
    "missing\n"
    "directories are made. SANDBOX may be a path into a mount, as in mnt/demo:data.csv.\n"
    "\n"
    "  -r, --recursive   directories too\n"
    "      --api PATH    socket of the pffs that is asked (PFFS_API; else the only one)\n"
    "\n"
    "A path here with a `:` in it begins with ./ or /.\n";

struct place {
	char *sandbox; /* segment of a request's path, or NULL: here */
	char *path;    /* there without its first / */
	bool directory;
	unsigned mode;
};

struct copy {
	struct command *command;
	struct place source, target;
	bool recursive;
	struct error err;
};

/* SANDBOX:PATH; of what could also be a path of this machine, SANDBOX is in a mount. */
static bool is_remote(const char *text)
{
	const char *colon = strchr(text, ':');
	cleanup_free char *name = NULL;

	if (!colon || colon == text)
		return false;
	if (text[0] != '/' && text[0] != '.')
		return true;
	name = strndup(text, (size_t)(colon - text));
	return name && client_in_mount(name);
}

static void place_fini(struct place *place)
{
	free(place->sandbox);
	free(place->path);
}

static int place_init(struct place *place, const char *text, struct error *err)
{
	const char *colon = strchr(text, ':');
	cleanup_free char *name = NULL;

	if (!is_remote(text)) {
		place->path = strdup(text);
	} else {
		const char *path = colon + 1;

		name = strndup(text, (size_t)(colon - text));
		place->sandbox = name ? client_reference(name) : NULL;
		if (!place->sandbox)
			return error_set(err, ENOMEM, "cannot copy");
		if (asprintf(&place->path, "%s%s", *path == '/' ? "" : HOME "/",
			     path + strspn(path, "/")) < 0)
			place->path = NULL;
	}
	return place->path ? 0 : error_set(err, ENOMEM, "cannot copy");
}

static bool is_stream(const struct place *place)
{
	return !place->sandbox && strcmp(place->path, "-") == 0;
}

/* The path of the request for @place with @query; to free(), or NULL. */
static char *request_path(const struct place *place, const char *query)
{
	cleanup_free char *escaped = client_escape_path(place->path);
	char *path;

	if (!escaped || asprintf(&path, "/v1/sandboxes/%s/files/%s%s", place->sandbox,
				 escaped, query) < 0)
		return NULL;
	return path;
}

static int look_there(struct command *c, struct place *place, struct error *err)
{
	cleanup_free char *path = request_path(place, "?stat=true");
	json_t *entry = NULL;
	const char *type, *mode;
	int r = !path ? error_set(err, ENOMEM, "cannot copy")
		      : client_call(c->client, "GET", NULL, &entry, err, "%s", path);

	type = json_string_value(json_object_get(entry, "type"));
	mode = json_string_value(json_object_get(entry, "mode"));
	place->directory = r == 0 && type && strcmp(type, "directory") == 0;
	place->mode = mode ? (unsigned)strtoul(mode, NULL, 8) & 0777 : 0644;
	json_decref(entry);
	return r;
}

static int look_here(struct place *place, struct error *err)
{
	struct stat st;

	if (stat(place->path, &st) < 0)
		return error_set(err, errno, "%s", place->path);
	place->directory = S_ISDIR(st.st_mode);
	place->mode = st.st_mode & 0777;
	return 0;
}

static int look(struct command *c, struct place *place, struct error *err)
{
	place->mode = 0644;
	if (is_stream(place))
		return 0;
	return place->sandbox ? look_there(c, place, err) : look_here(place, err);
}

/* The last name of a path; NULL: it has none, as `.` and `/`. */
static char *last_name(const char *path)
{
	size_t end = strlen(path), start;

	while (end && path[end - 1] == '/')
		end--;
	for (start = end; start && path[start - 1] != '/';)
		start--;
	if (end == start || strncmp(path + start, ".", end - start) == 0 ||
	    strncmp(path + start, "..", end - start) == 0)
		return NULL;
	return strndup(path + start, end - start);
}

/* A copy goes into a target that is a directory. */
static int name_target(struct copy *copy)
{
	struct place *target = &copy->target;
	size_t len = strlen(target->path);
	bool wanted = len && target->path[len - 1] == '/';
	cleanup_free char *name = NULL;
	char *path;
	int r = look(copy->command, target, &copy->err);

	if (r < 0 && r != -ENOENT)
		return r;
	if (r == 0 && !target->directory && copy->source.directory)
		return error_say(&copy->err, ENOTDIR, "%s is not a directory",
				 target->path);
	if (!(r == 0 && target->directory) && !wanted)
		return 0;
	if (is_stream(&copy->source))
		return error_say(&copy->err, EISDIR, "say what the file is called in %s",
				 target->path);
	name = last_name(copy->source.path);
	if (!name)
		return 0;
	if (asprintf(&path, "%s%s%s", target->path, wanted ? "" : "/", name) < 0)
		return error_set(&copy->err, ENOMEM, "cannot copy");
	free(target->path);
	target->path = path;
	return 0;
}

/* tar(1), with one of our ends of a pipe as its standard input or output. Return: that
 * end, or -errno with @err. */
static int start_tar(const char *const *argv, bool reads, pid_t *pid, struct error *err)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return error_set(err, errno, "cannot run tar");
	*pid = fork();
	if (*pid == 0) {
		dup2(fds[reads ? 0 : 1], reads ? STDIN_FILENO : STDOUT_FILENO);
		execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	close(fds[reads ? 0 : 1]);
	if (*pid > 0)
		return fds[reads ? 1 : 0];
	close(fds[reads ? 1 : 0]);
	return error_set(err, errno, "cannot run tar");
}

static int end_tar(pid_t pid, struct error *err)
{
	int status;

	if (waitpid(pid, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return error_say(err, EIO, "tar has failed");
	return 0;
}

static int send_from(struct copy *copy, int fd)
{
	char query[32];
	cleanup_free char *path = NULL;
	struct transfer t = {.method = "PUT", .sends = true, .send_fd = fd};
	int r;

	if (copy->source.directory)
		snprintf(query, sizeof(query), "?format=tar");
	else
		snprintf(query, sizeof(query), "?mode=%04o", copy->source.mode);
	path = request_path(&copy->target, query);
	t.path = path;
	if (!path)
		return error_set(&copy->err, ENOMEM, "cannot copy");
	r = command_transfer(copy->command, &t, "copying");
	if (r < 0)
		copy->err = t.err;
	transfer_fini(&t);
	return r;
}

static int to_fd(void *ctx, const void *data, size_t len)
{
	const int *fd = ctx;

	return io_write_all_wait(*fd, data, len);
}

static int take_to(struct copy *copy, int fd)
{
	cleanup_free char *path =
	    request_path(&copy->source, copy->source.directory ? "?format=tar" : "");
	struct transfer t = {.path = path, .take = to_fd, .ctx = &fd};
	int r;

	if (!path)
		return error_set(&copy->err, ENOMEM, "cannot copy");
	r = command_transfer(copy->command, &t, "copying");
	if (r < 0)
		copy->err = t.err;
	transfer_fini(&t);
	return r;
}

/* Have @move carry what tar @argv writes, or, with @reads, what it reads. */
static int through_tar(struct copy *copy, const char *const *argv, bool reads,
		       int (*move)(struct copy *copy, int fd))
{
	struct error ignored;
	pid_t pid = -1;
	int fd = start_tar(argv, reads, &pid, &copy->err), r;

	if (fd < 0)
		return fd;
	r = move(copy, fd);
	close(fd);
	return end_tar(pid, r < 0 ? &ignored : &copy->err) < 0 && r == 0 ? -EIO : r;
}

static int upload_directory(struct copy *copy)
{
	const char *argv[] = {"tar", "-C", copy->source.path, "-cf", "-", ".", NULL};

	return through_tar(copy, argv, false, send_from);
}

/* What comes is from a guest: tar keeps it below the directory, and gives nobody more
 * than a file of ours has. */
static int download_directory(struct copy *copy)
{
	const char *argv[] = {"tar",
			      "-C",
			      copy->target.path,
			      "--no-same-owner",
			      "--no-same-permissions",
			      "-xf",
			      "-",
			      NULL};

	if (mkdir(copy->target.path, 0777) < 0 && errno != EEXIST)
		return error_set(&copy->err, errno, "cannot make %s", copy->target.path);
	return through_tar(copy, argv, true, take_to);
}

static int upload(struct copy *copy)
{
	cleanup_close int fd = -1;

	if (is_stream(&copy->source))
		return send_from(copy, STDIN_FILENO);
	if (copy->source.directory)
		return upload_directory(copy);
	fd = open(copy->source.path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_set(&copy->err, errno, "%s", copy->source.path);
	return send_from(copy, fd);
}

static int download(struct copy *copy)
{
	cleanup_close int fd = -1;

	if (is_stream(&copy->target))
		return take_to(copy, STDOUT_FILENO);
	if (copy->source.directory)
		return download_directory(copy);
	fd = open(copy->target.path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
		  copy->source.mode);
	if (fd < 0)
		return error_set(&copy->err, errno, "%s", copy->target.path);
	return take_to(copy, fd);
}

/* From one sandbox to another. */
static int relay(struct copy *copy)
{
	cleanup_close int fd = open(paths_spool(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0)
		return error_set(&copy->err, errno, "cannot keep a copy in %s",
				 paths_spool());
	if (take_to(copy, fd) < 0)
		return copy->err.code;
	if (lseek(fd, 0, SEEK_SET) < 0)
		return error_set(&copy->err, errno, "cannot read the copy");
	return send_from(copy, fd);
}

static int run(struct copy *copy)
{
	struct command *c = copy->command;

	if (place_init(&copy->source, c->operands[0], &copy->err) < 0 ||
	    place_init(&copy->target, c->operands[1], &copy->err) < 0)
		return copy->err.code;
	if (!copy->source.sandbox && !copy->target.sandbox)
		return error_say(&copy->err, EINVAL, "neither %s nor %s is in a sandbox",
				 c->operands[0], c->operands[1]);
	if (look(c, &copy->source, &copy->err) < 0)
		return copy->err.code;
	if (copy->source.directory && !copy->recursive)
		return error_say(&copy->err, EISDIR, "%s is a directory: -r copies it",
				 c->operands[0]);
	if (copy->source.directory && is_stream(&copy->target))
		return take_to(copy, STDOUT_FILENO);
	if (name_target(copy) < 0)
		return copy->err.code;
	if (!copy->source.sandbox)
		return upload(copy);
	return copy->target.sandbox ? relay(copy) : download(copy);
}

static int take(void *ctx, int option, const char *value)
{
	struct copy *copy = ctx;

	(void)option;
	(void)value;
	copy->recursive = true;
	return 0;
}

/* The mount that one of the two leads into says which pffs is asked. */
static struct client *find_pffs(const struct command *c, struct error *err)
{
	cleanup_free char *name = NULL;

	for (int i = 0; i < c->count && !name; i++)
		if (is_remote(c->operands[i]))
			name = strndup(c->operands[i], strcspn(c->operands[i], ":"));
	return client_open(c->api, name, err);
}

int cmd_cp(int argc, char **argv)
{
	static const struct option options[] = {{"recursive", no_argument, NULL, 'r'}, {0}};
	struct copy copy = {0};
	struct command c = {.help = help,
			    .options = options,
			    .take = take,
			    .ctx = &copy,
			    .least = 2,
			    .most = 2};

	if (!command_parse(&c, argc, argv))
		return c.status;
	copy.command = &c;
	c.client = find_pffs(&c, &copy.err);
	if (!c.client || run(&copy) < 0)
		command_fail(&c, &copy.err);
	place_fini(&copy.source);
	place_fini(&copy.target);
	command_end(&c);
	return c.status;
}
