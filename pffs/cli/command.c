#include "pffs/cli/command.h"

#include "pffs/cli/progress.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define OPTIONS_MAX 32
#define OPTION_API  1000
#define OPTION_JSON 1001

static const struct option common[] = {
    {"api", required_argument, NULL, OPTION_API},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, 'h'},
    {0},
};

/* Its own options and those of all, and the letters among them. */
static void all_options(const struct command *c, struct option *all, char *letters)
{
	const struct option *lists[] = {c->options, common};
	size_t count = 0;

	if (c->in_order)
		*letters++ = '+';
	for (size_t i = 0; i < 2; i++)
		for (const struct option *o = lists[i]; o && o->name; o++) {
			if (count == OPTIONS_MAX)
				continue;
			all[count++] = *o;
			if (o->val >= OPTION_API)
				continue;
			*letters++ = (char)o->val;
			if (o->has_arg)
				*letters++ = ':';
		}
	*letters = '\0';
}

int usage_error(const char *name, const char *reason, ...)
{
	va_list args;

	fprintf(stderr, "%s: ", name);
	if (reason) {
		va_start(args, reason);
		vfprintf(stderr, reason, args);
		va_end(args);
		fputs("; ", stderr);
	}
	fprintf(stderr, "see %s --help\n", name);
	return EXIT_USAGE;
}

/* Return: 0 or the status. */
static int take(struct command *c, int option)
{
	if (option == OPTION_API)
		c->api = optarg;
	else if (option == OPTION_JSON)
		c->json = true;
	else if (option == '?' || !c->take)
		return usage_error(c->name, NULL);
	else if (c->take(c->ctx, option, optarg) < 0)
		return usage_error(c->name, "%s is no value for that option",
				   optarg ? optarg : "this");
	return 0;
}

/* Of a command whose exit status is not the code's. */
static const char exit_status[] = "\nExit status: 0, 1 when it failed, 2 for bad usage.\n";

static void print_help(const char *help)
{
	fputs(help, stdout);
	if (!strstr(help, "xit status"))
		fputs(exit_status, stdout);
}

static int check_count(const struct command *c)
{
	if (c->count < c->least)
		return usage_error(c->name, "an argument is missing");
	if (c->most >= 0 && c->count > c->most)
		return usage_error(c->name, "%s is too much", c->operands[c->most]);
	return 0;
}

bool command_parse(struct command *c, int argc, char **argv)
{
	struct option all[OPTIONS_MAX + 1] = {0};
	char letters[2 * OPTIONS_MAX + 2];
	int option;

	all_options(c, all, letters);
	c->name = argv[0];
	optind = 1;
	while ((option = getopt_long(argc, argv, letters, all, NULL)) >= 0) {
		if (option == 'h') {
			print_help(c->help);
			return false;
		}
		c->status = take(c, option);
		if (c->status)
			return false;
	}
	c->operands = argv + optind;
	c->count = argc - optind;
	c->status = check_count(c);
	return !c->status;
}

int command_fail(struct command *c, const struct error *err)
{
	fflush(stdout);
	fprintf(stderr, "pffs: %s\n", err->text);
	c->status = c->failure ? c->failure : EXIT_FAILURE;
	return c->status;
}

bool command_begin(struct command *c, int argc, char **argv)
{
	struct error err;

	if (!command_parse(c, argc, argv))
		return false;
	c->client = client_open(c->api, c->count ? c->operands[0] : NULL, &err);
	if (!c->client)
		command_fail(c, &err);
	return c->client;
}

void command_end(struct command *c)
{
	client_close(c->client);
	c->client = NULL;
}

int command_flush(struct command *c)
{
	struct error err;

	if (fflush(stdout) == 0 && !ferror(stdout))
		return 0;
	error_set(&err, errno, "cannot write to standard output");
	return command_fail(c, &err);
}

int command_print_json(struct command *c, const json_t *value)
{
	json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
	putchar('\n');
	return command_flush(c);
}

int command_to_stdout(void *ctx, const void *data, size_t len)
{
	(void)ctx;
	return io_write_all_wait(STDOUT_FILENO, data, len);
}

int command_transfer(struct command *c, struct transfer *transfer, const char *what)
{
	struct progress progress;
	struct client_watch watch = {.ready = progress_tick, .ctx = &progress};

	progress_begin(&progress, what);
	watch.fd = progress.fd;
	client_transfer(c->client, transfer, 1, &watch, progress.fd >= 0 ? 1 : 0);
	progress_end(&progress);
	return transfer->err.code;
}

int command_ask(struct command *c, const char *method, const json_t *body, json_t **answer,
		const char *path, ...)
{
	struct transfer t = {.method = method, .body = body};
	cleanup_free char *formatted = NULL;
	va_list args;
	int n;

	va_start(args, path);
	n = vasprintf(&formatted, path, args);
	va_end(args);
	t.path = formatted;
	if (n < 0) {
		formatted = NULL;
		error_set(&t.err, ENOMEM, "cannot ask pffs");
	} else {
		command_transfer(c, &t, "waiting");
	}
	if (answer)
		*answer = steal_pointer(&t.answer);
	transfer_fini(&t);
	return t.err.code < 0 ? command_fail(c, &t.err) : 0;
}
