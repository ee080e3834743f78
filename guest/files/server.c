/*
 * Theory of operation
 *
 * Threads take turns: who has the turn waits for a request, reads it, passes the turn on
 * and serves the request. So there is no queue but the socket, and a request that takes
 * long holds nobody up. When nobody waits for the turn there is one thread more, up to
 * THREADS_MAX; who has waited for it for IDLE_SECS ends. The first thread stays, for
 * /proc/self/fd, the working directory, is its.
 *
 * Each thread reads its requests and builds its replies in memory of its own. A reply's
 * data are put where they are in the frame, so that a reply is one write.
 */
#include "guest/files/call.h"
#include "guest/files/lock.h"
#include "guest/files/wait.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define IDLE_SECS 5
#define STACK	  (4u << 20) /* of which tree_walk() takes some for each directory */

static struct server server; /* one in a process */

static void *serve(void *first);

/* Return: false when the socket has ended. */
static bool read_all(void *to, size_t len)
{
	uint8_t *at = to;

	while (len) {
		ssize_t n = recv(server.fd, at, len, MSG_WAITALL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

/* Read the next frame into @call. Return: false when there are none any more. */
static bool read_frame(struct call *call, struct agent_frame *frame)
{
	struct buf in = {.data = call->frame, .len = AGENT_HEADER};
	struct cursor c = cursor_over(call->frame, AGENT_HEADER);
	uint32_t len;

	if (!read_all(call->frame, AGENT_HEADER))
		return false;
	len = cursor_get_u32(&c);
	if (len > AGENT_PAYLOAD_MAX || !read_all(call->frame + AGENT_HEADER, len))
		return false;
	in.len += len;
	return agent_next(&in, frame, NULL) == 1;
}

static void begin_epoch(uint16_t epoch)
{
	if (epoch == server.epoch)
		return;
	handles_drop(&server, epoch);
	waits_drop(&server);
	locks_drop(&server);
	watches_drop(&server);
}

/* The frame of @reply is completed in front of its data, see files_put_reply_head().
 * Who calls this has server.writing. */
static void send_reply(uint16_t epoch, uint32_t stream, const struct files_reply *reply,
		       uint8_t *data)
{
	size_t head = files_put_reply_head(data, epoch, stream, reply);

	if (io_write_all(server.fd, data - head, head + reply->data_len) < 0)
		_exit(1);
}

static void send_frame(uint32_t stream, enum agent_type type, const void *payload,
		       size_t len)
{
	uint8_t header[AGENT_HEADER];

	agent_put_header(header, server.epoch, stream, type, len);
	pthread_mutex_lock(&server.writing);
	if (io_write_all(server.fd, header, sizeof(header)) < 0 ||
	    io_write_all(server.fd, payload, len) < 0)
		_exit(1);
	pthread_mutex_unlock(&server.writing);
}

static void send_changes(void *stream, const void *payload, size_t len)
{
	send_frame(*(const uint32_t *)stream, AGENT_CHANGES, payload, len);
}

/* A run is about to start, or has ended. */
static void serve_run(const struct agent_frame *frame)
{
	uint32_t stream = frame->stream;

	if (frame->type == AGENT_RUN) {
		changes_begin(&server.changes, stream);
		send_frame(stream, AGENT_STARTED, NULL, 0);
	} else if (frame->type == AGENT_EXIT && frame->len == 1) {
		changes_end(&server.changes, stream, frame->payload[0], send_changes,
			    &stream);
	}
}

void server_reply(uint16_t epoch, uint32_t stream, const struct files_reply *reply)
{
	uint8_t room[FILES_REPLY_HEAD];

	pthread_mutex_lock(&server.writing);
	send_reply(epoch, stream, reply, room + sizeof(room));
	pthread_mutex_unlock(&server.writing);
}

/* Who has the answer may close the handle, and shall find that nobody uses it. */
static void finish(struct call *call)
{
	call_settle(call);
	call_end(call);
}

/* With a watch, what the reply says is read when its turn has come: see settle.c. */
static void answer(struct call *call)
{
	bool in_order = call->req.flags & FILES_WATCH;

	if (!in_order)
		finish(call);
	pthread_mutex_lock(&server.writing);
	if (in_order)
		finish(call);
	send_reply(call->epoch, call->stream, &call->reply, call->data);
	pthread_mutex_unlock(&server.writing);
}

static void serve_request(struct call *call, const struct agent_frame *frame)
{
	const struct files_reply malformed = {.error = EPROTO, .watch = -1};

	if (files_get_request(frame, &call->req, NULL) < 0) {
		server_reply(call->epoch, call->stream, &malformed);
		return;
	}
	call_begin(call);
	if (call_serve(call) == CALL_GOES_ON)
		call_end(call);
	else
		answer(call);
}

static void serve_frame(struct call *call, const struct agent_frame *frame)
{
	if (frame->type == AGENT_FILES)
		serve_request(call, frame);
	else if (frame->type == AGENT_FILES_CANCEL)
		wait_cancel(&server, frame->stream);
	else
		serve_run(frame);
}

/* While this thread has the turn: who reads what comes next knows of this request. */
static void begin_call(struct call *call, const struct agent_frame *frame)
{
	begin_epoch(frame->epoch);
	pthread_mutex_lock(&server.lock);
	call->stream = frame->type == AGENT_FILES ? frame->stream : 0;
	call->epoch = frame->epoch;
	call->cancelled = false;
	pthread_mutex_unlock(&server.lock);
}

static void add_thread(void)
{
	pthread_attr_t attr;
	pthread_t thread;

	if (atomic_load(&server.waiting) || atomic_load(&server.threads) >= THREADS_MAX)
		return;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK);
	atomic_fetch_add(&server.threads, 1);
	if (pthread_create(&thread, &attr, serve, NULL) != 0)
		atomic_fetch_sub(&server.threads, 1);
	pthread_attr_destroy(&attr);
}

/* Return: whether this thread has the turn; it has not when it should end. */
static bool take_turn(bool first)
{
	struct timespec until;
	int r;

	atomic_fetch_add(&server.waiting, 1);
	if (first) {
		r = pthread_mutex_lock(&server.turn);
	} else {
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += IDLE_SECS;
		r = pthread_mutex_clocklock(&server.turn, CLOCK_MONOTONIC, &until);
	}
	atomic_fetch_sub(&server.waiting, 1);
	return r == 0;
}

static struct call *call_new(void)
{
	struct call *call = calloc(1, sizeof(*call));
	uint8_t *room =
	    malloc(AGENT_HEADER + AGENT_PAYLOAD_MAX + FILES_REPLY_HEAD + FILES_IO_MAX);

	if (!call || !room) {
		free(call);
		free(room);
		return NULL;
	}
	call->server = &server;
	call->fd = -1;
	call->frame = room;
	call->data = room + AGENT_HEADER + AGENT_PAYLOAD_MAX + FILES_REPLY_HEAD;
	pthread_mutex_lock(&server.lock);
	list_add_before(&server.calls, &call->link);
	pthread_mutex_unlock(&server.lock);
	return call;
}

static void call_free(struct call *call)
{
	if (!call)
		return;
	pthread_mutex_lock(&server.lock);
	list_del(&call->link);
	pthread_mutex_unlock(&server.lock);
	free(call->frame);
	free(call);
}

static void *serve(void *first)
{
	struct call *call = call_new();
	struct agent_frame frame;

	if (!call && first)
		_exit(1);
	while (call && take_turn(first)) {
		if (!read_frame(call, &frame))
			_exit(0);
		begin_call(call, &frame);
		add_thread();
		pthread_mutex_unlock(&server.turn);
		serve_frame(call, &frame);
	}
	call_free(call);
	atomic_fetch_sub(&server.threads, 1);
	return NULL;
}

void files_serve(const struct files_config *config)
{
	server.fd = config->fd;
	server.root = config->root;
	server.inotify = config->inotify;
	server.shared = config->shared;
	server.dirty = config->dirty;
	changes_init(&server.changes, &config->layers);
	pthread_mutex_init(&server.turn, NULL);
	pthread_mutex_init(&server.writing, NULL);
	pthread_mutex_init(&server.lock, NULL);
	list_init(&server.calls);
	list_init(&server.holders);
	watches_init(&server);
	waits_init(&server);
	server.threads = 1;
	signal(SIGPIPE, SIG_IGN);
	umask(0);
	mallopt(M_ARENA_MAX, 1);
	prctl(PR_SET_NAME, FILES_SERVER_NAME);
	if (chdir("/proc/self/fd") < 0)
		_exit(1);
	serve(&server);
	_exit(0);
}
