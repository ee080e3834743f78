/*
 * Limits of time: what is idle goes, what is in use does not, and what has lived for its
 * time goes when it has no forks. Nobody looks meanwhile: all that happens is time.
 */
#include "tests/unit/forks.h"

#define SHORT 60u /* milliseconds; what has to be there still is looked at well before */

static unsigned next_vm = 20;

/* Another sandbox of the template, or a fork of @parent. */
static struct sandbox *make(struct sandbox *parent, const char *name)
{
	const char *const names[] = {name};
	struct fork_order root = {.folder = FOLDER_ROOT, .names = names, .count = 1};

	if (parent)
		order(parent, names, 1);
	else
		template_fork(&core, 0, &root, NULL, NULL, NULL);
	asked_for();
	answer_vms(next_vm, 1);
	awake(next_vm++, parent ? 2 : 1);
	return parent ? child(parent, name) : sandbox_find(&core, FOLDER_ROOT, name);
}

static bool there(const char *name)
{
	return sandbox_find(&core, FOLDER_ROOT, name);
}

static unsigned count_events(const char *what)
{
	struct events_reader reader;
	unsigned count = 0;
	char *line;

	events_begin(&core.events, &reader, 0, 0, EVENTS_ALL_KEPT);
	while ((line = events_next(&core.events, &reader))) {
		count += strstr(line, what) != NULL;
		free(line);
	}
	return count;
}

static void an_idle_one_goes(void)
{
	make(NULL, "other");
	limits_set_idle(make(NULL, "idle"), SHORT);
	ok(there("idle"), "an idle sandbox is there for its time");
	spin(SHORT * 3);
	ok(!there("idle"), "then it goes, with nobody looking");
	ok(there("other"), "one without a limit stays");
	is_int(count_events("\"limit\":\"idle_timeout\""), 1, "an event says why");
	is_int(count_events("\"destroyed\""), 1, "and another that it went");
}

#define KEPT_FAILED "\"event\":\"freeze_failed\",\"sandbox\":\"kept\""

/* There is no state directory to freeze it to. */
static void a_persistent_one_stays(void)
{
	struct sandbox *sb = make(NULL, "kept"), *a;

	limits_set_persistent(sb, true);
	a = make(sb, "a");
	ok(a->limits.persistent, "a fork is persistent as its parent is");
	limits_set_persistent(a, false);
	limits_set_idle(a, SHORT);
	limits_set_idle(sb, SHORT);
	for (int i = 0; i < 300 && count_events(KEPT_FAILED) < 2; i++)
		spin(SHORT);
	ok(!sandbox_find(&core, FOLDER_FORKS(sb->serial), "a"), "one that is not goes");
	ok(there("kept"), "one that is stays, though it cannot be frozen");
	ok(count_events(KEPT_FAILED) > 1, "as events tell, and it is tried again");
	limits_set_idle(sb, 0);
}

static void one_in_use_stays(void)
{
	struct sandbox *sb = make(NULL, "used");
	struct run *run = submit(sb, "work()");

	limits_set_idle(sb, SHORT);
	spin(SHORT * 3);
	ok(there("used"), "a run is a use");
	is_int(limits_idle_left(sb), SHORT, "whose time has not begun");
	limits_open(sb);
	say_exit(sb->vm, run->number, 0, 0);
	spin(SHORT * 3);
	ok(there("used"), "so is an open file");
	limits_close(sb);
	run = sandbox_begin_run(sb, AGENT_PYTHON, NULL);
	spin(SHORT * 3);
	ok(there("used"), "and code that is being written");
	sandbox_cancel_run(run);
	ok(limits_idle_left(sb) > SHORT / 2, "the time begins when the last use has ended");
	spin(SHORT * 3);
	ok(!there("used"), "then it goes");
}

static void a_limit_is_changed(void)
{
	struct sandbox *sb = make(NULL, "changed");

	limits_set_idle(sb, SHORT);
	limits_set_life(sb, SHORT);
	limits_set_idle(sb, 0);
	limits_set_life(sb, 0);
	spin(SHORT * 3);
	ok(there("changed"), "0 takes limits off");
	limits_set_idle(sb, 60000);
	limits_set_life(sb, 60000);
	spin(SHORT);
	ok(there("changed"), "a long one lets it be");
	limits_set_life(sb, 1);
	spin(SHORT);
	ok(!there("changed"), "one that has passed already ends it at once");
}

static void a_life_ends_in_the_middle(void)
{
	struct sandbox *sb = make(NULL, "busy");
	struct run *run = run_ref(submit(sb, "work()"));

	limits_open(sb);
	limits_set_life(sb, SHORT);
	sandbox_ref(sb);
	spin(SHORT * 3);
	ok(!there("busy"), "max_lifetime does not wait for a run");
	is_int(run->exit_code, EXIT_KILLED, "which ends with 137");
	is_int(count_events("\"limit\":\"max_lifetime\""), 2, "an event says why");
	limits_close(sb);
	sandbox_unref(sb);
	run_unref(run);
}

static void forks_are_waited_for(void)
{
	struct sandbox *sb = make(NULL, "parent"), *a, *b;

	limits_set_idle(sb, SHORT);
	a = make(sb, "a");
	is_int(a->limits.idle_ms, SHORT, "a fork has the limits of its parent");
	limits_set_idle(a, 0);
	limits_set_life(sb, 3600000);
	b = make(sb, "b");
	is_int(b->limits.life_ms, 3600000, "all of them");
	limits_set_idle(b, 0);
	ok(limits_life_left(b) > 3600000 - 600000, "its life is its own");
	spin(SHORT * 3);
	ok(there("parent"), "one that has forks is not idle");
	limits_set_idle(sb, 0);
	limits_set_life(sb, 1);
	spin(SHORT);
	ok(there("parent") && sb->limits.over, "when its life is over it waits for them");
	sandbox_destroy(a);
	spin(SHORT);
	ok(there("parent"), "all of them");
	sandbox_rename(b, FOLDER_ROOT, "b", NULL);
	ok(there("parent"), "who moves the last one sees it still");
	spin(SHORT);
	ok(!there("parent"), "then it goes");
	ok(there("b"), "and what was moved away does not");
	is_int(count_events("\"limit\":\"max_lifetime\""), 3, "this is told once");
}

static void a_dead_one_goes(void)
{
	struct sandbox *sb = make(NULL, "dead");

	limits_set_idle(sb, SHORT);
	sandbox_die(sb, "it was killed");
	ok(there("dead"), "a dead sandbox is there for its time");
	spin(SHORT * 3);
	ok(!there("dead"), "and goes like any other");
}

static void a_template_stays(void)
{
	struct sandbox *sb = make(NULL, "hidden");

	limits_set_idle(sb, SHORT);
	limits_set_life(sb, SHORT);
	sandbox_hide(sb);
	spin(SHORT * 4);
	ok(!sb->gone, "what became a template has no limits");
}

int main(void)
{
	begin_world();
	make_parent();
	an_idle_one_goes();
	a_persistent_one_stays();
	one_in_use_stays();
	a_limit_is_changed();
	a_life_ends_in_the_middle();
	forks_are_waited_for();
	a_dead_one_goes();
	a_template_stays();
	end_world();
	return done_testing();
}
