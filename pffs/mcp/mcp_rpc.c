#include "pffs/mcp/mcp_rpc.h"

#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define READ_MAX    (64u << 10)
#define MESSAGE_MAX 512

void rpc_init(struct rpc *rpc, int in, int out)
{
	*rpc = (struct rpc){.in = in, .out = out};
	pthread_mutex_init(&rpc->lock, NULL);
}

static bool is_blank(const char *text, size_t len)
{
	while (len && strchr(" \t\r", *text) && *text) {
		text++;
		len--;
	}
	return len == 0;
}

/* The lines that are whole now. */
static void take_lines(struct rpc *rpc,
		       void (*line)(void *ctx, const char *text, size_t len), void *ctx)
{
	const char *text, *end;

	while (rpc->unread.len > rpc->scanned) {
		size_t len = rpc->unread.len;

		text = (const char *)buf_peek(&rpc->unread);
		end = memchr(text + rpc->scanned, '\n', len - rpc->scanned);
		if (!end && len <= RPC_LINE_MAX) {
			rpc->scanned = len;
			return;
		}
		if (end)
			len = (size_t)(end - text);
		if (len > RPC_LINE_MAX && !rpc->skipping)
			line(ctx, "", 0);
		else if (!rpc->skipping && !is_blank(text, len))
			line(ctx, text, len);
		rpc->skipping = !end;
		buf_consume(&rpc->unread, end ? len + 1 : len);
		rpc->scanned = 0;
	}
}

int rpc_read(struct rpc *rpc, void (*line)(void *ctx, const char *text, size_t len),
	     void *ctx)
{
	void *to = buf_reserve(&rpc->unread, READ_MAX);
	ssize_t n;

	if (!to)
		return -ENOMEM;
	n = read(rpc->in, to, READ_MAX);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 1 : -errno;
	if (n == 0) {
		if (rpc->unread.len && !rpc->skipping)
			buf_append(&rpc->unread, "\n", 1);
		take_lines(rpc, line, ctx);
		return 0;
	}
	rpc->unread.len += (size_t)n;
	take_lines(rpc, line, ctx);
	return 1;
}

static void put(struct rpc *rpc, json_t *message)
{
	cleanup_free char *text = json_dumps(message, JSON_COMPACT);
	size_t len = text ? strlen(text) : 0;

	json_decref(message);
	if (!text)
		return;
	text[len] = '\n'; /* where its end was */
	pthread_mutex_lock(&rpc->lock);
	if (!rpc->gone && io_write_all_wait(rpc->out, text, len + 1) < 0)
		rpc->gone = true;
	pthread_mutex_unlock(&rpc->lock);
}

struct rpc_batch *rpc_batch_begin(struct rpc *rpc)
{
	struct rpc_batch *batch = calloc(1, sizeof(*batch));

	if (!batch)
		return NULL; /* they are answered one by one, then */
	*batch = (struct rpc_batch){.rpc = rpc, .answers = json_array(), .left = 1};
	return batch;
}

void rpc_batch_join(struct rpc_request *request, struct rpc_batch *batch)
{
	request->batch = batch;
	if (!batch)
		return;
	pthread_mutex_lock(&batch->rpc->lock);
	batch->left++;
	pthread_mutex_unlock(&batch->rpc->lock);
}

/* One has come of @batch: @answer, or NULL. */
static void batch_leave(struct rpc_batch *batch, json_t *answer)
{
	struct rpc *rpc = batch->rpc;
	bool last;

	pthread_mutex_lock(&rpc->lock);
	if (answer)
		json_array_append_new(batch->answers, answer);
	last = --batch->left == 0;
	pthread_mutex_unlock(&rpc->lock);
	if (!last)
		return;
	if (json_array_size(batch->answers))
		put(rpc, batch->answers);
	else
		json_decref(batch->answers);
	free(batch);
}

void rpc_batch_end(struct rpc_batch *batch)
{
	if (batch)
		batch_leave(batch, NULL);
}

static void finish(struct rpc_request *request, const char *key, json_t *value)
{
	json_t *id = request->id ? request->id : json_null();
	json_t *message =
	    json_pack("{s:s, s:o, s:o}", "jsonrpc", "2.0", "id", id, key, value);

	request->id = NULL;
	if (request->batch)
		batch_leave(request->batch, message);
	else
		put(request->rpc, message);
}

void rpc_answer(struct rpc_request *request, json_t *result)
{
	finish(request, "result", result);
}

void rpc_refuse(struct rpc_request *request, int code, json_t *data, const char *fmt, ...)
{
	char text[MESSAGE_MAX];
	json_t *error, *message;
	va_list args;

	va_start(args, fmt);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it is initialised above */
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	message = json_string(text);
	if (!message) /* a character was cut in two */
		message = json_string("the request cannot be answered");
	error = json_pack("{s:i, s:o}", "code", code, "message", message);
	if (data)
		json_object_set_new(error, "data", data);
	finish(request, "error", error);
}

void rpc_drop(struct rpc_request *request)
{
	json_decref(request->id);
	request->id = NULL;
	if (request->batch)
		batch_leave(request->batch, NULL);
}

void rpc_notify(struct rpc *rpc, const char *method, json_t *params)
{
	put(rpc, json_pack("{s:s, s:s, s:o}", "jsonrpc", "2.0", "method", method, "params",
			   params));
}
