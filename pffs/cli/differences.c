/*
 * pffs diff: what files two sandboxes do not have in common.
 */
#include "pffs/cli/command.h"
#include "pffs/cli/commands.h"
#include "util/cleanup.h"

#include <errno.h>
#include <string.h>

static const char help[] =
    "usage: pffs diff SANDBOX [TARGET] [--patch]\n"
    "\n"
    "What files TARGET has that SANDBOX has not (A), has not any more (D), or has "
    "otherwise "
    "(M).\n"
    "TARGET is the name of one of SANDBOX's forks, what else names a sandbox, `parent` or\n"
    "`template`. Without TARGET: what SANDBOX has changed since it was made or forked.\n"
    "\n"
    "      --patch       a patch, for patch -p1\n"
    "      --path PATH   what is at PATH and below alone; can be given again\n"
    "      --json        as JSON\n"
    "      --api PATH    socket of the pffs that is asked (PFFS_API; else the only one)\n";

#define PATHS_MAX 64

struct options {
	bool patch;
	const char *paths[PATHS_MAX];
	unsigned count;
};

static int take(void *ctx, int option, const char *value)
{
	struct options *o = ctx;

	if (option == 'p')
		o->patch = true;
	else if (o->count == PATHS_MAX)
		return -EINVAL;
	else
		o->paths[o->count++] = value;
	return 0;
}

/* To free(), or NULL. */
static char *request_path(const struct command *c, const struct options *o)
{
	cleanup_free char *sandbox = client_reference(c->operands[0]), *target = NULL;
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (c->count > 1)
		target = client_reference(c->operands[1]);
	if (!out || !sandbox || (c->count > 1 && !target)) {
		if (out)
			fclose(out);
		free(text);
		return NULL;
	}
	fprintf(out, "/v1/sandboxes/%s/%s%s?format=%s", sandbox,
		target ? "diff/" : "changes", target ? target : "",
		c->json	   ? "json"
		: o->patch ? "patch"
			   : "list");
	for (unsigned i = 0; i < o->count; i++) {
		cleanup_free char *escaped = client_escape(o->paths[i]);

		fprintf(out, "&path=%s", escaped ? escaped : "");
	}
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

int cmd_diff(int argc, char **argv)
{
	static const struct option long_options[] = {
	    {"patch", no_argument, NULL, 'p'}, {"path", required_argument, NULL, 'P'}, {0}};
	struct options options = {0};
	struct command c = {.help = help,
			    .options = long_options,
			    .take = take,
			    .ctx = &options,
			    .least = 1,
			    .most = 2};
	struct transfer t = {.take = command_to_stdout};
	cleanup_free char *path = NULL;

	if (!command_begin(&c, argc, argv))
		return c.status;
	path = request_path(&c, &options);
	if (path) {
		t.path = path;
		client_transfer(c.client, &t, 1, NULL, 0);
	} else {
		error_set(&t.err, ENOMEM, "cannot ask pffs");
	}
	if (t.err.code < 0)
		command_fail(&c, &t.err);
	else if (c.json)
		putchar('\n');
	transfer_fini(&t);
	command_end(&c);
	return c.status;
}
