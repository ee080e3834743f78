/*
 * pffs run: a file in a sandbox, as if it ran here.
 */
#include "pffs/cli/commands.h"
#include "pffs/cli/run_code.h"
#include "pffs/cli/start.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#define CODE_MAX  (16u << 20)
#define FORGOTTEN 300 /* seconds until a sandbox goes whose command was killed */

struct options {
	const char *in, *language, *template;
	double timeout;
	bool keep;
};

static int take(void *ctx, int option, const char *value)
{
	struct options *o = ctx;
	char *end;

	switch (option) {
	case 'n':
		o->in = value;
		return 0;
	case 'l':
		o->language = value;
		return strcmp(value, "python") == 0 || strcmp(value, "bash") == 0 ? 0
										  : -EINVAL;
	case 't':
		o->template = value;
		return 0;
	case 's':
		o->timeout = strtod(value, &end);
		return *end || end == value || o->timeout <= 0 ? -EINVAL : 0;
	default:
		o->keep = true;
		return 0;
	}
}

/* The code that the user names: a file, or standard input. To free(), or NULL. */
static char *read_code(const char *file, size_t *len, struct error *err)
{
	return io_read_file(strcmp(file, "-") == 0 ? "/dev/stdin" : file, CODE_MAX, len,
			    err);
}

static const char help[] =
    "usage: pffs run [OPTION...] FILE|- [ARGUMENT...]\n"
    "\n"
    "Runs FILE in a sandbox of its own, which is removed at its end, as if it ran here: "
    "with\n"
    "standard input, output and error, and its exit code. Starts a pffs in the background\n"
    "when none runs. FILE is Python, bash if it ends in .sh, or what its #! line names.\n"
    "\n"
    "      --in NAME         in this sandbox, which stays\n"
    "      --keep            keep the sandbox, and say which it is; with --json as "
    "`sandbox`\n"
    "                        and `name` in the last line\n"
    "  -l, --language NAME   python or bash\n"
    "      --template NAME   what the sandbox is made of\n"
    "      --timeout SECONDS end it after that time, with exit code 124\n"
    "      --json            lines of JSON, one for each line of output, and its end\n"
    "      --api PATH        socket of the pffs to use (PFFS_API; else the only one)\n"
    "\n"
    "^C interrupts the code, a second ^C kills it. Exit status: that of the code; 125 if "
    "pffs\n"
    "itself failed, 2 for bad usage.\n";

static const struct option long_options[] = {
    {"in", required_argument, NULL, 'n'},	{"keep", no_argument, NULL, 'k'},
    {"language", required_argument, NULL, 'l'}, {"template", required_argument, NULL, 't'},
    {"timeout", required_argument, NULL, 's'},	{0},
};

/* What a run of FILE needs. */
struct job {
	struct command *command;
	const struct options *options;
	const char *file;
	char *const *arguments; /* ends with NULL */
	char *code;
	size_t len;
	char *sandbox; /* segment of a path */
	bool made;
	json_t *kept; /* which sandbox stays */
};

static int no_memory(struct error *err)
{
	return error_set(err, ENOMEM, "cannot pass the arguments");
}

static void quote(const char *word, FILE *out)
{
	fputc('\'', out);
	for (; *word; word++)
		if (*word == '\'')
			fputs("'\\''", out);
		else
			fputc(*word, out);
	fputs("' ", out);
}

/* @before, @first if it is not NULL, and the arguments, each in single quotes; to free(),
 * or NULL. */
static char *command_line(const char *before, const char *first, char *const *arguments)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	fputs(before, out);
	if (first)
		quote(first, out);
	for (; *arguments; arguments++)
		quote(*arguments, out);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

static bool is_bash(const struct job *job)
{
	const char *suffix = strrchr(job->file, '.');

	if (job->options->language)
		return strcmp(job->options->language, "bash") == 0;
	return suffix && strcmp(suffix, ".sh") == 0;
}

static bool is_script(const struct job *job)
{
	return job->code && job->len > 2 && memcmp(job->code, "#!", 2) == 0;
}

static void replace_code(struct job *job, char *code)
{
	free(job->code);
	job->code = code;
	job->len = strlen(code);
}

/*
 * The REPL sets sys.argv anew for each run, so the code is run by code that sets it first.
 * It leaves no names, and tracebacks find the lines. A string of JSON that is not all
 * ASCII is one of Python.
 */
static int pass_argv(struct job *job, struct error *err)
{
	static const char wrapper[] =
	    "__import__('sys').argv = %s; "
	    "__import__('linecache').cache[%s] = (1, None, %s.splitlines(True), %s); "
	    "exec(compile(''.join(__import__('linecache').cache[%s][2]), %s, 'exec'))";
	json_t *argv = json_pack("[s]", job->file), *text;
	cleanup_free char *list = NULL, *name = NULL, *source = NULL;
	char *code;

	for (char *const *at = job->arguments; *at; at++)
		json_array_append_new(argv, json_string(*at));
	list = json_dumps(argv, 0);
	name = json_dumps(json_array_get(argv, 0), JSON_ENCODE_ANY);
	text = json_stringn(job->code, job->len);
	source = json_dumps(text, JSON_ENCODE_ANY);
	if (json_array_size(argv) != (size_t)job->command->count || !source || !name) {
		json_decref(text);
		json_decref(argv);
		return error_say(err, EILSEQ, "the code or an argument is not UTF-8");
	}
	json_decref(text);
	json_decref(argv);
	if (!list || asprintf(&code, wrapper, list, name, source, name, name, name) < 0)
		return no_memory(err);
	replace_code(job, code);
	return 0;
}

/* A line before the others would change the numbers of lines, so it is the same one. */
static int pass_positional(struct job *job, struct error *err)
{
	cleanup_free char *words = command_line("set -- ", NULL, job->arguments);
	char *code;

	if (!words || asprintf(&code, "%s; %s", words, job->code) < 0)
		return no_memory(err);
	replace_code(job, code);
	return 0;
}

static int put_file(const struct job *job, const char *path, struct error *err)
{
	cleanup_close int fd = memfd_create("script", MFD_CLOEXEC);
	cleanup_free char *escaped = client_escape_path(path), *request = NULL;
	struct transfer t = {.method = "PUT", .sends = true, .send_fd = fd};

	if (fd < 0 || io_write_all(fd, job->code, job->len) < 0 ||
	    lseek(fd, 0, SEEK_SET) < 0)
		return error_set(err, errno, "cannot pass the script on");
	if (!escaped || asprintf(&request, "/v1/sandboxes/%s/files/%s?mode=0755",
				 job->sandbox, escaped) < 0) {
		request = NULL;
		return no_memory(err);
	}
	t.path = request;
	run_ask(job->command->client, &t, NULL, err);
	transfer_fini(&t);
	return err->code;
}

/* What its #! line names gets it as a file. */
static int pass_to_script(struct job *job, struct error *err)
{
	const char *slash = strrchr(job->file, '/');
	cleanup_free char *path = NULL;
	char *code;

	if (asprintf(&path, "/tmp/pffs-run/%s", slash ? slash + 1 : job->file) < 0) {
		path = NULL;
		return no_memory(err);
	}
	if (put_file(job, path + 1, err) < 0)
		return err->code;
	code = command_line("exec ", path, job->arguments);
	if (!code)
		return no_memory(err);
	replace_code(job, code);
	return 0;
}

/* Return: the language, or NULL with @err. */
static const char *prepare(struct job *job, struct error *err)
{
	bool bash = is_bash(job), arguments = *job->arguments, script = is_script(job);
	int r = 0;

	if (arguments && script && !job->options->language) {
		r = pass_to_script(job, err);
		bash = true;
	} else if (arguments && bash) {
		r = pass_positional(job, err);
	} else if (arguments) {
		r = pass_argv(job, err);
	}
	return r < 0 ? NULL : bash ? "bash" : "python";
}

static int make_sandbox(struct job *job, struct error *err)
{
	uint64_t random = 0;
	json_t *body;
	struct transfer t = {.method = "POST", .path = "/v1/sandboxes"};

	if (getrandom(&random, sizeof(random), 0) != sizeof(random) ||
	    asprintf(&job->sandbox, "run-%016llx", (unsigned long long)random) < 0) {
		job->sandbox = NULL;
		return error_set(err, ENOMEM, "cannot name a sandbox");
	}
	body = json_pack("{s:s}", "name", job->sandbox);
	if (job->options->template)
		json_object_set_new(body, "template", json_string(job->options->template));
	if (!job->options->keep)
		json_object_set_new(body, "idle_timeout_seconds", json_integer(FORGOTTEN));
	t.body = body;
	job->made = true; /* also when it is not known whether it is there yet */
	run_ask(job->command->client, &t, "making a sandbox", err);
	if (job->options->keep)
		job->kept =
		    json_pack("{s:O, s:O}", "sandbox", json_object_get(t.answer, "id"),
			      "name", json_object_get(t.answer, "name"));
	transfer_fini(&t);
	json_decref(body);
	return err->code;
}

static int find_sandbox(struct job *job, struct error *err)
{
	if (!job->options->in)
		return make_sandbox(job, err);
	job->sandbox = client_reference(job->options->in);
	return job->sandbox ? 0 : no_memory(err);
}

static int run_job(struct job *job, int *status, struct error *err)
{
	struct run_code code = {.timeout = job->options->timeout,
				.with_stdin = strcmp(job->file, "-") != 0};

	if (find_sandbox(job, err) < 0)
		return err->code;
	code.language = prepare(job, err);
	if (!code.language)
		return err->code;
	code.sandbox = job->sandbox;
	code.kept = job->kept;
	code.code = job->code;
	code.len = job->len;
	return job->command->json ? run_events(job->command, &code, status, err)
				  : run_code(job->command, &code, status, err);
}

/* It goes whatever happened, unless it is to stay. */
static void clean_up(const struct job *job)
{
	struct error err;

	if (job->made && job->options->keep)
		fprintf(stderr, "pffs: the sandbox is %s\n", job->sandbox);
	else if (job->made &&
		 client_call(job->command->client, "DELETE", NULL, NULL, &err,
			     "/v1/sandboxes/%s?forks=remove", job->sandbox) < 0)
		fprintf(stderr, "pffs: cannot remove %s: %s\n", job->sandbox, err.text);
}

static void go(struct job *job)
{
	struct command *c = job->command;
	struct error err = {0};
	int status = 0, r = run_signals(&err);

	if (r == 0) {
		job->code = read_code(job->file, &job->len, &err);
		r = job->code ? 0 : err.code;
	}
	if (r == 0) {
		c->client = start_client(c->api, job->options->in, run_signal_fd(), &err);
		r = c->client ? 0 : err.code;
	}
	if (r == 0) {
		r = run_job(job, &status, &err);
		clean_up(job);
	}
	if (r < 0)
		command_fail(c, &err);
	else
		c->status = status;
	free(job->code);
	free(job->sandbox);
	json_decref(job->kept);
	command_end(c);
}

int cmd_run(int argc, char **argv)
{
	struct options options = {0};
	struct command c = {.help = help,
			    .options = long_options,
			    .take = take,
			    .ctx = &options,
			    .in_order = true,
			    .least = 1,
			    .most = -1,
			    .failure = EXIT_PFFS};
	struct job job = {.command = &c, .options = &options};

	if (!command_parse(&c, argc, argv))
		return c.status;
	job.file = c.operands[0];
	job.arguments = c.operands + 1;
	go(&job);
	return c.status;
}
