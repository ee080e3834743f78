/*
 * Terminals, against a vmctl and guests that this test plays: what a guest may do, what
 * is kept, and where a terminal goes when its machine goes.
 */
#include "tests/unit/forks.h"

#include "pffs/core/terminal.h"

static struct error err;

static uint32_t stream_of(const struct terminal *t)
{
	return AGENT_TERMINALS | t->guest_id;
}

static struct terminal *open_one(struct sandbox *sb, const char *name)
{
	struct terminal *t = terminal_new(sb, name, &err);

	terminal_start(t, &err);
	spin(5);
	return t;
}

static void shows(const struct terminal *t, const char *want, const char *name)
{
	char text[64] = "";

	stream_read(&t->screen, t->kept, text, sizeof(text) - 1);
	is_str(text, want, "%s", name);
}

static int heard_of(uint32_t vm, enum agent_type type)
{
	uint32_t streams[8];

	return heard(vm, type, streams);
}

static void names_are_checked(struct sandbox *sb)
{
	struct terminal *t = terminal_new(sb, "t", &err);

	ok(t && terminal_find(sb, "t") == t, "a terminal is made");
	ok(!terminal_new(sb, "t", &err) && err.code == -EEXIST, "not twice");
	ok(!terminal_new(sb, ".t", &err) && err.code == -EINVAL, "nor with any name");
	spin(5);
	is_int(heard_of(PARENT, AGENT_TERMINAL), 0, "nothing runs before it is used");
	terminal_remove(t);
	is_int(heard_of(PARENT, AGENT_TERMINAL_CLOSE), 0, "nor has to be ended");
}

static void keys_keep_to_the_window(struct sandbox *sb)
{
	static uint8_t keys[AGENT_STDIN_WINDOW + 1000];
	const uint32_t taken = 1000;
	struct terminal *t = open_one(sb, "keys");

	is_int(terminal_type(t, keys, sizeof(keys), &err), 0, "more keys than the window");
	spin(20);
	is_int(t->sent, AGENT_STDIN_WINDOW, "are sent as far as it goes");
	say(PARENT, stream_of(t), AGENT_STDIN_TAKEN, &taken, 4);
	is_int(t->sent, sizeof(keys), "and the rest when some were taken");
	while (terminal_type(t, keys, sizeof(keys), &err) == 0)
		;
	is_int(err.code, -EAGAIN, "too many are refused");
	ok(t->keys.size - t->sent < TERMINAL_KEYS_MAX + sizeof(keys), "so they are few");
	listen_to_core();
	terminal_remove(t);
	is_int(heard_of(PARENT, AGENT_TERMINAL_CLOSE), 1, "a removal is told the guest");
}

static void the_newest_is_kept_from_a_line_on(struct sandbox *sb)
{
	struct terminal *t = open_one(sb, "flood");
	char line[1000];

	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = '\n';
	for (unsigned i = 0; i < 3; i++) {
		static char many[200 * sizeof(line)];

		for (unsigned k = 0; k < 200; k++)
			memcpy(many + k * sizeof(line), line, sizeof(line));
		say(PARENT, stream_of(t), AGENT_STDOUT, many, sizeof(many));
	}
	ok(t->screen.size - t->kept < TERMINAL_KEPT + 65536, "what is kept is bounded");
	ok(t->screen.size - t->kept > TERMINAL_KEPT - 4096, "and is the newest");
	is_int(t->kept % sizeof(line), 0, "from the start of a line on");
	terminal_remove(t);
}

static void a_fork_has_a_copy(struct sandbox *sb)
{
	static const char *const names[] = {"a"};
	const uint32_t taken = 3;
	struct terminal *t = open_one(sb, "shared"), *copy;
	struct sandbox *a;

	terminal_type(t, "abc", 3, &err);
	say(PARENT, stream_of(t), AGENT_STDOUT, "past ", 5);
	is_int(order(sb, names, 1), 0, "a fork is ordered");
	is_str(asked_for(), "fork", "and asked for");
	terminal_type(t, "later", 5, &err);
	spin(5);
	heard_of(PARENT, AGENT_STDIN);
	is_int(t->sent, 3, "meanwhile no keys are sent");
	answer_vms(6, 1);
	awake(6, 2);
	is_int(t->sent, 8, "then they are");
	a = child(sb, "a");
	copy = terminal_find(a, "shared");
	ok(copy, "the child has the terminal");
	if (!copy)
		return;
	shows(copy, "past ", "with what was shown");
	is_int(copy->window, AGENT_STDIN_WINDOW - 8, "and what is on the way to it");
	say(PARENT, stream_of(t), AGENT_STDOUT, "parent", 6);
	epoch = 2;
	say(6, stream_of(copy), AGENT_STDOUT, "child", 5);
	say(6, stream_of(copy), AGENT_STDIN_TAKEN, &taken, 4);
	epoch = 1;
	shows(copy, "past child", "from then on each its own");
	shows(t, "past parent", "the parent too");
	is_str(sandbox_state_name(a), "ready", "and what was taken of both is no lie");
	sandbox_destroy(a);
	say_exit(PARENT, stream_of(t), 1, 9);
	ok(t->ended && t->exit_code == 137, "an end is told");
	is_int(terminal_type(t, "x", 1, &err), -EIO, "then there are no keys");
	say_exit(PARENT, stream_of(t), 0, 0);
	is_int(t->exit_code, 137, "and no second end");
	terminal_remove(t);
}

static void keys_of_one_that_ended_are_in_nobodys_way(struct sandbox *sb)
{
	static uint8_t keys[AGENT_STDIN_WINDOW + 1000];
	static const char *const names[] = {"late"};
	struct terminal *t = open_one(sb, "unread");

	terminal_type(t, keys, sizeof(keys), &err);
	spin(20);
	say_exit(PARENT, stream_of(t), 0, 0);
	ok(t->ended && t->sent == t->keys.size, "with its end goes what was not sent");
	is_int(order(sb, names, 1), 0, "a fork is ordered");
	is_str(asked_for(), "fork", "and asked for");
	answer_vms(7, 1);
	awake(7, 2);
	is_int(told.code, 0, "and is made");
	ok(child(sb, "late"), "and there");
	if (child(sb, "late"))
		sandbox_destroy(child(sb, "late"));
	terminal_remove(t);
}

static void nothing(struct watch *watch)
{
	(void)watch;
}

static void an_open_one_is_a_use(struct sandbox *sb)
{
	struct terminal *t = open_one(sb, "open");
	struct watch watch;

	ok(!terminals_watched(sb), "a program alone is no use");
	watch_add(&t->watchers, &watch, nothing);
	is_int(template_freeze(sb, "t", NULL, NULL, &err), -EBUSY,
	       "with a terminal open there is no template");
	say_exit(PARENT, stream_of(t), 0, 0);
	ok(!terminals_watched(sb), "but one that has ended is in nobody's way");
	list_del(&watch.link);
	terminal_remove(t);
}

static void a_merge_brings_the_winners(struct sandbox *sb, struct sandbox *winner)
{
	struct terminal *own = terminal_ref(open_one(sb, "t")),
			*other = open_one(winner, "t"), *next;

	terminals_move(sb, winner);
	ok(own->ended && !own->sandbox, "one's own ends");
	ok(terminal_find(sb, "t") == other && !terminal_find(winner, "t"),
	   "the winner's takes its place");
	ok(other->number > own->number, "and is another file");
	next = terminal_new(sb, "next", &err);
	ok(next->guest_id > other->guest_id, "the guest can tell the next one");
	terminal_unref(own);
}

static void a_guest_that_lies_dies(struct sandbox *sb)
{
	const uint32_t taken = 1;
	struct terminal *t = terminal_ref(open_one(sb, "lie"));

	say(PARENT, AGENT_TERMINALS | 12345, AGENT_STDOUT, "nobody", 6);
	say(PARENT, AGENT_TERMINALS | 12345, AGENT_EXIT, "", 0);
	say(PARENT, stream_of(t), AGENT_FIGURE, "", 0);
	is_str(sandbox_state_name(sb), "ready", "frames of no terminal are dropped");
	say(PARENT, stream_of(t), AGENT_STDIN_TAKEN, &taken, 4);
	is_str(sandbox_state_name(sb), "dead", "who takes keys that nobody typed is ended");
	ok(t->ended && t->exit_code == EXIT_KILLED, "and so are its terminals");
	ok(!terminal_new(sb, "more", &err) && err.code == -EIO, "there are no new ones");
	terminal_remove(t);
	ok(!terminal_find(sb, "lie"), "but they can be removed");
	terminal_unref(t);
}

int main(void)
{
	struct sandbox *sb, *one, *two;

	begin_world();
	sb = make_parent();
	names_are_checked(sb);
	keys_keep_to_the_window(sb);
	the_newest_is_kept_from_a_line_on(sb);
	a_fork_has_a_copy(sb);
	keys_of_one_that_ended_are_in_nobodys_way(sb);
	an_open_one_is_a_use(sb);
	a_guest_that_lies_dies(sb);
	one = sandbox_new(&core, FOLDER_ROOT, "one", 0, 0, 0, &err);
	two = sandbox_new(&core, FOLDER_ROOT, "two", 0, 0, 0, &err);
	a_merge_brings_the_winners(one, two);
	end_world();
	return done_testing();
}
