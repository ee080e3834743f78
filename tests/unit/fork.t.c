/*
 * The bookkeeping of forks, against a vmctl and guests that this test plays: what
 * parent and children share, and that a fork leaves all of its children or none.
 */
#include "tests/unit/forks.h"
#include "tests/unit/put_reply.h"

#include "pffs/core/files/files.h"

static int done_code;

static void done(void *ctx, const struct error *err)
{
	(void)ctx;
	done_code = err ? err->code : 0;
}

/* Answer the newest request, `create`. */
static void reply_vm(unsigned vm)
{
	char text[96];

	snprintf(text, sizeof(text), "{\"seq\":%d,\"vm\":%u,\"pid\":1}",
		 (int)json_integer_value(json_object_get(asked, "seq")), vm);
	send_control(text);
}

static void a_child_has_the_runs_of_its_parent(struct sandbox *parent)
{
	static const char *const names[] = {"a"};
	struct run *first = submit(parent, "print(1)"),
		   *second = submit(parent, "print(2)");
	struct feed *feed = guest_stdin_open(parent);
	uint32_t streams[8];
	struct sandbox *a;
	struct run *copy;

	say(PARENT, first->number, AGENT_STDOUT, "one ", 4);
	is_int(order(parent, names, 1), 0, "a machine with runs is forked");
	is_str(asked_for(), "fork", "vmctl is asked for it");
	say(PARENT, first->number, AGENT_STDOUT, "two ", 4);
	answer_vms(6, 1);
	ok(!child(parent, "a"), "nobody sees it before its agent has woken");
	is_int(heard(6, AGENT_WAKE, streams), 1, "which is told to");
	say(PARENT, first->number, AGENT_STDOUT, "parent", 6);
	say(6, first->number, AGENT_STDOUT, "child", 5);
	awake(6, 2);
	is_int(told.count, 1, "the fork is done");
	a = child(parent, "a");
	copy = sandbox_run(a, first->number);
	is_str(sandbox_state_name(a), "running", "the run goes on in the child");
	is_int(copy->streams[RUN_STDOUT].size, 8 + 5,
	       "with the output so far, and its own");
	is_int(first->streams[RUN_STDOUT].size, 8 + 6, "and in the parent, with its own");
	is_int(heard(6, AGENT_STDIN_EOF, streams), 0, "stdin stays open as the parent's");
	is_int(sandbox_run(a, second->number)->state, RUN_QUEUED,
	       "what waits, waits in both");
	say_exit(6, first->number, 0, 0);
	is_str(sandbox_state_name(a), "running", "where nobody is its parent any more");
	epoch = 2;
	say_exit(6, first->number, 0, 0);
	epoch = 1;
	is_int(heard(6, AGENT_RUN, streams), 1, "and has its turn");
	is_int(sandbox_newest(a)->number, second->number, "numbers go on");
	is_str(a->parent_id, parent->id, "the child knows its parent");
	is_int(a->generation, 1, "and its generation");
	guest_stdin_close(feed);
	say_exit(PARENT, first->number, 0, 0);
	say_exit(PARENT, second->number, 0, 0);
	sandbox_destroy(a);
}

static void many_get_one_request(struct sandbox *parent)
{
	is_int(order(parent, NULL, 3), 0, "three are ordered by count");
	is_str(asked_for(), "fork", "vmctl is asked");
	is_int((long)json_array_size(json_object_get(asked, "names")), 3, "once for all");
	answer_vms(7, 3);
	awake(7, 2);
	awake(9, 2);
	ok(!child(parent, "1") && !told.count, "two are not all");
	awake(8, 2);
	is_int(told.count, 1, "three are");
	ok(child(parent, "1") && child(parent, "2") && child(parent, "3"),
	   "their names are numbers");
	sandbox_destroy(child(parent, "2"));
	is_int(order(parent, NULL, 1), 0, "one more");
	listen_to_core();
	answer_vms(10, 1);
	awake(10, 2);
	ok(child(parent, "4") && !child(parent, "2"), "has a number of its own");
	sandbox_destroy(child(parent, "1"));
	sandbox_destroy(child(parent, "3"));
	sandbox_destroy(child(parent, "4"));
}

static void none_stays_when_one_fails(struct sandbox *parent)
{
	static const char *const names[] = {"a", "b", "c"}, *const twice[] = {"a", "b",
									      "a"};

	is_int(order(parent, twice, 3), -EEXIST, "the same name twice: EEXIST");
	is_int(order(parent, names, 0), -EINVAL, "no child at all: EINVAL");
	is_int(order(parent, NULL, FORK_MAX + 1), -EINVAL, "too many: EINVAL");
	ok(!sandbox_is_busy(parent), "and nothing is half made");

	is_int(order(parent, names, 3), 0, "three are ordered");
	is_int(order(parent, names, 1), -EEXIST, "their names are taken: EEXIST");
	told.count = 0;
	listen_to_core();
	answer_error(ENOMEM);
	is_int(told.code, -ENOMEM, "what vmctl cannot do is told");
	ok(!sandbox_is_busy(parent), "and nothing is half made");

	is_int(order(parent, names, 3), 0, "three are ordered again");
	listen_to_core();
	answer_vms(7, 3);
	awake(7, 2);
	send_control("{\"event\":\"dead\",\"vm\":8,\"reason\":\"it broke\"}");
	is_int(told.code, -EIO, "one dies before it woke: EIO");
	is_int(told.count, 1, "told once");
	ok(!sandbox_is_busy(parent), "and the others are gone");
	is_str(asked_for(), "destroy", "with their machines");
	is_str(sandbox_state_name(parent), "ready", "the parent is as it was");
}

static void one_that_woke_and_died_is_no_fork(struct sandbox *parent)
{
	is_int(order(parent, NULL, 2), 0, "two are ordered");
	listen_to_core();
	answer_vms(7, 2);
	awake(7, 2);
	send_control("{\"event\":\"dead\",\"vm\":7,\"reason\":\"it broke\"}");
	is_int(told.count, 0, "one wakes and dies");
	awake(8, 2);
	is_int(told.code, -EIO, "when the other wakes: EIO");
	ok(!sandbox_is_busy(parent), "and nothing stays");
}

static int answers;

static void have_answer(void *ctx, const struct files_reply *reply)
{
	(void)ctx;
	(void)reply;
	answers++;
}

static int look_at_files(struct sandbox *sb)
{
	static const struct files_request request = {.op = FILES_GETATTR, .path = "f"};

	return files_request(sb, &request, have_answer, NULL, NULL);
}

/* Answer the request about files that the guest of @vm has got. */
static void answer_files(unsigned vm)
{
	static const struct files_reply reply = {.watch = -1};
	struct agent_frame frame;
	struct buf agent = {0};
	uint32_t streams[8];

	is_int(heard(vm, AGENT_FILES, streams), 1, "the guest is asked");
	put_reply(&agent, 2, streams[0], &reply);
	agent_next(&agent, &frame, NULL);
	epoch = 2;
	say(vm, streams[0], AGENT_FILES_REPLY, frame.payload, frame.len);
	epoch = 1;
	buf_fini(&agent);
}

/* Who uses its files would wait for ever. */
static void files_are_let_go_of(struct sandbox *sb, unsigned vm)
{
	struct error err;

	answers = 0;
	is_int(look_at_files(sb), 0, "somebody asks about its files");
	is_int(template_freeze(sb, "mine", done, NULL, &err), -EBUSY,
	       "and has to have an answer before: EBUSY");
	answer_files(vm);
	is_int(template_freeze(sb, "mine", done, NULL, &err), 0, "then it may be one");
	is_str(asked_for(), "park", "its machine is parked");
	is_int(look_at_files(sb), 0, "somebody asks meanwhile");
	answer_vms(0, 0);
	is_int(done_code, -EBUSY, "and it is none: EBUSY");
	answer_files(vm);
	is_int(answers, 2, "so that all are answered");
}

static void a_template_is_no_sandbox(struct sandbox *parent)
{
	const struct fork_order order = {.folder = FOLDER_ROOT, .count = 1};
	struct sandbox *frozen;
	struct error err;
	int index;

	is_int(fork_begin(parent, &order, remember, NULL, &err), 0, "one is forked");
	listen_to_core();
	answer_vms(12, 1);
	awake(12, 2);
	frozen = sandbox_ref(sandbox_find(&core, FOLDER_ROOT, told.first->name));
	is_int(template_freeze(frozen, "default", done, NULL, &err), -EEXIST,
	       "no template by a name that is taken: EEXIST");
	files_are_let_go_of(frozen, 12);
	is_int(template_freeze(frozen, "mine", done, NULL, &err), 0, "but by another");
	is_str(asked_for(), "park", "its machine is parked");
	answer_vms(0, 0);
	is_int(done_code, 0, "and is a template");
	ok(!sandbox_begin_run(frozen, AGENT_PYTHON, &err) && err.code == -EIO,
	   "in which nothing runs: EIO");
	is_int(guest_ctl(frozen, "reset", &err), -EBUSY, "nothing is reset: EBUSY");
	is_int(look_at_files(frozen), -EIO, "and no files are to be had: EIO");
	index = template_find(&core, "mine");
	send_control("{\"event\":\"dead\",\"vm\":12,\"reason\":\"killed\"}");
	ok(!template_machine(&core, (size_t)index, &err) && err.code == -EIO,
	   "and which does not boot again: EIO");
	is_str(core.templates.list[index].made_of, frozen->id,
	       "it still says of what it was");
	is_int(template_remove(&core, (size_t)index, &err), 0, "it can be removed");
	sandbox_unref(frozen);
}

static void the_link_may_break_while_forks_wake(struct sandbox *parent)
{
	is_int(order(parent, NULL, 3), 0, "three are ordered");
	listen_to_core();
	answer_vms(7, 3);
	shutdown(peer, SHUT_RDWR);
	spin(20);
	is_int(told.code, -EIO, "without a link there is none of them: EIO");
	is_str(sandbox_state_name(parent), "dead", "nor their parent");
	ok(!sandbox_is_busy(parent), "and nothing is half made");
}

static void a_fork_that_nobody_waits_for_is_undone(struct sandbox *parent)
{
	static const char *const names[] = {"a", "b"};

	is_int(order(parent, names, 2), 0, "two are ordered");
	listen_to_core();
	fork_cancel(ordered);
	is_int(told.code, -EINTR, "and not waited for: EINTR");
	ok(!child(parent, "a"), "their names are free");
	answer_vms(12, 2);
	is_str(asked_for(), "destroy", "when vmctl has made them, it is to end them");
	is_int(told.count, 1, "nothing is told twice");

	is_int(order(parent, names, 2), 0, "two more are ordered");
	listen_to_core();
	answer_vms(14, 2);
	awake(14, 2);
	fork_cancel(ordered);
	is_int(told.code, -EINTR, "and not waited for when only one has woken");
	is_str(asked_for(), "destroy", "which is ended, too");
	ok(!sandbox_is_busy(parent), "nothing is half made");
}

static void a_parent_that_ends_takes_what_waits(struct sandbox *parent)
{
	is_int(order(parent, NULL, 2), 0, "two are ordered");
	listen_to_core();
	sandbox_destroy(parent);
	is_int(told.count, 0, "vmctl may have made them");
	answer_vms(11, 2);
	is_int(told.code, -EIO, "a parent that is gone has no forks: EIO");
	is_str(asked_for(), "destroy", "and vmctl is to end them");
}

static void the_machine_of_a_template_boots_again(void)
{
	static const char *const names[] = {"one", "two"};
	struct fork_order order = {.folder = FOLDER_ROOT, .names = names, .count = 2};

	send_control("{\"event\":\"dead\",\"vm\":4,\"reason\":\"killed\"}");
	is_int(template_fork(&core, 0, &order, remember, NULL, NULL), 0,
	       "a template whose machine died can be forked");
	is_str(asked_for(), "create", "it boots again");
	sandbox_destroy(sandbox_find(&core, FOLDER_ROOT, "two"));
	answer_error(ENOMEM);
	is_str(sandbox_state_name(sandbox_find(&core, FOLDER_ROOT, "one")), "dead",
	       "when it cannot, the sandbox is dead");
	ok(!sandbox_find(&core, FOLDER_ROOT, "two"), "and one that was removed stays so");
}

/* The newest event. */
static char *last_event(void)
{
	struct events_reader reader;

	events_begin(&core.events, &reader, 0, 0, core.events.next - 1);
	return events_next(&core.events, &reader);
}

/* Make a sandbox of the template's machine, which is not there. */
static struct sandbox *boot_for(const char *name, unsigned machine, unsigned vm)
{
	const char *const names[] = {name};
	struct fork_order order = {.folder = FOLDER_ROOT, .names = names, .count = 1};

	is_int(template_fork(&core, 0, &order, remember, NULL, NULL), 0,
	       "a sandbox is made");
	is_str(asked_for(), "create", "for which the template's machine boots");
	reply_vm(machine);
	say(machine, 0, AGENT_READY, NULL, 0);
	listen_to_core();
	answer_vms(0, 0);
	listen_to_core();
	answer_vms(vm, 1);
	return sandbox_find(&core, FOLDER_ROOT, name);
}

/* What its timer would do in half a minute. */
static void time_is_over(struct sandbox *sb)
{
	loop_timer_cancel(&sb->limit);
	sb->limit.fn(&sb->limit);
}

static void a_template_none_of_whose_forks_answers_boots_again(void)
{
	static const char *const names[] = {"mute"};
	struct fork_order order = {.folder = FOLDER_ROOT, .names = names, .count = 1};
	struct sandbox *sb = boot_for("silent", 15, 16);
	struct error err;
	char *event;

	time_is_over(sb);
	is_str(sandbox_state_name(sb), "dead", "a fork that does not wake is dead");
	event = last_event();
	ok(event && strstr(event, "\"template_failed\"") &&
	       strstr(event, "\"template\":\"default\""),
	   "the first one takes the template's machine along, which an event tells");
	free(event);

	sb = boot_for("loud", 17, 18);
	awake(18, 1);
	is_str(sandbox_state_name(sb), "ready", "the next sandbox has another machine");
	is_int(template_fork(&core, 0, &order, remember, NULL, NULL), 0, "one more");
	is_str(asked_for(), "fork", "is made of the same");
	answer_vms(19, 1);
	told.count = 0;
	time_is_over(container_of(core.sandboxes.prev, struct sandbox, link));
	is_int(told.code, -EIO, "if that does not wake, it is none: EIO");
	is_int(template_machine(&core, 0, &err)->state, SANDBOX_FROZEN,
	       "and the machine, of which one woke, stays");
}

/* A sandbox of the template whose machine has booted again. */
static struct sandbox *make_last(void)
{
	static const char *const names[] = {"last"};
	struct fork_order order = {.folder = FOLDER_ROOT, .names = names, .count = 1};

	template_fork(&core, 0, &order, remember, NULL, NULL);
	listen_to_core();
	reply_vm(13);
	say(13, 0, AGENT_READY, NULL, 0);
	is_str(asked_for(), "park", "the template's machine boots once more");
	answer_vms(0, 0);
	listen_to_core();
	answer_vms(14, 1);
	awake(14, 1);
	return sandbox_find(&core, FOLDER_ROOT, "last");
}

int main(void)
{
	struct sandbox *parent;

	begin_world();
	parent = make_parent();
	a_child_has_the_runs_of_its_parent(parent);
	many_get_one_request(parent);
	none_stays_when_one_fails(parent);
	one_that_woke_and_died_is_no_fork(parent);
	a_template_is_no_sandbox(parent);
	a_fork_that_nobody_waits_for_is_undone(parent);
	a_parent_that_ends_takes_what_waits(parent);
	the_machine_of_a_template_boots_again();
	a_template_none_of_whose_forks_answers_boots_again();
	send_control("{\"event\":\"dead\",\"vm\":17,\"reason\":\"killed\"}");
	the_link_may_break_while_forks_wake(make_last());
	end_world();
	return done_testing();
}
