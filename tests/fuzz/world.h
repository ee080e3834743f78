/*
 * A core with one sandbox, `a`, whose vmctl and guests are played.
 *
 * Theory of operation: vmctl and the guests are at the other end of a socket pair, and
 * answer at once what good ones would. A guest has no memory: what a file is its name says
 * (is_dir()), a handle reads as empty, and a run ends at once. world_turn() lets everybody
 * work until none has anything to do any more; it never waits.
 */
#pragma once

#include "pffs/core/sandbox.h"
#include "pffs/core/template.h"
#include "tests/fuzz/script.h"
#include "tests/unit/put_reply.h"
#include "util/io.h"
#include "wire/agent.h"
#include "wire/files.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORLD_VMS   64u
#define WORLD_TURNS 200 /* at most; a reader of events may be told for ever */
#define QUIET_TURNS 3
#define FILE_BYTES  5

struct played_guest {
	struct buf in;
	uint32_t left; /* bytes of the code of a run that are to come */
};

struct world {
	struct loop loop;
	struct core core;
	struct sandbox *box;
	int peer;
	struct buf in, out;
	uint32_t vms; /* so far; they are numbered from 1 */
	bool silent;  /* guests answer nothing but that they are awake */
	struct played_guest guests[WORLD_VMS + 1];
};

/* Of the link, a reply to what the core asked. */
static inline void world_reply(struct world *w, const json_t *asked, json_t *reply)
{
	char *text;

	json_object_set(reply, "seq", json_object_get(asked, "seq"));
	text = json_dumps(reply, JSON_COMPACT);
	link_put(&w->out, 0, LINK_CONTROL, text, strlen(text));
	free(text);
	json_decref(reply);
}

static inline json_t *world_vm(struct world *w)
{
	if (w->vms == WORLD_VMS)
		return NULL;
	return json_pack("{s:i, s:i}", "vm", (int)++w->vms, "pid", 1);
}

static inline void world_fork(struct world *w, const json_t *asked)
{
	size_t count = json_array_size(json_object_get(asked, "names"));
	bool twin = json_object_get(asked, "twin");
	json_t *vms = json_array(), *reply;

	if (w->vms + count + twin > WORLD_VMS) {
		world_reply(w, asked, json_pack("{s:s, s:i}", "error", "no", "errno", 12));
		json_decref(vms);
		return;
	}
	while (count--)
		json_array_append_new(vms, world_vm(w));
	reply = json_pack("{s:o, s:i}", "vms", vms, "pause_usec", 1);
	if (twin)
		json_object_set_new(reply, "twin", world_vm(w));
	world_reply(w, asked, reply);
}

static inline void world_say(struct world *w, uint32_t vm, const struct buf *frames)
{
	for (size_t at = 0; at < frames->len; at += LINK_PAYLOAD_MAX)
		link_put(&w->out, vm, LINK_DATA, buf_peek(frames) + at,
			 frames->len - at < LINK_PAYLOAD_MAX ? frames->len - at
							     : LINK_PAYLOAD_MAX);
}

static inline void world_create(struct world *w, const json_t *asked)
{
	json_t *made = world_vm(w);
	struct buf ready = {0};

	if (!made)
		made = json_pack("{s:s, s:i}", "error", "no", "errno", 12);
	world_reply(w, asked, made);
	agent_put(&ready, 1, 0, AGENT_READY, NULL, 0);
	world_say(w, w->vms, &ready);
	buf_fini(&ready);
}

static inline void world_asked(struct world *w, const struct link_frame *frame)
{
	json_t *asked = json_loadb((const char *)frame->payload, frame->len, 0, NULL);
	const char *op = json_string_value(json_object_get(asked, "op"));

	if (!op)
		abort();
	if (strcmp(op, "create") == 0)
		world_create(w, asked);
	else if (strcmp(op, "fork") == 0)
		world_fork(w, asked);
	else
		world_reply(w, asked, json_pack("{s:s}", "engine", "kvm"));
	json_decref(asked);
}

static inline bool is_dir(const char *path)
{
	const char *name = strrchr(path, '/');

	return !*path || (name ? name[1] : *path) == 'd';
}

static inline bool is_there(const char *path)
{
	const char *name = strrchr(path, '/');

	return (name ? name[1] : *path) != 'n';
}

/* What is to be made is there: its name begins with an e. */
static inline bool is_taken(const struct files_request *request)
{
	const char *path = request->op == FILES_LINK ? request->path2 : request->path;
	const char *name = path ? strrchr(path, '/') : NULL;

	if (request->op != FILES_MKDIR && request->op != FILES_MKNOD &&
	    request->op != FILES_SYMLINK && request->op != FILES_LINK)
		return false;
	return (name ? name[1] : *path) == 'e';
}

/* One reply that fits any request. */
static inline void world_serve(struct buf *out, const struct agent_frame *frame)
{
	static struct files_request request;
	struct files_reply reply = {.watch = -1, .handle = 1};

	if (files_get_request(frame, &request, NULL) < 0)
		abort();
	reply.error = request.path && !is_there(request.path) ? ENOENT : 0;
	if (is_taken(&request))
		reply.error = EEXIST;
	reply.has_attr = true;
	reply.attr = (struct files_attr){
	    .ino = strlen(request.path) + 1, .nlink = 1, .size = FILE_BYTES};
	reply.attr.mode = is_dir(request.path) ? S_IFDIR | 0755 : S_IFREG | 0644;
	reply.value = request.op == FILES_TREE	 ? 0
		      : request.op == FILES_LIST ? 1
						 : request.data_len;
	put_reply(out, frame->epoch, frame->stream, &reply);
}

static inline void world_end_run(struct buf *out, const struct agent_frame *frame)
{
	const struct agent_exit status = {.value = 3};

	agent_put(out, frame->epoch, frame->stream, AGENT_STARTED, NULL, 0);
	agent_put(out, frame->epoch, frame->stream, AGENT_STDOUT, "hi\n", 3);
	agent_put_exit(out, frame->epoch, frame->stream, &status);
	agent_put(out, frame->epoch, frame->stream, AGENT_CHANGES, "E", 1);
}

static inline void world_run(struct played_guest *guest, struct buf *out,
			     const struct agent_frame *frame)
{
	struct agent_run run;

	if (frame->type == AGENT_CODE)
		guest->left -= frame->len;
	else if (agent_get_run(frame, &run, NULL) == 0)
		guest->left = run.code_length;
	if (!guest->left)
		world_end_run(out, frame);
}

static inline void world_hear(struct world *w, struct played_guest *guest, struct buf *out,
			      const struct agent_frame *frame)
{
	const uint8_t yes = 1;
	struct agent_wake wake;

	if (frame->type == AGENT_WAKE && agent_get_wake(frame, &wake, NULL) == 0)
		agent_put(out, wake.epoch, 0, AGENT_AWAKE, NULL, 0);
	else if (w->silent)
		return;
	else if (frame->type == AGENT_FILES)
		world_serve(out, frame);
	else if (frame->type == AGENT_RUN || frame->type == AGENT_CODE)
		world_run(guest, out, frame);
	else if (frame->type == AGENT_HOLD && *frame->payload)
		agent_put(out, frame->epoch, 0, AGENT_HELD, &yes, 1);
	else if (frame->type == AGENT_RESET)
		agent_put(out, frame->epoch, 0, AGENT_RESET_DONE, NULL, 0);
}

static inline void world_data(struct world *w, const struct link_frame *frame)
{
	struct played_guest *guest = &w->guests[frame->channel];
	struct agent_frame said;
	struct buf out = {0};

	if (frame->channel > WORLD_VMS)
		abort();
	buf_append(&guest->in, frame->payload, frame->len);
	while (agent_next(&guest->in, &said, NULL) == 1) {
		world_hear(w, guest, &out, &said);
		buf_consume(&guest->in, agent_frame_size(&said));
	}
	world_say(w, frame->channel, &out);
	link_put_credit(&w->out, frame->channel, frame->len);
	buf_fini(&out);
}

/* What the core has sent. Return: whether there was something. */
static inline bool world_listen(struct world *w)
{
	struct link_frame frame;
	bool any = false;

	while (buf_fill(&w->in, w->peer, 65536) > 0)
		;
	while (link_next(&w->in, &frame, NULL) == 1) {
		any = true;
		if (frame.type == LINK_CONTROL)
			world_asked(w, &frame);
		else if (frame.type == LINK_DATA)
			world_data(w, &frame);
		buf_consume(&w->in, link_frame_size(&frame));
	}
	buf_flush(&w->out, w->peer);
	return any;
}

struct world_stop {
	struct loop_timer timer;
	struct loop *loop;
};

static inline void world_stopped(struct loop_timer *timer)
{
	loop_stop(container_of(timer, struct world_stop, timer)->loop);
}

/** world_step() - the loop handles what has come by now. */
static inline void world_step(struct world *w)
{
	struct world_stop stop = {.loop = &w->loop};

	loop_timer_init(&stop.timer, world_stopped);
	loop_timer_set(&w->loop, &stop.timer, 0);
	loop_run(&w->loop);
	loop_timer_cancel(&stop.timer);
}

/** world_turn() - everybody works until none has anything to do. */
static inline void world_turn(struct world *w)
{
	for (int quiet = 0, n = 0; quiet < QUIET_TURNS && n < WORLD_TURNS; n++) {
		world_step(w);
		quiet = world_listen(w) ? 0 : quiet + 1;
	}
}

static inline void world_linked(void *ctx, const struct error *err)
{
	(void)ctx;
	if (err)
		abort();
}

static inline void world_made(void *ctx, struct sandbox *const *children,
			      const struct error *err)
{
	struct world *w = ctx;

	if (err)
		abort();
	w->box = children[0];
}

/* The images' folder, which is made once. */
static inline const char *world_images(void)
{
	static char dir[128];
	char path[192];

	if (dir[0])
		return dir;
	snprintf(dir, sizeof(dir), "%s/images.XXXXXX", getenv("TMPDIR") ?: "/tmp");
	if (!mkdtemp(dir))
		abort();
	snprintf(path, sizeof(path), "%s/templates", dir);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/templates/default.erofs", dir);
	fclose(fopen(path, "w"));
	return dir;
}

/** world_begin() - @w: zeroed. */
static inline void world_begin(struct world *w)
{
	static const char *const names[] = {"a"};
	static const uint8_t nonce[LINK_NONCE];
	const struct core_options options = {.images = world_images(),
					     .memory_mib = 128,
					     .vcpus = 1,
					     .disk_mib = 64,
					     .ready_limit_ms = 60000};
	struct fork_order order = {.folder = FOLDER_ROOT, .names = names, .count = 1};
	struct error err;
	int fds[2];

	if (loop_init(&w->loop, &err) < 0 ||
	    core_init(&w->core, &w->loop, &options, &err) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
		abort();
	w->peer = fds[1];
	if (core_connect(&w->core, fds[0], world_linked, NULL, &err) < 0)
		abort();
	link_put_hello(&w->out, nonce);
	world_turn(w);
	if (template_fork(&w->core, 0, &order, world_made, w, &err) < 0)
		abort();
	world_turn(w);
	if (!w->box || strcmp(sandbox_state_name(w->box), "ready") != 0)
		abort();
}

static inline void world_end(struct world *w)
{
	core_fini(&w->core);
	world_step(w);
	loop_fini(&w->loop);
	close(w->peer);
	buf_fini(&w->in);
	buf_fini(&w->out);
	for (unsigned i = 0; i <= WORLD_VMS; i++)
		buf_fini(&w->guests[i].in);
}
