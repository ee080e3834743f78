/*
 * pffs serve: the HTTP server without a mount.
 */
#include "pffs/cli/command.h"
#include "pffs/cli/commands.h"
#include "pffs/cli/paths.h"
#include "pffs/cli/serving.h"

static const char help[] =
    "usage: pffs serve [OPTION...]\n"
    "\n"
    "Answers HTTP (docs/http.md) at 127.0.0.1:7070, or where --http says (none: nowhere),\n"
    "and at a Unix socket of its own, until `pffs stop` or SIGTERM. `pffs mount --http` "
    "does\n"
    "the same, and shows the sandboxes as directories.\n"
    "\n";

int cmd_serve(int argc, char **argv)
{
	static const struct option options[] = {SERVING_OPTIONS, {0}};
	struct serving serving = {
	    .command = "serve", .options = options, .daemon = SERVING_DEFAULTS};
	int r = serving_parse(argc, argv, &serving);

	if (r == 0 && optind != argc)
		return usage_error(argv[0], "%s is too much", argv[optind]);
	if (r > 0) {
		fputs(help, stdout);
		fputs(serving_help, stdout);
	}
	if (r != 0)
		return r < 0 ? EXIT_USAGE : 0;
	if (!serving.daemon.http.address_count && !serving.no_http)
		serving.daemon.http.addresses[serving.daemon.http.address_count++] =
		    "127.0.0.1:7070";
	return serving_run(&serving);
}
