/*
 * pffs fork, merge, rm, freeze and resume: what is done to sandboxes as a whole.
 */
#include "pffs/cli/command.h"
#include "pffs/cli/commands.h"
#include "util/cleanup.h"

#include <errno.h>
#include <string.h>

static const char help_fork[] =
    "usage: pffs fork SANDBOX [N | NAME...] [--json]\n"
    "\n"
    "Forks SANDBOX while it runs, memory and all: once, N times, or once for each NAME. "
    "Prints\n"
    "the paths of the forks.\n"
    "\n"
    "  --json        what POST /v1/sandboxes/SANDBOX/fork answers\n"
    "  --api PATH    socket of the pffs that is asked (PFFS_API; else the only one)\n";

/* The whole number that @text is, or -1. */
static json_int_t number_of(const char *text)
{
	size_t digits = strspn(text, "0123456789");

	return digits && !text[digits] && digits < 10 ? strtoll(text, NULL, 10) : -1;
}

static json_t *how_many(char *const *operands, int count)
{
	json_t *names;

	if (count == 0)
		return json_pack("{s:i}", "n", 1);
	if (count == 1 && number_of(operands[0]) >= 0)
		return json_pack("{s:I}", "n", number_of(operands[0]));
	names = json_array();
	for (int i = 0; i < count; i++)
		json_array_append_new(names, json_string(operands[i]));
	return json_pack("{s:o}", "names", names);
}

static void print_paths(const json_t *sandboxes)
{
	const json_t *sandbox;
	size_t i;

	json_array_foreach(sandboxes, i, sandbox)
	{
		puts(json_string_value(json_object_get(sandbox, "path")));
	}
}

int cmd_fork(int argc, char **argv)
{
	struct command c = {.help = help_fork, .least = 1, .most = -1};
	cleanup_free char *sandbox = NULL;
	json_t *body, *answer = NULL;

	if (!command_begin(&c, argc, argv))
		return c.status;
	sandbox = client_reference(c.operands[0]);
	body = how_many(c.operands + 1, c.count - 1);
	if (command_ask(&c, "POST", body, &answer, "/v1/sandboxes/%s/fork", sandbox) == 0) {
		if (c.json)
			command_print_json(&c, answer);
		else
			print_paths(json_object_get(answer, "sandboxes"));
		command_flush(&c);
	}
	json_decref(answer);
	json_decref(body);
	command_end(&c);
	return c.status;
}

static const char help_merge[] =
    "usage: pffs merge SANDBOX FORK\n"
    "       pffs merge --files [--ours|--theirs] SANDBOX FORK...\n"
    "\n"
    "SANDBOX becomes what its FORK has become, memory and all; FORK goes. With --files "
    "only\n"
    "what the forks changed in their files is merged into it, three-way, and they stay; on "
    "a\n"
    "conflict nothing is changed, it is printed, and the exit status is 1. FORK is a "
    "fork's "
    "name,\n"
    "or what else names a sandbox.\n"
    "\n"
    "  --ours        in a conflict take what SANDBOX has\n"
    "  --theirs      in a conflict take what the fork has\n"
    "  --json        with --files: what POST /v1/sandboxes/SANDBOX/merge answers; else\n"
    "                SANDBOX, as it is then\n"
    "  --api PATH    socket of the pffs that is asked (PFFS_API; else the only one)\n";

struct merge_options {
	bool files, ours, theirs;
};

static int take_merge(void *ctx, int option, const char *value)
{
	struct merge_options *o = ctx;

	(void)value;
	if (option == 'f')
		o->files = true;
	else if (option == 'o')
		o->ours = true;
	else
		o->theirs = true;
	return 0;
}

static bool is_there(const struct client *client, const char *reference)
{
	return client_call(client, "GET", NULL, NULL, NULL, "/v1/sandboxes/%s",
			   reference) == 0;
}

/* A fork by its name, or by what else names a sandbox: a segment of a path to free(), or
 * NULL. */
static char *fork_of(const struct client *client, const char *parent_path, const char *fork)
{
	cleanup_free char *path = NULL, *reference = NULL;

	if (!strchr(fork, '/') && asprintf(&path, "%s/forks/%s", parent_path, fork) >= 0) {
		reference = client_escape(path);
		if (reference && is_there(client, reference))
			return steal_pointer(&reference);
	}
	return client_reference(fork);
}

/* The path of the sandbox in @answer: what a fork's name stands behind. */
static const char *path_of(const json_t *answer)
{
	const char *path = json_string_value(json_object_get(answer, "path"));

	return path ? path : "";
}

static void print_sandbox(struct command *c, const char *reference)
{
	json_t *sandbox = NULL;

	if (command_ask(c, "GET", NULL, &sandbox, "/v1/sandboxes/%s", reference) == 0)
		command_print_json(c, sandbox);
	json_decref(sandbox);
}

static void merge_whole(struct command *c, const char *sandbox, const json_t *known)
{
	cleanup_free char *winner = fork_of(c->client, path_of(known), c->operands[1]);

	if (command_ask(c, "POST", NULL, NULL, "/v1/sandboxes/%s/merge_into/%s", sandbox,
			winner) == 0 &&
	    c->json)
		print_sandbox(c, sandbox);
}

static bool is_conflict(const char *report)
{
	return report && strstr(report, "\nresult conflict\n");
}

/* Without its `error`, which is for who reads it in the mount. */
static void print_report(const char *report)
{
	for (size_t len; *report; report += len) {
		len = strcspn(report, "\n");
		len += report[len] == '\n';
		if (strncmp(report, "error ", 6) != 0)
			fwrite(report, 1, len, stdout);
	}
}

static void merge_files(struct command *c, const char *sandbox, const char *favour)
{
	json_t *names = json_array(), *body, *answer = NULL;
	const char *report;
	struct error err;
	int r;

	for (int i = 1; i < c->count; i++)
		json_array_append_new(names, json_string(c->operands[i]));
	body = json_pack("{s:o, s:s*}", "files", names, "favour", favour);
	r = client_call(c->client, "POST", body, &answer, &err, "/v1/sandboxes/%s/merge",
			sandbox);
	report = json_string_value(json_object_get(answer, "report"));
	if (c->json && answer)
		command_print_json(c, answer);
	else if (report)
		print_report(report);
	if (r < 0 && is_conflict(report))
		error_say(&err, EBUSY,
			  "nothing was merged: `pffs merge --files --ours` or `--theirs` "
			  "decides the conflicts");
	if (r < 0)
		command_fail(c, &err);
	command_flush(c);
	json_decref(answer);
	json_decref(body);
}

int cmd_merge(int argc, char **argv)
{
	static const struct option options[] = {{"files", no_argument, NULL, 'f'},
						{"ours", no_argument, NULL, 'o'},
						{"theirs", no_argument, NULL, 't'},
						{0}};
	struct merge_options merge = {0};
	const char *favour;
	struct command c = {.help = help_merge,
			    .options = options,
			    .take = take_merge,
			    .ctx = &merge,
			    .least = 2,
			    .most = -1};
	cleanup_free char *sandbox = NULL;
	json_t *known = NULL;

	if (!command_parse(&c, argc, argv))
		return c.status;
	favour = merge.ours ? "ours" : merge.theirs ? "theirs" : NULL;
	if (!merge.files && favour)
		return usage_error(c.name, "--%s is for --files", favour);
	if (!merge.files && c.count > 2)
		return usage_error(c.name, "without --files there is one FORK");
	if (merge.ours && merge.theirs)
		return usage_error(c.name, "--ours and --theirs exclude each other");
	if (!command_begin(&c, argc, argv))
		return c.status;
	sandbox = client_reference(c.operands[0]);
	if (command_ask(&c, "GET", NULL, &known, "/v1/sandboxes/%s", sandbox) == 0) {
		if (merge.files)
			merge_files(&c, sandbox, favour);
		else
			merge_whole(&c, sandbox, known);
	}
	json_decref(known);
	command_end(&c);
	return c.status;
}

/* One operation on each operand; the first failure is the status, all are said. */
static int each(struct command *c, int argc, char **argv,
		int (*one)(struct command *c, const char *reference, json_t **answer))
{
	json_t *answers = json_array(), *answer;

	c->least = 1;
	c->most = -1;
	if (command_begin(c, argc, argv))
		for (int i = 0; i < c->count; i++) {
			cleanup_free char *reference = client_reference(c->operands[i]);

			answer = NULL;
			if (reference && one(c, reference, &answer) == 0 && answer)
				json_array_append(answers, answer);
			json_decref(answer);
		}
	if (c->client && c->json)
		command_print_json(c, answers);
	json_decref(answers);
	command_end(c);
	return c->status;
}

static const char help_rm[] =
    "usage: pffs rm [-r] [-f] SANDBOX...\n"
    "\n"
    "Removes sandboxes.\n"
    "\n"
    "  -f, --force       one that is not there is no failure\n"
    "  -r, --recursive   with their forks; without it one that has forks is refused\n"
    "      --json        those that were removed, as they were\n"
    "      --api PATH    socket of the pffs that is asked (PFFS_API; else the only one)\n";

struct rm_options {
	bool recursive, force;
};

static int take_rm(void *ctx, int option, const char *value)
{
	struct rm_options *o = ctx;

	(void)value;
	if (option == 'f')
		o->force = true;
	else
		o->recursive = true;
	return 0;
}

static bool has_forks(const json_t *sandbox)
{
	return json_integer_value(json_object_get(sandbox, "forks")) > 0;
}

/* DELETE is content with one that is not there; a person wants to know. */
static int remove_one(struct command *c, const char *reference, json_t **answer)
{
	const struct rm_options *o = c->ctx;
	struct error err = {0};
	int r = client_call(c->client, "GET", NULL, answer, &err, "/v1/sandboxes/%s",
			    reference);

	if (r == -ENOENT && o->force) {
		json_decref(steal_pointer(answer));
		return 0;
	}
	if (r == 0)
		r = client_call(c->client, "DELETE", NULL, NULL, &err,
				"/v1/sandboxes/%s?forks=%s", reference,
				o->recursive ? "remove" : "refuse");
	if (r == -EBUSY && !o->recursive && has_forks(*answer))
		error_say(&err, EBUSY, "%s has forks: -r removes them, too",
			  path_of(*answer));
	return r < 0 ? command_fail(c, &err) : 0;
}

int cmd_rm(int argc, char **argv)
{
	static const struct option options[] = {
	    {"recursive", no_argument, NULL, 'r'}, {"force", no_argument, NULL, 'f'}, {0}};
	struct rm_options rm = {0};
	struct command c = {
	    .help = help_rm, .options = options, .take = take_rm, .ctx = &rm};

	return each(&c, argc, argv, remove_one);
}

static const char help_freeze[] =
    "usage: pffs freeze SANDBOX...\n"
    "\n"
    "Puts sandboxes on disk, memory and all, where they outlive pffs and a reboot. What "
    "uses one\n"
    "resumes it.\n"
    "\n"
    "  --json        the sandboxes\n"
    "  --api PATH    socket of the pffs that is asked (PFFS_API; else the only one)\n";

static int freeze_one(struct command *c, const char *reference, json_t **answer)
{
	return command_ask(c, "POST", NULL, answer, "/v1/sandboxes/%s/freeze", reference);
}

int cmd_freeze(int argc, char **argv)
{
	struct command c = {.help = help_freeze};

	return each(&c, argc, argv, freeze_one);
}

static const char help_resume[] =
    "usage: pffs resume SANDBOX...\n"
    "\n"
    "Lets frozen sandboxes go on.\n"
    "\n"
    "  --json        the sandboxes\n"
    "  --api PATH    socket of the pffs that is asked (PFFS_API; else the only one)\n";

static int resume_one(struct command *c, const char *reference, json_t **answer)
{
	return command_ask(c, "POST", NULL, answer, "/v1/sandboxes/%s/resume", reference);
}

int cmd_resume(int argc, char **argv)
{
	struct command c = {.help = help_resume};

	return each(&c, argc, argv, resume_one);
}
