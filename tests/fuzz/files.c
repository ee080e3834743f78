/*
 * Fuzz target: a host's bytes through the request decoder and the file server's
 * operations, on a folder that is made anew now and then; a guest's bytes through the
 * reply decoders. Besides staying inside the input, what a decoder takes must be
 * canonical, and what the server answers must be a reply that the host takes.
 */
#include "guest/files/call.h"
#include "guest/files/lock.h"
#include "guest/files/wait.h"
#include "tests/unit/put_reply.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define RUNS_PER_FOLDER 500

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[256];
static struct server server;
static struct files_shared shared;
static uint8_t room[FILES_REPLY_HEAD + FILES_IO_MAX];

/* The server's main file, which this stands in for, has it. */
void server_reply(uint16_t epoch, uint32_t stream, const struct files_reply *reply)
{
	(void)epoch;
	(void)stream;
	(void)reply;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void make_folder(void)
{
	if (server.root > 0) {
		close(server.root);
		nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	}
	snprintf(folder, sizeof(folder), "%s/files.XXXXXX", getenv("TMPDIR") ?: "/tmp");
	if (!mkdtemp(folder))
		abort();
	server.root = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (mkdirat(server.root, "d", 0755) || symlinkat("/", server.root, "l") ||
	    mkfifoat(server.root, "p", 0644) || server.root < 0)
		abort();
	close(openat(server.root, "f", O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
}

static void begin(void)
{
	server.shared = &shared;
	server.inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	pthread_mutex_init(&server.lock, NULL);
	list_init(&server.calls);
	list_init(&server.holders);
	watches_init(&server);
	waits_init(&server);
	umask(0);
	if (chdir("/proc/self/fd") < 0)
		abort();
}

/* What one input opened does not outlive it: inputs shall be repeatable. */
static void end_input(void)
{
	handles_drop(&server, server.epoch);
	locks_drop(&server);
}

static void check_reply(const struct call *call)
{
	size_t head = files_put_reply_head(room + FILES_REPLY_HEAD, 0, 1, &call->reply);
	struct buf out = {.data = room + FILES_REPLY_HEAD - head,
			  .len = head + call->reply.data_len};
	struct agent_frame frame;
	struct files_reply reply;
	struct files_entry entry;
	struct cursor c;
	int r;

	if (agent_next(&out, &frame, NULL) != 1 ||
	    files_get_reply(&frame, &reply, NULL) < 0)
		abort();
	c = cursor_over(reply.data, reply.data_len);
	if (call->req.op != FILES_LIST || reply.error)
		return;
	while ((r = files_get_entry(&c, &entry)) > 0)
		;
	if (r < 0)
		abort();
}

static void serve(const struct agent_frame *frame, const uint8_t *raw)
{
	static struct call call;
	struct buf again = {0};

	call.server = &server;
	call.data = room + FILES_REPLY_HEAD;
	call.stream = frame->stream;
	if (files_get_request(frame, &call.req, NULL) < 0)
		return;
	files_put_request(&again, frame->epoch, frame->stream, &call.req);
	if (again.len != agent_frame_size(frame) ||
	    memcmp(buf_peek(&again), raw, again.len) != 0)
		abort();
	buf_fini(&again);
	call.req.flags &= ~FILES_WAIT; /* for a lock that nobody gives back */
	/* Files of any length are sparse, but not when they are allocated. */
	if (call.req.op == FILES_FALLOCATE || call.req.op == FILES_COPY)
		call.req.size &= 0xfffff;
	call_begin(&call);
	if (call_serve(&call) != CALL_GOES_ON) {
		call_settle(&call);
		check_reply(&call);
	}
	call_end(&call);
}

static void take_reply(const struct agent_frame *frame, const uint8_t *raw)
{
	struct buf again = {0};
	struct files_reply reply;
	struct files_entry entry;
	struct files_statfs st;
	struct cursor c;

	if (files_get_reply(frame, &reply, NULL) < 0)
		return;
	put_reply(&again, frame->epoch, frame->stream, &reply);
	if (again.len != agent_frame_size(frame) ||
	    memcmp(buf_peek(&again), raw, again.len) != 0)
		abort();
	buf_fini(&again);
	files_get_statfs(&reply, &st);
	c = cursor_over(reply.data, reply.data_len);
	while (files_get_entry(&c, &entry) > 0)
		if (!files_path_ok(entry.name) || strchr(entry.name, '/'))
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static unsigned int runs;
	struct buf in = {0};
	struct agent_frame frame;

	if (!runs)
		begin();
	if (runs++ % RUNS_PER_FOLDER == 0)
		make_folder();
	/* Not buf_append(): memory of the exact size shows a read past its end. */
	in.data = malloc(size ? size : 1);
	if (!in.data)
		return 0;
	memcpy(in.data, data, size);
	in.len = in.room = size;
	while (agent_next(&in, &frame, NULL) == 1) {
		if (frame.type == AGENT_FILES)
			serve(&frame, buf_peek(&in));
		else if (frame.type == AGENT_FILES_REPLY)
			take_reply(&frame, buf_peek(&in));
		buf_consume(&in, agent_frame_size(&frame));
	}
	end_input();
	buf_fini(&in);
	return 0;
}
