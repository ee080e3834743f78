/*
 * For tests: a core whose vmctl and guests the test plays over a socket pair.
 */
#pragma once

#include "pffs/core/sandbox.h"
#include "tests/unit/tap.h"
#include "util/io.h"
#include "wire/agent.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHANNELS    128
#define TEMPLATE_VM 4u

/* How long the core gets for what it was just sent. */
#ifndef SPIN_MS
#define SPIN_MS 20
#endif

static struct loop loop;
static struct core core;
static struct buf channels[CHANNELS]; /* likewise, what went to each VM */
static json_t *asked;		      /* the newest request */
static uint16_t epoch = 1;	      /* of the frames that the guests send */
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
	struct buf left = {0};

	buf_append(&left, buf_peek(frames), frames->len);
	do {
		if (buf_flush(&left, peer) < 0)
			exit(1);
		spin(SPIN_MS);
	} while (left.len);
	buf_fini(&left);
}

static void send_control(const char *text)
{
	struct buf out = {0};

	link_put(&out, 0, LINK_CONTROL, text, strlen(text));
	send_frames(&out);
	buf_fini(&out);
}

/* One agent frame from the guest of @vm. */
static void say(uint32_t vm, uint32_t stream, enum agent_type type, const void *payload,
		size_t len)
{
	struct buf agent = {0}, out = {0};

	agent_put(&agent, epoch, stream, type, payload, len);
	for (size_t at = 0; at < agent.len; at += LINK_PAYLOAD_MAX)
		link_put(&out, vm, LINK_DATA, buf_peek(&agent) + at,
			 agent.len - at < LINK_PAYLOAD_MAX ? agent.len - at
							   : LINK_PAYLOAD_MAX);
	send_frames(&out);
	buf_fini(&agent);
	buf_fini(&out);
}

__attribute__((unused)) static void say_exit(uint32_t vm, uint32_t stream, uint8_t signaled,
					     uint8_t value)
{
	say(vm, stream, AGENT_EXIT, (uint8_t[]){signaled, value}, 2);
}

/* Take up what the core has sent since the last look. */
static void listen_to_core(void)
{
	struct link_frame frame;

	while (buf_fill(&peer_in, peer, 65536) > 0)
		;
	while (link_next(&peer_in, &frame, NULL) == 1) {
		if (frame.type == LINK_DATA && frame.channel < CHANNELS)
			buf_append(&channels[frame.channel], frame.payload, frame.len);
		if (frame.type == LINK_CONTROL) {
			json_decref(asked);
			asked = json_loadb((const char *)frame.payload, frame.len, 0, NULL);
		}
		buf_consume(&peer_in, link_frame_size(&frame));
	}
}

/* The operation that the core has asked for last. */
static const char *asked_for(void)
{
	listen_to_core();
	return json_string_value(json_object_get(asked, "op"));
}

/* Answer that; @body begins with a comma, or is empty. */
__attribute__((unused)) static void answer_newest(const char *body)
{
	char text[256];

	listen_to_core();
	snprintf(text, sizeof(text), "{\"seq\":%d%s}",
		 (int)json_integer_value(json_object_get(asked, "seq")), body);
	send_control(text);
}

/* All agent frames of one type that the core has sent to @vm since the last look; the
 * streams they were for go to @streams. */
__attribute__((unused)) static int heard(uint32_t vm, enum agent_type type,
					 uint32_t streams[8])
{
	struct buf *agent = &channels[vm];
	struct agent_frame said;
	int count = 0;

	listen_to_core();
	while (agent_next(agent, &said, NULL) == 1) {
		if (said.type == type && count < 8)
			streams[count++] = said.stream;
		buf_consume(agent, agent_frame_size(&said));
	}
	buf_fini(agent);
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

	make_images();
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
	is_str(asked_for(), "stat", "and asks who is there");
	answer_newest(",\"engine\":\"kvm\"");
	is_str(core.engine, "kvm", "the engine is known");
	is_str(asked_for(), "create", "and the default template boots");
}

/* Its machine is TEMPLATE_VM. */
__attribute__((unused)) static void boot_template(void)
{
	answer_newest(",\"vm\":4,\"pid\":1");
	say(TEMPLATE_VM, 0, AGENT_READY, NULL, 0);
	is_str(asked_for(), "park", "the machine of the template is parked");
	answer_newest("");
	is_str(asked_for(), "fork", "and forked");
}

/* A run of Python, which waits for its turn. */
__attribute__((unused)) static struct run *submit(struct sandbox *sb, const char *code)
{
	struct run *run = sandbox_begin_run(sb, AGENT_PYTHON, NULL);

	run_write(run, code, strlen(code));
	sandbox_submit_run(run);
	spin(5);
	return run;
}

static void end_world(void)
{
	core_fini(&core);
	loop_fini(&loop);
	close(peer);
	buf_fini(&peer_in);
	for (int i = 0; i < CHANNELS; i++)
		buf_fini(&channels[i]);
	json_decref(asked);
	remove_images();
}
