/*
 * The control files: what is known of the mount, a sandbox, a template or a run
 * as text, and the values that can be set.
 */
#include "config.h"

#include "pffs/core/guest/guest.h"
#include "pffs/core/stamp.h"
#include "pffs/core/template.h"
#include "pffs/fs/fs.h"
#include "pffs/fs/text.h"
#include "util/io.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void print_time(FILE *out, const char *key, const struct timespec *at)
{
	char text[STAMP_MAX];

	if (at->tv_sec)
		fprintf(out, "%s %s\n", key, stamp_format(at, text));
}

static void render_readme(const struct node *node, FILE *out)
{
	(void)node;
	fputs(
	    "Each directory here is a computer of its own: a virtual machine that runs "
	    "code.\n"
	    "\n"
	    "  mkdir demo                              make one (ls templates: what it can "
	    "be)\n"
	    "  echo 'x = 41' > demo/exec               run Python; variables stay between "
	    "runs\n"
	    "  echo 'print(x + 1)' > demo/exec\n"
	    "  cat demo/stdout                         what the newest run printed; waits "
	    "for its end\n"
	    "  cat demo/stderr demo/exit               errors and traceback; exit code\n"
	    "  echo 'uname -a; ls /' > demo/bash       run bash\n"
	    "  cat demo/output                         stdout and stderr in the order they "
	    "came\n"
	    "  rmdir demo                              end it\n"
	    "\n"
	    "Code that begins with #!/path/to/interpreter runs under that interpreter.\n"
	    "Runs of one sandbox go one after the other. One that should not go on:\n"
	    "  echo interrupt > demo/ctl               KeyboardInterrupt; variables stay\n"
	    "  echo kill > demo/ctl                    ends the run and all it started\n"
	    "  echo reset > demo/ctl                   a new Python\n"
	    "  echo freeze > demo/ctl                  put it on disk; what uses it "
	    "resumes it\n"
	    "  echo 30 > demo/config/exec_timeout      seconds a run may take; 0 for no "
	    "limit\n"
	    "  echo 600 > demo/config/idle_timeout     it goes when nobody has used it for "
	    "so long\n"
	    "  echo on > demo/config/persistent        then it is frozen instead\n"
	    "  echo 256 > demo/config/memory_mib       what it may take: also vcpus, "
	    "disk_mib,\n"
	    "                                          pids, cpu_percent\n"
	    "  echo off > demo/net/egress              nothing leaves it; on, or allow: "
	    "what "
	    "is in\n"
	    "  echo example.com:443 > demo/net/allow   there; demo/net/log has what was "
	    "tried\n"
	    "Input: { echo 'print(input())' > demo/exec; echo hello; } > demo/stdin\n"
	    "Write code and read its output on one descriptor: open demo/exec read-write, "
	    "write,\n"
	    "then read to the end of file. Several programs can do that at once.\n"
	    "\n"
	    "A terminal: pffs shell demo; or mkdir demo/pty/t, write keys to "
	    "demo/pty/t/data "
	    "and\nread what it shows there; size, command, exit; rmdir ends it.\n"
	    "Its files are in demo/fs: cp data.csv demo/fs/root/; cp demo/fs/root/out.csv "
	    ".\n"
	    "Each run is kept: "
	    "demo/runs/N/{code,language,stdout,stderr,output,exit,status,\n"
	    "changes,figures};\n"
	    "demo/last is the newest. demo/status says how the sandbox is, demo/error why "
	    "the\n"
	    "newest operation failed, demo/events what happens. When mkdir fails, see "
	    "./error.\n"
	    "Fork it while it runs, memory and all: mkdir demo/forks/x; x is a sandbox "
	    "like\n"
	    "demo. Many at once: echo 5 > demo/forks/.n, or echo a b c > demo/forks/.n\n"
	    "echo x > demo/merge makes demo what its fork x has become; x goes.\n"
	    "echo files x y > demo/merge merges what x and y changed in their files.\n"
	    "mv demo/forks/x x keeps it, mv demo templates/NAME makes a template of one.\n"
	    "What is different: cat demo/changes demo/diff/x demo/diff/x.patch (ls "
	    "demo/diff)\n"
	    "Another template: mkdir templates/python-datasci/forks/demo2 (np, pd, plt "
	    "loaded),\n"
	    "or echo python-datasci > templates/.default. A sandbox with a fresh name: cat "
	    "new\n",
	    out);
}

const struct file_ops readme_ops = {TEXT_OPS, .render = render_readme};

static void render_host(const struct node *node, FILE *out)
{
	const struct core *core = node->fs->core;
	const struct caps *caps = &core->options.caps;

	fprintf(out,
		"engine %s\n"
		"version %s\n"
		"pid %d\n"
		"user %s\n"
		"landlock %u\n"
		"sandboxes %u\n"
		"memory %llu\n"
		"uptime %llu\n",
		core->engine[0] ? core->engine : "none", PACKAGE_VERSION, getpid(),
		core->options.user, core->options.landlock, core->sandbox_count,
		(unsigned long long)caps_memory_mib(core) << 20,
		(unsigned long long)((io_monotonic_ns() - core->started_ns) / 1000000000u));
	if (caps->sandboxes)
		fprintf(out, "sandboxes_max %u\n", caps->sandboxes);
	if (caps->memory_mib)
		fprintf(out, "memory_max %llu\n",
			(unsigned long long)caps->memory_mib << 20);
	fprintf(out, "uplink %s\ncontrol %s\n%s", net_uplink(core), node->fs->control,
		node->fs->doors);
}

const struct file_ops host_ops = {TEXT_OPS, .render = render_host};

static void print_error(const struct error *err, FILE *out)
{
	if (err->text[0])
		fprintf(out, "%s\n", err->text);
}

static void render_root_error(const struct node *node, FILE *out)
{
	print_error(&node->fs->core->error, out);
}

static void render_error(const struct node *node, FILE *out)
{
	print_error(&node->sb->error, out);
}

const struct file_ops root_error_ops = {TEXT_OPS, .render = render_root_error};
const struct file_ops error_ops = {TEXT_OPS, .render = render_error};

static void print_template_file(const struct node *node, const char *suffix, FILE *out)
{
	char *text = templates_file(&node->fs->core->templates, node->template, suffix);

	if (text)
		fputs(text, out);
	free(text);
}

static void render_info(const struct node *node, FILE *out)
{
	const struct template *template = &node->fs->core->templates.list[node->template];

	if (!template->made) {
		print_template_file(node, "info", out);
		return;
	}
	fprintf(out, "name %s\nsandbox %s\n", template->name, template->made_of);
	print_time(out, "created", &template->created);
}

static void render_packages(const struct node *node, FILE *out)
{
	print_template_file(node, "packages", out);
}

const struct file_ops template_info_ops = {TEXT_OPS, .render = render_info};
const struct file_ops template_packages_ops = {TEXT_OPS, .render = render_packages};

static void render_fallback(const struct node *node, FILE *out)
{
	const struct templates *t = &node->fs->core->templates;

	if (t->fallback < t->count)
		fprintf(out, "%s\n", t->list[t->fallback].name);
}

static int store_fallback(const struct node *node, char *value, struct error *err)
{
	struct templates *t = &node->fs->core->templates;
	int index = template_find(node->fs->core, value);

	if (index < 0)
		return error_say(err, EINVAL,
				 "there is no template %.64s: ls templates shows them",
				 value);
	t->fallback = (size_t)index;
	return 0;
}

const struct file_ops fallback_ops = {TEXT_OPS, .render = render_fallback,
				      .store = store_fallback};

static void print_left(FILE *out, const char *key, uint64_t ms)
{
	fprintf(out, "%s %.1f\n", key, (double)ms / 1000.0);
}

static void print_limits(const struct sandbox *sb, FILE *out)
{
	if (sb->current && sb->current->deadline.deadline_ns)
		print_left(out, "exec_left", loop_timer_left(&sb->current->deadline));
	if (sb->limits.idle_ms)
		print_left(out, "idle_left", limits_idle_left(sb));
	if (sb->limits.life_ms)
		print_left(out, "life_left", limits_life_left(sb));
	if (sb->limits.over)
		fputs("ends_after forks\n", out);
}

static void render_status(const struct node *node, FILE *out)
{
	const struct sandbox *sb = node->sb;
	const struct run *newest = sandbox_newest(sb);
	const char *template = sb->core->templates.list[sb->template].name;
	bool forked = sb->parent_id[0];

	fprintf(out,
		"id %s\n"
		"name %s\n"
		"state %s\n"
		"run %u\n"
		"parent %s%s\n"
		"generation %u\n"
		"template %s\n",
		sb->id, sb->name, sandbox_state_name(sb), newest ? newest->number : 0,
		forked ? "" : "templates/", forked ? sb->parent_id : template,
		sb->generation, template);
	print_time(out, "created", &sb->created);
	print_limits(sb, out);
	if (sb->vm)
		fprintf(out, "vm %u\npid %d\n", sb->vm, sb->pid);
	if (sb->state == SANDBOX_DEAD)
		fprintf(out, "reason %s\n", sb->reason);
}

const struct file_ops status_ops = {TEXT_OPS, .render = render_status};

static int store_ctl(const struct node *node, char *value, struct error *err)
{
	return guest_ctl(node->sb, value, err);
}

const struct file_ops ctl_ops = {TEXT_OPS, .store = store_ctl};

static void render_run_language(const struct node *node, FILE *out)
{
	fprintf(out, "%s\n", run_language(node->run));
}

static void render_run_status(const struct node *node, FILE *out)
{
	const struct run *run = node->run;

	fprintf(out, "run %u\nstate %s\nlanguage %s\n", run->number, run_state_name(run),
		run_language(run));
	print_time(out, "created", &run->created);
	print_time(out, "started", &run->started);
	print_time(out, "ended", &run->ended);
	if (run->state == RUN_ENDED)
		fprintf(out, "exit %d\n", run->exit_code);
	if (run->timed_out)
		fputs("timed_out 1\n", out);
	if (run->out_of_memory)
		fputs("out_of_memory 1\n", out);
}

const struct file_ops run_language_ops = {TEXT_OPS, .render = render_run_language};
const struct file_ops run_status_ops = {TEXT_OPS, .render = render_run_status};
