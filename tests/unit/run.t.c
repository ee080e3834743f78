/*
 * The bookkeeping of runs, against a vmctl and a guest that this test plays over
 * a socket pair: order, ends, limits, and a guest that breaks the rules.
 */
#include "tests/unit/world.h"

#include "pffs/core/guest/guest.h"
#include "pffs/core/template.h"

#define VM 5u

/* A sandbox of a template that still boots. */
static struct sandbox *make_sandbox(const char *name)
{
	const char *const names[] = {name};
	struct fork_order order = {.folder = FOLDER_ROOT, .names = names, .count = 1};

	is_int(template_fork(&core, 0, &order, NULL, NULL, NULL), 0, "a sandbox is made");
	spin(5);
	return sandbox_find(&core, FOLDER_ROOT, name);
}

static void runs_queue_in_order_of_completion(struct sandbox *sb)
{
	struct run *first = sandbox_begin_run(sb, AGENT_PYTHON, NULL);
	struct run *second = submit(sb, "print(2)");
	uint32_t streams[8] = {0};

	run_write(first, "print(1)", 8);
	sandbox_submit_run(first);
	is_int(first->number, 1, "runs are numbered by their first byte");
	is_int(second->number, 2, "one after the other");
	is_str(sandbox_state_name(sb), "starting", "the machine is not there yet");
	is_int(heard(VM, AGENT_RUN, streams), 0, "nothing is sent to it");
	boot_template();
	answer_newest(",\"vms\":[{\"vm\":5,\"pid\":1}]");
	is_int(heard(VM, AGENT_WAKE, streams), 1, "its machine is told who it is");
	is_str(sandbox_state_name(sb), "starting", "and is not ready before it is that");
	say(VM, 0, AGENT_AWAKE, NULL, 0);
	is_str(sandbox_state_name(sb), "running", "a ready machine begins at once");
	is_int(heard(VM, AGENT_RUN, streams), 1, "with one run");
	is_int(streams[0], 2, "the one that was complete first");
	say(VM, 2, AGENT_STDOUT, "two", 3);
	say(VM, 2, AGENT_STDERR, "err", 3);
	say(VM, 1, AGENT_STDOUT, "lie", 3);
	say_exit(VM, 2, 0, 3);
	is_int(second->exit_code, 3, "its exit code is kept");
	is_int(second->streams[RUN_STDOUT].size, 3, "and its output");
	is_int(second->streams[RUN_OUTPUT].size, 6, "and both streams together");
	is_int(first->streams[RUN_STDOUT].size, 0,
	       "output for a run not going on is dropped");
	is_int(heard(VM, AGENT_RUN, streams), 1, "then the other is sent");
	say_exit(VM, 1, 1, 11);
	is_int(first->exit_code, 128 + 11, "a signal counts from 128");
	is_str(sandbox_state_name(sb), "ready", "and the machine is free");
	say_exit(VM, 1, 0, 0);
	is_int(first->exit_code, 128 + 11, "a second end changes nothing");
}

static void limits_and_signals(struct sandbox *sb)
{
	uint32_t streams[8] = {0};
	struct error err;
	struct run *run;

	is_int(guest_ctl(sb, "interrupt", &err), -ESRCH, "no run to interrupt: ESRCH");
	is_int(guest_ctl(sb, "dance", &err), -EINVAL, "an unknown verb: EINVAL");
	guest_set_timeout(sb, 30);
	run = submit(sb, "while True: pass");
	spin(60);
	is_int(heard(VM, AGENT_SIGNAL, streams), 1, "a run past its limit is killed");
	say_exit(VM, run->number, 1, 9);
	is_int(run->exit_code, EXIT_TIMEOUT, "and its exit code is 124");
	guest_set_timeout(sb, 0);
	run = submit(sb, "pass");
	is_int(guest_ctl(sb, "kill", &err), 0, "a run can be killed");
	say_exit(VM, run->number, 1, 9);
	is_int(run->exit_code, EXIT_KILLED, "and its exit code is 137");
}

static void code_has_a_limit(struct sandbox *sb)
{
	static char mib[1u << 20];
	struct run *run = sandbox_begin_run(sb, AGENT_BASH, NULL);
	int r = 0;

	memset(mib, '#', sizeof(mib));
	for (int i = 0; i < 16; i++)
		r |= run_write(run, mib, sizeof(mib));
	is_int(r, 0, "16 MiB of code are taken");
	is_int(run_write(run, mib, 1), -EFBIG, "not a byte more");
	run_ref(run);
	sandbox_cancel_run(run);
	is_int(run->state, RUN_ENDED, "a cancelled run has ended");
	ok(sandbox_newest(sb) != run, "and is not listed");
	run_unref(run);
}

static void interpreters(struct sandbox *sb)
{
	struct run *run = submit(sb, "#! /bin/sh -e\necho hi");

	is_int(run->language, AGENT_SCRIPT, "a first line with #! makes a script");
	is_str(run_language(run), "/bin/sh", "of that interpreter");
	say_exit(VM, run->number, 0, 0);
	run = submit(sb, "# !/bin/sh\n");
	is_str(run_language(run), "python", "a comment does not");
	say_exit(VM, run->number, 0, 0);
}

static void stdin_is_fed_within_the_window(struct sandbox *sb)
{
	static char data[AGENT_STDIN_WINDOW * 2];
	struct feed *feed = guest_stdin_open(sb);
	uint32_t streams[8], taken = 16384;
	uint8_t payload[4] = {0, 0x40, 0, 0};
	struct error err;
	struct run *run;

	is_int(guest_stdin_write(feed, data, sizeof(data), &err), 0, "stdin never waits");
	run = submit(sb, "input()");
	ok(run->feed == feed, "what was opened before the run feeds it");
	is_int(heard(VM, AGENT_STDIN, streams), AGENT_STDIN_WINDOW / 16384,
	       "no more is sent than the window");
	say(VM, run->number, AGENT_STDIN_TAKEN, payload, sizeof(payload));
	is_int(heard(VM, AGENT_STDIN, streams), 1, "room given back is used");
	is_int(feed->sent, AGENT_STDIN_WINDOW + taken, "to the byte");
	guest_stdin_close(feed);
	is_int(heard(VM, AGENT_STDIN_EOF, streams), 0,
	       "the end waits for the bytes before it");
	say_exit(VM, run->number, 0, 0);
	run = submit(sb, "input()");
	feed = guest_stdin_open(sb);
	is_int(guest_stdin_write(feed, "x", 1, &err), -EPIPE,
	       "a run without a writer at its start has no stdin");
	guest_stdin_close(feed);
	say_exit(VM, run->number, 0, 0);
}

static const char *text_of(const struct stream *stream)
{
	static char text[256];
	ssize_t n = stream_read(stream, 0, text, sizeof(text) - 1);

	text[n < 0 ? 0 : n] = '\0';
	return text;
}

/* One entry of AGENT_CHANGES. */
static void say_change(uint32_t stream, char kind, const char *path)
{
	uint8_t payload[128];
	struct cursor c = cursor_into(payload, sizeof(payload));

	cursor_put_u8(&c, (uint8_t)kind);
	cursor_put_bytes(&c, path, strlen(path));
	say(VM, stream, AGENT_CHANGES, payload, sizeof(payload) - cursor_left(&c));
}

static void changes_come_behind_the_exit(struct sandbox *sb)
{
	struct run *run = submit(sb, "pass"), *next;

	say_change(run->number, AGENT_CREATED, "early");
	say_exit(VM, run->number, 0, 0);
	ok(run->changes_due, "after its exit a run's changes are still to come");
	next = submit(sb, "pass");
	say_change(run->number, AGENT_CREATED, "root/a\nb");
	say_change(run->number, AGENT_DELETED, "etc/issue");
	say(VM, run->number, AGENT_CHANGES, "E", 1);
	ok(!run->changes_due && !run->changes_lost, "until the guest says that it was all");
	is_str(text_of(&run->streams[RUN_CHANGES]), "A \"root/a\\nb\"\nD etc/issue\n",
	       "names are quoted; what came before the exit is not taken");
	say_change(run->number, AGENT_CREATED, "late");
	is_int(run->streams[RUN_CHANGES].size, 26, "nor is what comes then");
	say_exit(VM, next->number, 0, 0);
	say(VM, next->number, AGENT_CHANGES, "U", 1);
	ok(next->changes_lost, "a guest may not know");
}

static void figures_have_limits(struct sandbox *sb)
{
	static uint8_t piece[1u << 17];
	struct run *run = submit(sb, "pass");

	for (uint8_t number = 0; number < 5; number++) {
		piece[0] = (uint8_t[]){0, 1, 1, 3, 200}[number];
		say(VM, run->number, AGENT_FIGURE, piece, 8);
	}
	is_int(run->figure_count, 1, "figures have the numbers from 1 on, one by one");
	is_int(run->figures[0].size, 8, "and come in pieces");
	piece[0] = 1;
	for (int i = 0; i < 200; i++)
		say(VM, run->number, AGENT_FIGURE, piece, sizeof(piece));
	ok(run->figures[0].size <= AGENT_FIGURE_MAX,
	   "of one no more is kept than the limit");
	ok(!run_figure_is_whole(run, 0), "there may be more of one");
	say(VM, run->number, AGENT_FIGURE, (uint8_t[]){1, 0, 0, 0}, 4);
	ok(run_figure_is_whole(run, 0), "until the guest says that there is not");
	say(VM, run->number, AGENT_FIGURE, (uint8_t[]){2, 0, 0, 0, 9}, 5);
	ok(!run_figure_is_whole(run, 1), "the next may grow again");
	say(VM, run->number, AGENT_FIGURE, (uint8_t[]){3, 0, 0, 0, 9}, 5);
	ok(run_figure_is_whole(run, 1), "until there is another");
	say(VM, run->number, AGENT_FIGURE, (uint8_t[]){2, 0, 0, 0, 9}, 5);
	is_int(run->figures[1].size, 1, "no more is taken then");
	say_exit(VM, run->number, 0, 0);
	say(VM, run->number, AGENT_FIGURE, (uint8_t[]){4, 0, 0, 0, 9}, 5);
	is_int(run->figure_count, 3, "none comes after the end");
}

static void a_guest_that_breaks_the_rules_is_ended(struct sandbox *sb)
{
	struct run *run = submit(sb, "pass");
	struct error err;

	say(VM, run->number, AGENT_EXIT, "too long", 8);
	is_str(sandbox_state_name(sb), "dead", "a malformed frame ends the sandbox");
	is_int(run->exit_code, EXIT_KILLED, "its run ends with 137");
	ok(strstr(sb->reason, "malformed") != NULL, "the reason says why");
	ok(!sandbox_begin_run(sb, AGENT_PYTHON, &err) && err.code == -EIO,
	   "no further run begins: EIO");
	is_int(guest_ctl(sb, "kill", &err), -EIO, "no verb is taken: EIO");
}

static int attempt(const char *name, size_t template)
{
	const char *const names[] = {name};
	struct fork_order order = {.folder = FOLDER_ROOT, .names = names, .count = 1};
	struct error err;

	return template_fork(&core, template, &order, NULL, NULL, &err);
}

static void names_are_checked(void)
{
	is_int(attempt(".x", 0), -EINVAL, "a name with a dot first: EINVAL");
	is_int(attempt("a b", 0), -EINVAL, "a name with a blank: EINVAL");
	is_int(attempt("one", 0), -EEXIST, "a name that is taken: EEXIST");
	is_int(attempt("two", 9), -ENOENT, "a template that is not there: ENOENT");
}

int main(void)
{
	struct sandbox *sb;

	begin_world();
	sb = make_sandbox("one");
	runs_queue_in_order_of_completion(sb);
	limits_and_signals(sb);
	code_has_a_limit(sb);
	interpreters(sb);
	stdin_is_fed_within_the_window(sb);
	names_are_checked();
	changes_come_behind_the_exit(sb);
	figures_have_limits(sb);
	a_guest_that_breaks_the_rules_is_ended(sb);
	end_world();
	return done_testing();
}
