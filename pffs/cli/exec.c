/*
 * pffs exec: a piece of code in a sandbox that is there.
 */
#include "pffs/cli/commands.h"
#include "pffs/cli/run_code.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <string.h>

#define CODE_MAX (16u << 20)

static const char help[] =
    "usage: pffs exec [OPTION...] SANDBOX [CODE|-]\n"
    "\n"
    "Runs CODE, or what is on standard input, in SANDBOX, whose variables it shares: in "
    "the\n"
    "Python that all its runs share, or by --bash in a fresh bash. What CODE prints is "
    "shown;\n"
    "the value of a last expression is not. SANDBOX is a name, an id, or a path, as\n"
    "demo/forks/x, or mnt/demo.\n"
    "\n"
    "  -b, --bash            CODE is for bash\n"
    "  -i, --stdin           CODE gets standard input\n"
    "      --timeout SECONDS end it after that time, with exit code 124\n"
    "      --json            lines of JSON, one for each line of output, and its end\n"
    "      --api PATH        socket of the pffs to ask (PFFS_API; else the only one)\n"
    "\n"
    "^C interrupts the code, a second ^C kills it. Exit status: that of the code; 125 if "
    "pffs\n"
    "itself failed, 2 for bad usage.\n";

static const struct option long_options[] = {
    {"bash", no_argument, NULL, 'b'},
    {"stdin", no_argument, NULL, 'i'},
    {"timeout", required_argument, NULL, 's'},
    {0},
};

static int take(void *ctx, int option, const char *value)
{
	struct run_code *code = ctx;
	char *end;

	if (option == 'b')
		code->language = "bash";
	if (option == 'i')
		code->with_stdin = true;
	if (option != 's')
		return 0;
	code->timeout = strtod(value, &end);
	return *end || end == value || code->timeout <= 0 ? -EINVAL : 0;
}

static int run(struct command *c, struct run_code *code, struct error *err)
{
	cleanup_free char *sandbox = client_reference(c->operands[0]), *read = NULL;
	int status = 0;

	if (!sandbox)
		return error_set(err, ENOMEM, "cannot ask pffs");
	if (c->count < 2 || strcmp(c->operands[1], "-") == 0) {
		read = io_read_file("/dev/stdin", CODE_MAX, &code->len, err);
		if (!read)
			return err->code;
		code->with_stdin = false;
	}
	code->code = read ? read : c->operands[1];
	code->len = read ? code->len : strlen(code->code);
	code->sandbox = sandbox;
	if (run_signals(err) < 0 || (c->json ? run_events(c, code, &status, err)
					     : run_code(c, code, &status, err)) < 0)
		return err->code;
	c->status = status;
	return 0;
}

int cmd_exec(int argc, char **argv)
{
	struct run_code code = {0};
	struct command c = {.help = help,
			    .options = long_options,
			    .take = take,
			    .ctx = &code,
			    .least = 1,
			    .most = 2,
			    .failure = EXIT_PFFS};
	struct error err;

	if (!command_begin(&c, argc, argv))
		return c.status;
	if (run(&c, &code, &err) < 0)
		command_fail(&c, &err);
	command_end(&c);
	return c.status;
}
