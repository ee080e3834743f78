/*
 * pffs shell: be in a sandbox.
 *
 * A terminal is a directory in the sandbox's pty/, so all is done through the mount. Those
 * that are made here are called 1, 2, ...
 */
#include "pffs/cli/attach.h"
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
    "usage: pffs shell [OPTION...] SANDBOX [-- COMMAND [ARGUMENT...]]\n"
    "\n"
    "A login shell, or COMMAND, at a terminal of the sandbox: full-screen programs work.\n"
    "SANDBOX is the path of its directory, or its name when there is one mount.\n"
    "\n"
    "^] d leaves it running; ^] twice types one ^]. To come back: pffs shell SANDBOX,\n"
    "which shows what was missed. Input that is no terminal goes to a new shell. The exit\n"
    "status is that of what ran there.\n"
    "\n"
    "  --new             another shell, also when one was left running\n"
    "  --terminal NAME   this terminal, as in SANDBOX/pty; made if it is not there\n"
    "  --mount DIR       the mount that SANDBOX is in\n";

struct shell_options {
	const char *sandbox, *terminal, *mount;
	char *const *command; /* or NULL */
	bool fresh;
};

struct shell {
	char *sandbox; /* paths */
	char *dir;
	bool again; /* it was there before */
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

static int find_sandbox(struct shell *shell, const struct shell_options *options,
			struct error *err)
{
	cleanup_free char *path = NULL;

	if (!options->mount)
		return mounts_find(options->sandbox, &shell->sandbox, err);
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

static int run(struct shell *shell, const struct shell_options *options, struct error *err)
{
	int status = 0, r = find_sandbox(shell, options, err);

	if (r == 0)
		r = open_terminal(shell, options, err);
	if (r == 0 && options->command)
		r = set_command(shell, options->command, err);
	if (r < 0 && shell->dir && !shell->again)
		rmdir(shell->dir);
	if (r < 0 || !shell->dir)
		return r;
	say(options->sandbox, "^] d leaves, pffs shell comes back");
	r = attach(shell->dir, shell->again, &status, err);
	if (r == ATTACH_LEFT)
		say(options->sandbox, "left running");
	if (r == ATTACH_EXITED)
		rmdir(shell->dir);
	if (r < 0)
		return r;
	return r == ATTACH_SIGNALED ? 128 + status : status;
}

static int usage(bool asked)
{
	fputs(help, asked ? stdout : stderr);
	return asked ? 0 : 2;
}

static int parse(int argc, char **argv, struct shell_options *options)
{
	static const struct option longs[] = {
	    {"new", no_argument, NULL, 'n'},
	    {"terminal", required_argument, NULL, 't'},
	    {"mount", required_argument, NULL, 'm'},
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
		else
			return c == 'h' ? 0 : -EINVAL;
	}
	return 1;
}

/* The options may stand before and behind SANDBOX; `--` ends them. */
static int parse_all(int argc, char **argv, struct shell_options *options)
{
	int r = parse(argc, argv, options);

	if (r <= 0 || optind >= argc || strcmp(argv[optind - 1], "--") == 0)
		return r <= 0 ? r : -EINVAL;
	options->sandbox = argv[optind];
	argc -= optind;
	argv += optind;
	optind = 1;
	r = parse(argc, argv, options);
	if (r <= 0 || optind == argc)
		return r;
	if (strcmp(argv[optind - 1], "--") != 0)
		return -EINVAL;
	options->command = argv + optind;
	return 1;
}

int cmd_shell(int argc, char **argv)
{
	struct shell_options options = {0};
	struct shell shell = {0};
	struct error err;
	int r = parse_all(argc, argv, &options);

	if (r <= 0)
		return usage(r == 0);
	r = run(&shell, &options, &err);
	free(shell.sandbox);
	free(shell.dir);
	if (r >= 0)
		return r;
	fprintf(stderr, "pffs: %s\n", err.text);
	return 1;
}
