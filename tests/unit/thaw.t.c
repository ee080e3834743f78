/* Frozen sandboxes that are used, of which something fails: vmctl and the guests are
 * played. */
#include "pffs/core/record/freeze.h"
#include "tests/unit/forks.h"

#include <sys/stat.h>

static struct sandbox *make_frozen(const char *name)
{
	struct error err;
	struct sandbox *sb = sandbox_new(&core, FOLDER_ROOT, name, 0, 7, 8, &err);

	sb->state = SANDBOX_STORED;
	sb->stored_bytes = 1;
	sb->epoch = 3;
	sb->heard = 3;
	return sb;
}

/* A run that was under way when its sandbox was frozen. */
static struct run *make_run(struct sandbox *sb)
{
	struct error err;
	struct run *run = sandbox_begin_run(sb, AGENT_BASH, &err);

	run_write(run, "x", 1);
	run_complete(run);
	run->state = RUN_RUNNING;
	sb->current = run;
	return run;
}

static void thaw(struct sandbox *sb, unsigned vm)
{
	char body[64];

	freeze_use(sb);
	is_str(asked_for(), "thaw", "it is resumed");
	snprintf(body, sizeof(body), ",\"vm\":%u,\"pid\":1", vm);
	answer_newest(body);
}

static void vm_ends(struct sandbox *sb, unsigned vm)
{
	char text[96];

	snprintf(text, sizeof(text), "{\"event\":\"dead\",\"vm\":%u,\"reason\":\"killed\"}",
		 vm);
	send_control(text);
	is_str(sandbox_state_name(sb), "frozen",
	       "its VM ends first: it is frozen as before");
}

static void wakes(struct sandbox *sb, unsigned vm, const struct run *run)
{
	char text[64] = "";

	epoch = sb->epoch;
	say(vm, 0, AGENT_AWAKE, NULL, 0);
	is_str(sandbox_state_name(sb), "running", "the next one wakes");
	stream_read(&run->streams[RUN_STDOUT], 0, text, sizeof(text) - 1);
	is_str(text, "hello\n", "what it printed is there once");
}

static void send_raw(uint32_t vm, const uint8_t *bytes, size_t len)
{
	struct buf out = {0};

	link_put(&out, vm, LINK_DATA, bytes, len);
	send_frames(&out);
	buf_fini(&out);
}

static void a_frame_that_was_cut_is_made_whole_twice(void)
{
	struct sandbox *sb = make_frozen("cut");
	const struct run *run = make_run(sb);
	struct buf frame = {0};
	const size_t cut = 14;

	agent_put(&frame, 3, run->guest_id, AGENT_STDOUT, "hello\n", 6);
	buf_append(&sb->in, buf_peek(&frame), cut);
	for (unsigned vm = 7; vm < 9; vm++) {
		thaw(sb, vm);
		send_raw(vm, buf_peek(&frame) + cut, frame.len - cut);
		if (vm == 7)
			vm_ends(sb, vm);
	}
	wakes(sb, 8, run);
	buf_fini(&frame);
}

static void what_one_says_that_never_wakes_does_not_count(void)
{
	static const uint8_t taken[] = {0, 0, 1, 0};
	struct sandbox *sb = make_frozen("twice");
	const struct run *run = make_run(sb);

	for (unsigned vm = 9; vm < 11; vm++) {
		thaw(sb, vm);
		epoch = 3;
		say(vm, run->guest_id, AGENT_STDIN_TAKEN, taken, sizeof(taken));
		say(vm, run->guest_id, AGENT_STDOUT, "hello\n", 6);
		if (vm == 9)
			vm_ends(sb, vm);
	}
	wakes(sb, 10, run);
}

static void is_ready(const char *name, unsigned vm)
{
	struct error err;
	struct sandbox *sb = sandbox_new(&core, FOLDER_ROOT, name, 0, 0, 0, &err);

	sandbox_adopt_vm(sb, vm, 1, 1000);
	loop_timer_cancel(&sb->limit);
	sb->state = SANDBOX_READY;
}

/* With a limit that freezes others, and a fork of one that finds no room. */
static void vmctl_goes_while_room_is_made(void)
{
	struct sandbox *sb;

	is_ready("one", 20);
	is_ready("two", 21);
	core.options.caps = (struct caps){.sandboxes = core.sandbox_count, .freeze = true};
	core.options.state = images;
	core.state_fd = dup(STDERR_FILENO);
	sb = make_frozen("waits");
	is_int(order(sb, NULL, 1), 0, "a fork of a frozen sandbox is ordered");
	spin(5);
	close(peer);
	peer = -1;
	spin(20);
	ok(!vmm_connected(&core.vmm), "vmctl goes");
	is_int(told.count, 0, "it waits");
	core.options.caps = (struct caps){0};
}

static void who_wants_one_waits_for_vmctl(void)
{
	struct sandbox *sb = make_frozen("away");
	const struct run *run = submit(sb, "print(1)");

	is_str(run_state_name(run), "queued", "a run waits for another vmctl");
	is_int(order(sb, NULL, 1), 0, "a fork is ordered");
	spin(20);
	is_int(told.count, 0, "and waits, too");
	is_str(sb->error.text, "", "nothing has failed");
}

int main(void)
{
	begin_world();
	a_frame_that_was_cut_is_made_whole_twice();
	what_one_says_that_never_wakes_does_not_count();
	vmctl_goes_while_room_is_made();
	who_wants_one_waits_for_vmctl();
	end_world();
	return done_testing();
}
