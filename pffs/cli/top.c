/*
 * pffs top: what sandboxes use, live.
 *
 * CPU time is told by `stats` as a sum; what is shown at a terminal is what a sandbox took
 * since the last look, in percent of one CPU. A single look has no last one: it shows the
 * sum.
 */
#include "pffs/cli/command.h"
#include "pffs/cli/commands.h"
#include "pffs/cli/table.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>

#define EACH_MS 2000

static const char help[] =
    "usage: pffs top\n"
    "\n"
    "What sandboxes use: CPU, memory of their own and shared, disk. Live at a terminal, "
    "where q\n"
    "ends it; else once, with CPU time in seconds.\n"
    "\n"
    "  --json        GET /v1/host, and each sandbox with its `stats`, once\n"
    "  --api PATH    socket of the pffs that is asked (PFFS_API; else the only one)\n";

struct top {
	struct command *command;
	json_t *before; /* CPU time by id, at the last look; NULL: there was none */
	json_t *now;
	uint64_t before_ns, now_ns;
	bool live;
};

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "-";
}

static double number_of(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

/* The host, and all sandboxes with their stats; NULL when that failed, and was said. */
static json_t *look(struct top *top)
{
	struct command *c = top->command;
	json_t *host = NULL, *answer = NULL, *stats, *sandbox, *result = NULL;
	size_t i;

	if (command_ask(c, "GET", NULL, &host, "/v1/host") == 0 &&
	    command_ask(c, "GET", NULL, &answer, "/v1/sandboxes") == 0) {
		json_array_foreach(json_object_get(answer, "sandboxes"), i, sandbox)
		{
			stats = NULL;
			if (client_call(c->client, "GET", NULL, &stats, NULL,
					"/v1/sandboxes/%s/stats",
					text_of(sandbox, "id")) == 0)
				json_object_set(sandbox, "stats", stats);
			json_decref(stats);
		}
		result = json_pack("{s:O, s:O}", "host", host, "sandboxes",
				   json_object_get(answer, "sandboxes"));
	}
	json_decref(host);
	json_decref(answer);
	return result;
}

static void add_cpu(struct top *top, struct table *table, const json_t *sandbox)
{
	const json_t *stats = json_object_get(sandbox, "stats");
	const char *id = text_of(sandbox, "id");
	double cpu = number_of(stats, "cpu_usec");
	const json_t *before = json_object_get(top->before, id);
	double ns = (double)(top->now_ns - top->before_ns);

	json_object_set_new(top->now, id, json_real(cpu));
	if (!stats || (top->live && !before))
		table_add(table, "-");
	else if (!top->live)
		table_add(table, "%.1f", cpu / 1e6);
	else
		table_add(table, "%.0f", 1e5 * (cpu - json_number_value(before)) / ns);
}

static void add_size(struct table *table, const json_t *stats, const char *key)
{
	char size[32];

	table_add(table, "%s", stats ? table_size(number_of(stats, key), size) : "-");
}

static void show(struct top *top, const json_t *seen, FILE *out)
{
	struct table table = {
	    .titles = {"SANDBOX", "STATE", top->live ? "CPU%" : "CPU-S", "MEMORY", "SHARED",
		       "DISK", "RUNS"},
	    .right = {[2] = true, [3] = true, [4] = true, [5] = true, [6] = true}};
	const json_t *sandbox, *stats;
	size_t i;

	json_array_foreach(json_object_get(seen, "sandboxes"), i, sandbox)
	{
		stats = json_object_get(sandbox, "stats");
		table_add(&table, "%s", text_of(sandbox, "path"));
		table_add(&table, "%s", text_of(sandbox, "state"));
		add_cpu(top, &table, sandbox);
		add_size(&table, stats, "memory_private");
		add_size(&table, stats, "memory_shared");
		add_size(&table, stats, "disk_bytes");
		table_add(&table, "%.0f", number_of(stats, "runs"));
	}
	table_print(&table, out);
	table_fini(&table);
}

/* The first lines of @text that the screen has room for. */
static void paint(const char *text, int rows)
{
	fputs("\033[H", stdout);
	for (; *text && rows > 1; rows--) {
		int len = (int)strcspn(text, "\n");

		printf("%.*s\033[K\n", len, text);
		text += len + (text[len] ? 1 : 0);
	}
	fputs("\033[J", stdout);
	fflush(stdout);
}

static void turn(struct top *top, const json_t *seen)
{
	const json_t *host = json_object_get(seen, "host");
	cleanup_free char *text = NULL;
	struct winsize size = {.ws_row = 24};
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return;
	top->now = json_object();
	top->now_ns = io_monotonic_ns();
	fprintf(out, "pffs %s, engine %s: %zu sandboxes; q ends this\n\n",
		text_of(host, "version"), text_of(host, "engine"),
		json_array_size(json_object_get(seen, "sandboxes")));
	show(top, seen, out);
	fclose(out);
	json_decref(top->before);
	top->before = top->now;
	top->before_ns = top->now_ns;
	ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	if (text)
		paint(text, size.ws_row ? size.ws_row : 24);
}

/* Return: whether the user wants no more. */
static bool wait_for_key(void)
{
	struct pollfd pfd = {.fd = STDIN_FILENO, .events = POLLIN};
	char key = 0;

	if (poll(&pfd, 1, EACH_MS) <= 0)
		return false;
	return read(STDIN_FILENO, &key, 1) <= 0 || key == 'q' || key == 3 || key == 4;
}

static void live(struct top *top)
{
	struct termios before, keys;
	bool known = tcgetattr(STDIN_FILENO, &before) == 0, over = false;

	if (known) {
		keys = before;
		keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG);
		tcsetattr(STDIN_FILENO, TCSANOW, &keys);
	}
	fputs("\033[2J", stdout);
	while (!over) {
		json_t *seen = look(top);

		over = !seen;
		if (seen)
			turn(top, seen);
		json_decref(seen);
		over = over || wait_for_key();
	}
	if (known)
		tcsetattr(STDIN_FILENO, TCSANOW, &before);
	json_decref(top->before);
}

static void once(struct top *top)
{
	json_t *seen = look(top);

	top->now = json_object();
	if (seen && top->command->json)
		command_print_json(top->command, seen);
	else if (seen)
		show(top, seen, stdout);
	command_flush(top->command);
	json_decref(top->now);
	json_decref(seen);
}

int cmd_top(int argc, char **argv)
{
	struct command c = {.help = help};
	struct top top = {.command = &c};

	if (!command_begin(&c, argc, argv))
		return c.status;
	top.live = !c.json && isatty(STDOUT_FILENO) && isatty(STDIN_FILENO);
	if (top.live)
		live(&top);
	else
		once(&top);
	command_end(&c);
	return c.status;
}
