/*
 * The bookkeeping of a merge of the whole state, against a vmctl and guests that this
 * test plays: what becomes of machine, runs and forks, and that a merge which fails
 * changes nothing.
 */
#include "tests/unit/forks.h"
#include "tests/unit/guest_files.h"

#include "pffs/core/files/files.h"
#include "pffs/core/merge/merge.h"
#include "pffs/core/net/ca_trust.h"

static struct merge *handle;
static int done_count, done_code;

static void done(void *ctx, const struct error *err)
{
	(void)ctx;
	done_count++;
	done_code = err ? err->code : 0;
}

/* What its winning leads to is done by a timer, which may be in the next turn. */
static void woken(unsigned vm, uint16_t of_epoch)
{
	awake(vm, of_epoch);
	spin(SPIN_MS);
}

static int begin(struct sandbox *sb, const char *name)
{
	struct error err = {0};

	done_count = 0;
	return merge_begin(sb, name, done, NULL, &handle, &err);
}

/* A fork with a machine of its own, which has woken to epoch @of_epoch. */
static struct sandbox *make_fork(struct sandbox *parent, const char *name, unsigned vm,
				 uint16_t of_epoch)
{
	const char *const names[] = {name};

	is_int(order(parent, names, 1), 0, "a fork is ordered");
	listen_to_core();
	answer_vms(vm, 1);
	awake(vm, of_epoch);
	return child(parent, name);
}

static void a_machine_changes_hands(struct sandbox *demo)
{
	struct run *past = submit(demo, "print(1)"), *lost, *waits, *goes_on, *next;
	struct sandbox *a, *b, *x;
	uint32_t streams[8];
	char id[SANDBOX_ID_LEN + 1];
	struct feed *feed;
	struct error err;

	say_exit(PARENT, past->number, 0, 0);
	a = make_fork(demo, "a", 6, 2);
	b = make_fork(demo, "b", 7, 2);
	x = make_fork(a, "x", 8, 3);
	strcpy(id, demo->id);
	lost = run_ref(submit(demo, "while True: pass"));
	waits = submit(demo, "print(2)");
	feed = guest_stdin_open(a);
	goes_on = run_ref(submit(a, "input()"));
	next = submit(a, "print(3)");
	is_int(goes_on->number, 2, "a run goes on in the fork");
	send_control("{\"event\":\"net\",\"vm\":6,\"connected\":true}");

	is_int(begin(demo, "a"), 0, "a merge begins");
	heard(6, AGENT_SIGNAL, streams);
	is_int(begin(demo, "b"), -EAGAIN, "no second one at the same time: EAGAIN");
	is_int(order(a, NULL, 1), -EAGAIN, "nor a fork: EAGAIN");
	epoch = 2;
	say(6, goes_on->number, AGENT_STDOUT, "before", 6);
	is_int(done_count, 0, "it waits for the guest to be another one");
	is_str(sandbox_state_name(demo), "running", "until then the sandbox goes on");
	woken(6, 3);

	is_int(done_count, 1, "then it is done");
	is_int(done_code, 0, "well");
	ok(demo->vm == 6 && !child(demo, "a"),
	   "the sandbox has the machine, the fork is gone");
	ok(demo->net.connected, "and what it is connected to");
	is_str(asked_for(), "destroy", "its own machine ends");
	is_str(demo->id, id, "its id stays");
	is_int(lost->exit_code, EXIT_KILLED, "the run that went on in it was killed");
	ok(sandbox_run(demo, 1) == past, "its record stays");
	is_int(waits->state, RUN_QUEUED, "what waits, waits");
	is_int(goes_on->number, 4, "the fork's run goes on as its newest but one");
	is_int(next->number, 5, "what waited there is the newest");
	ok(demo->current == goes_on, "and runs");
	epoch = 3;
	say(6, 2, AGENT_STDOUT, " after", 6);
	is_int(goes_on->streams[RUN_STDOUT].size, 12, "with all of its output");
	listen_to_core();
	is_int(guest_stdin_write(feed, "line", 4, &err), 0, "its stdin stays open");
	is_int(heard(6, AGENT_STDIN, streams), 1, "and reaches the guest");
	is_int(streams[0], 2, "which knows the run by its first number");
	guest_stdin_close(feed);
	ok(child(demo, "b") == b && child(demo, "x") == x, "the fork's forks are its own");
	is_str(x->parent_id, demo->id, "and say so");
	is_int(x->generation, 1, "one generation nearer");
	ok(strstr(demo->merge_report, "result merged"), "the report tells of it");

	listen_to_core();
	heard(6, AGENT_RUN, streams);
	say_exit(6, 2, 0, 0);
	is_int(heard(6, AGENT_RUN, streams), 1, "the next run begins");
	is_int(streams[0], 3, "that which was there first");
	say_exit(6, 3, 0, 0);
	say_exit(6, 5, 0, 0);
	is_str(sandbox_state_name(demo), "ready", "and the last");
	epoch = 1;
	run_unref(lost);
	run_unref(goes_on);
}

static void what_cannot_be_merged(struct sandbox *demo)
{
	struct sandbox *b = child(demo, "b"), *y, *clash;
	struct error err;

	is_int(begin(demo, "nobody"), -ENOENT, "no such fork: ENOENT");
	is_int(begin(demo, "demo"), -EINVAL, "no fork of its own: EINVAL");
	is_int(begin(demo, "../b"), -EINVAL, "no name at all: EINVAL");
	y = make_fork(b, "y", 9, 3);
	is_int(begin(demo, "y"), -EINVAL, "a fork's fork: EINVAL");
	is_int(sandbox_rename(y, FOLDER_FORKS(demo->serial), "y", &err), 0, "moved there");
	is_int(begin(demo, "y"), -EINVAL, "it still is none: EINVAL");
	clash = make_fork(b, "y", 10, 3);
	is_int(begin(demo, "b"), -EEXIST, "two forks of one name: EEXIST");
	is_int(order(demo, NULL, 1), 0, "a fork is being made");
	listen_to_core();
	is_int(begin(demo, "b"), -EAGAIN, "meanwhile: EAGAIN");
	answer_error(ENOMEM);
	sandbox_destroy(clash);
	sandbox_destroy(y);
	is_int(demo->vm, 6, "nothing changed");
}

static int answers;

static void have_answer(void *ctx, const struct files_reply *reply)
{
	(void)ctx;
	answers += !reply->error;
}

static void ask_files(struct sandbox *sb, enum files_op op)
{
	const struct files_request request = {.op = (uint8_t)op, .path = "f"};

	files_request(sb, &request, have_answer, NULL, NULL);
}

static void answer_files(unsigned vm, uint16_t of_epoch, uint32_t stream)
{
	static const struct files_reply reply = {.watch = -1};
	struct agent_frame frame;
	struct buf agent = {0};

	put_reply(&agent, of_epoch, stream, &reply);
	agent_next(&agent, &frame, NULL);
	epoch = of_epoch;
	say(vm, stream, AGENT_FILES_REPLY, frame.payload, frame.len);
	epoch = 1;
	buf_fini(&agent);
}

/* The types of all frames that a guest has got: W for WAKE, F for files; the stream of
 * the last one is in @stream. */
static const char *frames_of(unsigned vm, uint32_t *stream)
{
	static char types[64];
	struct agent_frame frame;
	size_t count = 0;

	listen_to_core();
	while (agent_next(&channels[vm], &frame, NULL) == 1 && count < 63) {
		types[count] = '?';
		if (frame.type == AGENT_WAKE)
			types[count] = 'W';
		if (frame.type == AGENT_FILES)
			types[count] = 'F';
		count++;
		*stream = frame.stream;
		buf_consume(&channels[vm], agent_frame_size(&frame));
	}
	types[count] = '\0';
	return types;
}

/* Its machine is asked for each thing once, and is itself when it is asked. */
static void the_winners_files(struct sandbox *demo)
{
	struct sandbox *b = child(demo, "b");
	uint32_t stream;

	frames_of(7, &stream);
	ask_files(b, FILES_MKDIR);
	is_str(frames_of(7, &stream), "F", "a fork is asked for something");
	is_int(begin(demo, "b"), 0, "and to be merged");
	ask_files(b, FILES_GETATTR);
	is_str(frames_of(7, &stream), "", "which has to wait, as has what comes later");
	answer_files(7, b->epoch, stream);
	is_int(answers, 1, "when the answer is there");
	is_str(frames_of(7, &stream), "W", "it is to be another one");
	merge_cancel(handle);
	is_str(frames_of(7, &stream), "WF", "when that fails, itself, and goes on");
	answer_files(7, b->epoch, stream);
	is_int(answers, 2, "with answers");
	ask_files(b, FILES_MKDIR);
	frames_of(7, &stream);
	is_int(begin(demo, "b"), 0, "a merge begins");
	merge_cancel(handle);
	is_str(frames_of(7, &stream), "", "one that is interrupted at once");
	is_int(answers, 2, "leaves it as it is");
	answer_files(7, b->epoch, stream);
	is_int(answers, 3, "also what it does");
}

static void one_that_fails_changes_nothing(struct sandbox *demo)
{
	struct sandbox *b = child(demo, "b");
	struct error err;
	uint32_t streams[8];

	is_int(begin(demo, "b"), 0, "a merge begins");
	heard(7, AGENT_WAKE, streams);
	merge_cancel(handle);
	is_int(done_code, -EINTR, "and is interrupted: EINTR");
	is_int(heard(7, AGENT_WAKE, streams), 1, "the fork is to be itself again");
	awake(7, 3);
	ok(demo->vm == 6 && b->vm == 7 && done_count == 1, "both have what they had");
	awake(7, 4);
	is_str(sandbox_state_name(b), "ready", "and go on");

	the_winners_files(demo);
	is_int(begin(demo, "b"), 0, "another one begins");
	make_fork(b->merge ? child(demo, "x") : b, "z", 11, 4);
	sandbox_rename(child(child(demo, "x"), "z"), FOLDER_FORKS(b->serial), "x", &err);
	woken(7, b->epoch);
	is_int(done_code, -EEXIST, "a name is taken meanwhile: EEXIST");
	sandbox_destroy(child(b, "x"));

	is_int(begin(demo, "b"), 0, "and another one");
	send_control("{\"event\":\"dead\",\"vm\":7,\"reason\":\"it broke\"}");
	is_int(done_code, -EIO, "whose winner dies: EIO");
	is_str(sandbox_state_name(demo), "ready", "the sandbox is as it was");
	is_int(begin(demo, "b"), -EIO, "a dead winner: EIO");
	sandbox_destroy(b);
}

static void a_dead_sandbox_gets_a_machine(struct sandbox *demo)
{
	struct sandbox *x = child(demo, "x");

	send_control("{\"event\":\"dead\",\"vm\":6,\"reason\":\"it broke\"}");
	is_str(sandbox_state_name(demo), "dead", "a sandbox dies");
	is_int(begin(demo, "x"), 0, "its fork can be merged");
	woken(8, 4);
	is_int(done_code, 0, "and has its machine");
	is_str(sandbox_state_name(demo), "ready", "which lives");
	is_int(demo->vm, 8, "in it");
	ok(x != child(demo, "x"), "and not in the fork");
}

#define OUR_CA "the host's CA\n"

static void make_trust_store(struct guest_fs *fs)
{
	guest_dir(fs, "etc");
	guest_dir(fs, "etc/ssl");
	guest_dir(fs, "etc/ssl/certs");
}

static const char *trusted_in(struct guest_fs *fs)
{
	const struct guest_file *file;

	guests_work(&fs, 1);
	file = guest_find(fs, CA_TRUST_FILE);
	return file ? file->text : "nobody";
}

/* The CA was in the trust store of the machine that is gone. */
static void the_winner_is_older_than_the_first_secret(struct sandbox *demo)
{
	static struct guest_fs former = {.vm = 8}, fork = {.vm = 20};
	struct sandbox *old = make_fork(demo, "old", fork.vm, 5);
	struct error err;

	make_trust_store(&former);
	make_trust_store(&fork);
	free(core.net.ca.certificate);
	core.net.ca.certificate = strdup(OUR_CA);
	is_int(net_set_secrets(demo, "a.b X: y", 8, false, &err), 0, "a first secret");
	is_str(trusted_in(&former), OUR_CA, "the guest trusts the CA");
	is_str(trusted_in(&fork), "nobody", "and a fork of before does not");
	ok(old && begin(demo, "old") == 0, "the fork is merged");
	woken(fork.vm, 6);
	is_int(done_code, 0, "well");
	is_str(trusted_in(&fork), OUR_CA, "it is given the CA with the secret");
}

/* The parent's disk has it when the child's has long been copied. */
static void a_fork_is_made_while_the_ca_comes(struct sandbox *demo)
{
	static struct guest_fs parent = {.vm = 20}, fork = {.vm = 21};
	struct error err;

	make_trust_store(&parent);
	make_trust_store(&fork);
	net_set_secrets(demo, "c.d X: y", 8, true, &err);
	make_fork(demo, "early", fork.vm, 7);
	is_str(trusted_in(&fork), OUR_CA, "who is forked meanwhile is given the CA, too");
	is_str(trusted_in(&parent), OUR_CA, "as is the parent");
	make_fork(demo, "late", 22, 7);
	fork.vm = 22;
	fork.requests = 0;
	trusted_in(&fork);
	is_int(fork.requests, 0, "who is forked later is asked for nothing");
}

static void the_end_of_the_world_ends_it(struct sandbox *demo)
{
	make_fork(demo, "last", 12, (uint16_t)(demo->epoch + 1));
	is_int(begin(demo, "last"), 0, "a merge begins");
	sandbox_destroy(demo);
	is_int(done_code, -EIO, "its sandbox is removed: EIO");
}

int main(void)
{
	struct sandbox *demo;

	begin_world();
	demo = make_parent();
	a_machine_changes_hands(demo);
	what_cannot_be_merged(demo);
	one_that_fails_changes_nothing(demo);
	a_dead_sandbox_gets_a_machine(demo);
	the_winner_is_older_than_the_first_secret(demo);
	a_fork_is_made_while_the_ca_comes(demo);
	the_end_of_the_world_ends_it(demo);
	end_world();
	return done_testing();
}
