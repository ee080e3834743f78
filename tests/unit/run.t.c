/*
 * The bookkeeping of runs, against a vmctl and a guest that this test plays over
 * a socket pair: order, ends, limits, and a guest that breaks the rules.
 */
#include "pffs/core/guest.h"
#include "util/io.h"

#include "tests/unit/tap.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define VM 5u

static struct loop loop;
static struct core core;
static struct buf peer_in; /* what the core sent and the test has not looked at */
static int peer = -1;
static char images[] = "/tmp/pffs-run-XXXXXX";

static void stop(struct loop_timer *timer)
{
	(void)timer;
	loop_stop(&loop);
}

/* Let the core work for @ms milliseconds. */
static void spin(unsigned ms)
{
	struct loop_timer timer;

	loop_timer_init(&timer, stop);
	loop_timer_set(&loop, &timer, ms);
	loop_run(&loop);
}

static void send_frames(const struct buf *frames)
{
	io_write_all(peer, buf_peek(frames), frames->len);
	spin(20);
}

static void send_control(const char *text)
{
	struct buf out = {0};

	link_put(&out, 0, LINK_CONTROL, text, strlen(text));
	send_frames(&out);
	buf_fini(&out);
}

/* One agent frame from the guest. */
static void say(uint32_t stream, enum agent_type type, const void *payload, size_t len)
{
	struct buf agent = {0}, out = {0};

	agent_put(&agent, 1, stream, type, payload, len);
	link_put(&out, VM, LINK_DATA, buf_peek(&agent), agent.len);
	send_frames(&out);
	buf_fini(&agent);
	buf_fini(&out);
}

static void say_exit(uint32_t stream, uint8_t signaled, uint8_t value)
{
	say(stream, AGENT_EXIT, (uint8_t[]){signaled, value}, 2);
}

/* All agent frames of one type that the core has sent since the last look; the
 * streams they were for go to @streams. */
static int heard(enum agent_type type, uint32_t streams[8])
{
	static struct buf agent;
	struct link_frame frame;
	struct agent_frame said;
	int count = 0;

	while (buf_fill(&peer_in, peer, 65536) > 0)
		;
	while (link_next(&peer_in, &frame, NULL) == 1) {
		if (frame.type == LINK_DATA && frame.channel == VM)
			buf_append(&agent, frame.payload, frame.len);
		buf_consume(&peer_in, link_frame_size(&frame));
	}
	while (agent_next(&agent, &said, NULL) == 1) {
		if (said.type == type && count < 8)
			streams[count++] = said.stream;
		buf_consume(&agent, agent_frame_size(&said));
	}
	buf_fini(&agent);
	return count;
}

static void answered(void *ctx, const struct error *err)
{
	(void)ctx;
	ok(!err, "vmctl's answer is heard");
}

static void make_images(void)
{
	char path[128];

	if (!mkdtemp(images))
		exit(1);
	snprintf(path, sizeof(path), "%s/templates", images);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/templates/default.erofs", images);
	fclose(fopen(path, "w"));
}

static void remove_images(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/templates/default.erofs", images);
	unlink(path);
	snprintf(path, sizeof(path), "%s/templates", images);
	rmdir(path);
	rmdir(images);
}

static void begin_world(void)
{
	static const struct core_options options = {
	    .images = images, .memory_mib = 128, .vcpus = 1, .ready_limit_ms = 60000};
	static const uint8_t nonce[LINK_NONCE];
	struct buf out = {0};
	int fds[2];

	loop_init(&loop, NULL);
	core_init(&core, &loop, &options, NULL);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
		exit(1);
	peer = fds[1];
	io_set_nonblock(peer, true);
	is_int(core_connect(&core, fds[0], answered, NULL, NULL), 0, "the core links up");
	link_put_hello(&out, nonce);
	send_frames(&out);
	buf_fini(&out);
	send_control("{\"seq\":1,\"engine\":\"kvm\"}");
	is_str(core.engine, "kvm", "the engine is known");
}

/* A sandbox whose guest has said that it is ready; @seq is that of `create`. */
static struct sandbox *make_sandbox(const char *name, int seq)
{
	struct sandbox *sb = sandbox_create(&core, FOLDER_ROOT, name, 0, 0, 0, NULL);
	char reply[64];

	spin(5);
	snprintf(reply, sizeof(reply), "{\"seq\":%d,\"vm\":%u,\"pid\":1}", seq, VM);
	send_control(reply);
	return sb;
}

static struct run *submit(struct sandbox *sb, const char *code)
{
	struct run *run = sandbox_begin_run(sb, AGENT_PYTHON, NULL);

	run_write(run, code, strlen(code));
	sandbox_submit_run(run);
	spin(5);
	return run;
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
	is_int(heard(AGENT_RUN, streams), 0, "nothing is sent to it");
	say(0, AGENT_READY, NULL, 0);
	is_int(heard(AGENT_WAKE, streams), 1, "a booted machine is told who it is");
	is_str(sandbox_state_name(sb), "starting", "and is not ready before it is that");
	say(0, AGENT_AWAKE, NULL, 0);
	is_str(sandbox_state_name(sb), "running", "a ready machine begins at once");
	is_int(heard(AGENT_RUN, streams), 1, "with one run");
	is_int(streams[0], 2, "the one that was complete first");
	say(2, AGENT_STDOUT, "two", 3);
	say(2, AGENT_STDERR, "err", 3);
	say(1, AGENT_STDOUT, "lie", 3);
	say_exit(2, 0, 3);
	is_int(second->exit_code, 3, "its exit code is kept");
	is_int(second->streams[RUN_STDOUT].size, 3, "and its output");
	is_int(second->streams[RUN_OUTPUT].size, 6, "and both streams together");
	is_int(first->streams[RUN_STDOUT].size, 0,
	       "output for a run not going on is dropped");
	is_int(heard(AGENT_RUN, streams), 1, "then the other is sent");
	say_exit(1, 1, 11);
	is_int(first->exit_code, 128 + 11, "a signal counts from 128");
	is_str(sandbox_state_name(sb), "ready", "and the machine is free");
	say_exit(1, 0, 0);
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
	is_int(heard(AGENT_SIGNAL, streams), 1, "a run past its limit is killed");
	say_exit(run->number, 1, 9);
	is_int(run->exit_code, EXIT_TIMEOUT, "and its exit code is 124");
	guest_set_timeout(sb, 0);
	run = submit(sb, "pass");
	is_int(guest_ctl(sb, "kill", &err), 0, "a run can be killed");
	say_exit(run->number, 1, 9);
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
	say_exit(run->number, 0, 0);
	run = submit(sb, "# !/bin/sh\n");
	is_str(run_language(run), "python", "a comment does not");
	say_exit(run->number, 0, 0);
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
	is_int(heard(AGENT_STDIN, streams), AGENT_STDIN_WINDOW / 16384,
	       "no more is sent than the window");
	say(run->number, AGENT_STDIN_TAKEN, payload, sizeof(payload));
	is_int(heard(AGENT_STDIN, streams), 1, "room given back is used");
	is_int(feed->sent, AGENT_STDIN_WINDOW + taken, "to the byte");
	guest_stdin_close(feed);
	is_int(heard(AGENT_STDIN_EOF, streams), 0, "the end waits for the bytes before it");
	say_exit(run->number, 0, 0);
	run = submit(sb, "input()");
	feed = guest_stdin_open(sb);
	is_int(guest_stdin_write(feed, "x", 1, &err), -EPIPE,
	       "a run without a writer at its start has no stdin");
	guest_stdin_close(feed);
	say_exit(run->number, 0, 0);
}

static void a_guest_that_breaks_the_rules_is_ended(struct sandbox *sb)
{
	struct run *run = submit(sb, "pass");
	struct error err;

	say(run->number, AGENT_EXIT, "too long", 8);
	is_str(sandbox_state_name(sb), "dead", "a malformed frame ends the sandbox");
	is_int(run->exit_code, EXIT_KILLED, "its run ends with 137");
	ok(strstr(sb->reason, "malformed") != NULL, "the reason says why");
	ok(!sandbox_begin_run(sb, AGENT_PYTHON, &err) && err.code == -EIO,
	   "no further run begins: EIO");
	is_int(guest_ctl(sb, "kill", &err), -EIO, "no verb is taken: EIO");
}

static void names_are_checked(void)
{
	struct error err;

	ok(!sandbox_create(&core, FOLDER_ROOT, ".x", 0, 0, 0, &err) && err.code == -EINVAL,
	   "a name with a dot first: EINVAL");
	ok(!sandbox_create(&core, FOLDER_ROOT, "a b", 0, 0, 0, &err) && err.code == -EINVAL,
	   "a name with a blank: EINVAL");
	ok(!sandbox_create(&core, FOLDER_ROOT, "one", 0, 0, 0, &err) && err.code == -EEXIST,
	   "a name that is taken: EEXIST");
	ok(!sandbox_create(&core, FOLDER_ROOT, "two", 9, 0, 0, &err) && err.code == -ENOENT,
	   "a template that is not there: ENOENT");
}

int main(void)
{
	struct sandbox *sb;

	make_images();
	begin_world();
	sb = make_sandbox("one", 2);
	runs_queue_in_order_of_completion(sb);
	limits_and_signals(sb);
	code_has_a_limit(sb);
	interpreters(sb);
	stdin_is_fed_within_the_window(sb);
	names_are_checked();
	a_guest_that_breaks_the_rules_is_ended(sb);
	core_fini(&core);
	loop_fini(&loop);
	close(peer);
	buf_fini(&peer_in);
	remove_images();
	return done_testing();
}
