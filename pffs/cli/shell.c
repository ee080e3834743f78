/*
 * pffs sh, or shell: be in a sandbox.
 *
 * A terminal is a directory in the sandbox's pty/, so where there is a mount all is done
 * through that; those that are made here are called 1, 2, ... Without a mount it goes over
 * the pffs's socket.
 */
#include "pffs/cli/attach_api.h"
#include "pffs/cli/command.h"
#include "pffs/cli/commands.h"
#include "pffs/cli/mounts.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <string.h>
#include <sys/stat.h>

#define NAMES_MAX 100000 /* tried for a new terminal */

static const char help[] =
    "usage: pffs sh [OPTION...] SANDBOX [-- COMMAND [ARGUMENT...]]\n"
    "\n"
    "A login shell, or COMMAND, at a terminal of the sandbox: full-screen programs work.\n"
    "SANDBOX is the path of its directory, or its name, its path in the mount, or its id.\n"
    "\n"
    "^] d leaves it running; ^] twice types one ^]. To come back: pffs sh SANDBOX, which\n"
    "shows what was missed. Input that is no terminal goes to a new shell. The exit "
    "status\n"
    "is that of what ran there. `pffs shell` is the same.\n"
    "\n"
    "  --new             another shell, also when one was left running\n"
    "  --terminal NAME   this terminal, as in SANDBOX/pty; made if it is not there, for\n"
    "                    which it takes a mount\n"
    "  --mount DIR       the mount that SANDBOX is in\n"
    "  --api PATH        socket of the pffs that is asked (PFFS_API; else the only one)\n";

struct shell_options {
	const char *sandbox, *terminal, *mount, *api;
	char *const *command; /* or NULL */
	bool fresh;
};

struct shell {
	char *sandbox; /* paths */
	char *dir;
	bool again;	       /* it was there before */
	struct client *client; /* without a mount, and @sandbox is a segment of a path */
};

static bool has_ended(const char *dir)
{
	cleanup_free char *path = NULL;
	struct stat st;

	if (asprintf(&path, "%s/exit", dir) < 0) {
		path = NULL;
		return false;
	}
	return stat(path, &st) == 0 && st.st_size > 0;
}

/* The newest terminal whose program runs. Return: its path to free(), or NULL. */
static char *find_left(const char *sandbox)
{
	cleanup_free char *pty = NULL, *found = NULL;
	cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	ino_t newest = 0;

	if (asprintf(&pty, "%s/pty", sandbox) < 0) {
		pty = NULL;
		return NULL;
	}
	dir = opendir(pty);
	while (dir && (entry = readdir(dir))) {
		char *path;

		if (entry->d_name[0] == '.' || entry->d_ino < newest ||
		    asprintf(&path, "%s/%s", pty, entry->d_name) < 0)
			continue;
		if (has_ended(path)) {
			free(path);
			continue;
		}
		free(found);
		found = path;
		newest = entry->d_ino;
	}
	return steal_pointer(&found);
}

static int cannot_open(const struct shell *shell, struct error *err)
{
	return mounts_explain(shell->sandbox, errno, "cannot open a terminal", err);
}

/* That with this name, running or new. One that has ended may be that of somebody who is
 * about to read its exit code: @replace it? */
static int open_named(struct shell *shell, const char *name, bool replace,
		      struct error *err)
{
	if (asprintf(&shell->dir, "%s/pty/%s", shell->sandbox, name) < 0) {
		shell->dir = NULL;
		return error_set(err, ENOMEM, "cannot open a terminal");
	}
	if (replace && has_ended(shell->dir))
		rmdir(shell->dir);
	if (mkdir(shell->dir, 0700) == 0)
		return 0;
	shell->again = true;
	return errno == EEXIST ? 0 : cannot_open(shell, err);
}

static int open_number(struct shell *shell, bool replace, struct error *err)
{
	char name[16];
	int r;

	for (unsigned i = 1; i < NAMES_MAX; i++) {
		snprintf(name, sizeof(name), "%u", i);
		shell->again = false;
		r = open_named(shell, name, replace, err);
		if (r < 0 || !shell->again)
			return r;
		free(steal_pointer(&shell->dir));
	}
	return error_say(err, EEXIST, "there are too many terminals in %s", shell->sandbox);
}

/* Those that have ended go only if there is no room. */
static int open_fresh(struct shell *shell, struct error *err)
{
	int r = open_number(shell, false, err);

	if (r != -ENOSPC)
		return r;
	free(steal_pointer(&shell->dir));
	return open_number(shell, true, err);
}

static int open_terminal(struct shell *shell, const struct shell_options *options,
			 struct error *err)
{
	if (options->terminal)
		return open_named(shell, options->terminal, true, err);
	if (!options->fresh && !options->command && isatty(STDIN_FILENO))
		shell->dir = find_left(shell->sandbox);
	shell->again = shell->dir;
	return shell->dir ? 0 : open_fresh(shell, err);
}

static void quote_byte(char byte, FILE *out)
{
	if (byte == '\'')
		fputs("'\\''", out);
	else if (byte == '\n')
		fputs("'$'\\n''", out);
	else
		fputc(byte, out);
}

/* Each argument in single quotes, as bash takes them; in one line, since each line of a
 * write to `command` is one. */
static char *quote(char *const *arguments)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	for (; *arguments; arguments++) {
		fputc('\'', out);
		for (const char *at = *arguments; *at; at++)
			quote_byte(*at, out);
		fputs("' ", out);
	}
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

static int set_command(const struct shell *shell, char *const *command, struct error *err)
{
	cleanup_free char *path = NULL, *text = quote(command);
	cleanup_close int fd = -1;
	int r;

	if (!text || asprintf(&path, "%s/command", shell->dir) < 0)
		return error_set(err, ENOMEM, "cannot name the command");
	fd = open(path, O_WRONLY | O_CLOEXEC);
	r = fd < 0 ? -errno : io_write_all(fd, text, strlen(text));
	return r < 0 ? mounts_explain(shell->sandbox, -r, "cannot start the command", err)
		     : 0;
}

/* The directory that the pffs which is asked shows the sandbox as; or, when it shows none,
 * @client is set. */
static int ask_for_sandbox(struct shell *shell, const struct shell_options *options,
			   struct error *err)
{
	struct client *client = client_open(options->api, options->sandbox, err);
	cleanup_free char *reference = client_reference(options->sandbox), *path = NULL;
	json_t *host = NULL, *sandbox = NULL;
	const char *mount;
	int r = client ? 0 : err->code;

	if (r == 0)
		r = client_call(client, "GET", NULL, &host, err, "/v1/host");
	if (r == 0)
		r = client_call(client, "GET", NULL, &sandbox, err, "/v1/sandboxes/%s",
				reference);
	mount = json_string_value(json_object_get(host, "mount"));
	if (r == 0 && mount &&
	    asprintf(&path, "%s/%s", mount,
		     json_string_value(json_object_get(sandbox, "path"))) >= 0) {
		r = mounts_find(path, &shell->sandbox, err);
	} else if (r == 0) {
		shell->sandbox = steal_pointer(&reference);
		shell->client = steal_pointer(&client);
	}
	json_decref(host);
	json_decref(sandbox);
	client_close(client);
	return r;
}

/* Is another pffs named than that which is mounted here? */
static bool is_elsewhere(const struct shell_options *options)
{
	const char *set = getenv("PFFS_API");

	return options->api || (set && *set && !client_in_mount(options->sandbox));
}

static int find_sandbox(struct shell *shell, const struct shell_options *options,
			struct error *err)
{
	cleanup_free char *path = NULL;

	if (!options->mount) {
		if (!is_elsewhere(options) &&
		    mounts_find(options->sandbox, &shell->sandbox, err) == 0)
			return 0;
		free(steal_pointer(&shell->sandbox));
		return ask_for_sandbox(shell, options, err);
	}
	if (asprintf(&path, "%s/%s", options->mount, options->sandbox) < 0) {
		path = NULL;
		return error_set(err, ENOMEM, "cannot look for %s", options->sandbox);
	}
	return mounts_find(path, &shell->sandbox, err);
}

static void say(const char *sandbox, const char *what)
{
	if (isatty(STDIN_FILENO) && isatty(STDERR_FILENO))
		fprintf(stderr, "[%s: %s]\r\n", sandbox, what);
}

/* Of those that go on the newest: a segment of a path to free(), or NULL. */
static char *find_left_api(const struct shell *shell)
{
	json_t *all = NULL, *terminal;
	json_int_t newest = -1, made;
	const char *name = NULL;
	char *found;
	size_t i;

	client_call(shell->client, "GET", NULL, &all, NULL, "/v1/sandboxes/%s/pty",
		    shell->sandbox);
	json_array_foreach(all, i, terminal)
	{
		made = json_integer_value(json_object_get(terminal, "created_at_ms"));
		if (!json_is_null(json_object_get(terminal, "exit_code")) || made < newest)
			continue;
		newest = made;
		name = json_string_value(json_object_get(terminal, "pty_id"));
	}
	found = name ? client_escape(name) : NULL;
	json_decref(all);
	return found;
}

static int be_there_api(const struct shell *shell, const struct shell_options *options,
			int *status, struct error *err)
{
	cleanup_free char *terminal = NULL;
	struct attach_api attached = {.client = shell->client,
				      .sandbox = shell->sandbox,
				      .command = options->command};

	if (options->terminal)
		terminal = client_escape(options->terminal);
	else if (!options->fresh && !options->command && isatty(STDIN_FILENO))
		terminal = find_left_api(shell);
	attached.terminal = terminal;
	return attach_api(&attached, status, err);
}

static int open_dir(struct shell *shell, const struct shell_options *options,
		    struct error *err)
{
	int r = open_terminal(shell, options, err);

	if (r == 0 && options->command)
		r = set_command(shell, options->command, err);
	if (r < 0 && shell->dir && !shell->again)
		rmdir(shell->dir);
	return r;
}

/* Return: as attach(). */
static int be_there(struct shell *shell, const struct shell_options *options, int *status,
		    struct error *err)
{
	int r;

	if (shell->client)
		return be_there_api(shell, options, status, err);
	r = attach(shell->dir, shell->again, status, err);
	if (r == ATTACH_EXITED)
		rmdir(shell->dir);
	return r;
}

static int run(struct shell *shell, const struct shell_options *options, struct error *err)
{
	int status = 0, r = find_sandbox(shell, options, err);

	if (r == 0 && !shell->client)
		r = open_dir(shell, options, err);
	if (r < 0 || (!shell->client && !shell->dir))
		return r;
	say(options->sandbox, "^] d leaves, pffs sh comes back");
	r = be_there(shell, options, &status, err);
	if (r == ATTACH_LEFT)
		say(options->sandbox, "left running");
	if (r < 0)
		return r;
	return r == ATTACH_SIGNALED ? 128 + status : status;
}

static int parse(int argc, char **argv, struct shell_options *options)
{
	static const struct option longs[] = {
	    {"new", no_argument, NULL, 'n'},
	    {"terminal", required_argument, NULL, 't'},
	    {"mount", required_argument, NULL, 'm'},
	    {"api", required_argument, NULL, 'a'},
	    {"help", no_argument, NULL, 'h'},
	    {0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "+h", longs, NULL)) >= 0) {
		if (c == 'n')
			options->fresh = true;
		else if (c == 't')
			options->terminal = optarg;
		else if (c == 'm')
			options->mount = optarg;
		else if (c == 'a')
			options->api = optarg;
		else
			return c == 'h' ? 0 : -EINVAL;
	}
	return 1;
}

static int bad(const char *name, const char *reason)
{
	usage_error(name, "%s", reason);
	return -EINVAL;
}

/* The options may stand before and behind SANDBOX; `--` ends them. Return: 1 to go on, 0
 * for help, -EINVAL: it was said what is wrong. */
static int parse_all(int argc, char **argv, struct shell_options *options)
{
	char *name = argv[0];
	int r = parse(argc, argv, options);

	if (r < 0)
		usage_error(name, NULL);
	if (r <= 0)
		return r;
	if (optind >= argc || strcmp(argv[optind - 1], "--") == 0)
		return bad(name, "it is not said in which sandbox");
	options->sandbox = argv[optind];
	argc -= optind;
	argv += optind;
	argv[0] = name; /* what getopt says begins with it */
	optind = 1;
	r = parse(argc, argv, options);
	if (r < 0)
		usage_error(name, NULL);
	if (r <= 0 || optind == argc)
		return r;
	if (strcmp(argv[optind - 1], "--") != 0)
		return bad(name, "a command for the sandbox comes behind --");
	options->command = argv + optind;
	return 1;
}

int cmd_shell(int argc, char **argv)
{
	struct shell_options options = {0};
	struct shell shell = {0};
	struct error err;
	int r = parse_all(argc, argv, &options);

	if (r == 0)
		fputs(help, stdout);
	if (r <= 0)
		return r < 0 ? EXIT_USAGE : 0;
	r = run(&shell, &options, &err);
	free(shell.sandbox);
	free(shell.dir);
	client_close(shell.client);
	if (r >= 0)
		return r;
	fprintf(stderr, "pffs: %s\n", err.text);
	return 1;
}
