#include "vmctl/qmp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define QMP_PIECE 4096u /* bytes read at a time */

struct qmp_call {
	struct link link;
	void (*done)(void *ctx, const char *error);
	void *ctx;
};

static void lose(struct qmp *qmp, const char *how)
{
	if (qmp->source.fd < 0)
		return;
	loop_del(qmp->loop, &qmp->source);
	loop_timer_cancel(&qmp->deadline);
	qmp->on_lost(qmp, how);
}

static void on_deadline(struct loop_timer *timer)
{
	lose(container_of(timer, struct qmp, deadline), "does not answer its monitor");
}

static void watch(struct qmp *qmp)
{
	if (list_empty(&qmp->calls))
		loop_timer_cancel(&qmp->deadline);
	else
		loop_timer_set(qmp->loop, &qmp->deadline, QMP_DEADLINE_MS);
	loop_mod(qmp->loop, &qmp->source, EPOLLIN | (qmp->out.len ? EPOLLOUT : 0u));
}

/* Return: 0, or -EPROTO for an answer to nothing. */
static int take_answer(struct qmp *qmp, const json_t *error)
{
	const char *sentence = json_string_value(json_object_get(error, "desc"));
	struct qmp_call *call;

	if (list_empty(&qmp->calls))
		return -EPROTO;
	call = container_of(qmp->calls.next, struct qmp_call, link);
	list_del(&call->link);
	if (error && !sentence)
		sentence = "QEMU gave no reason";
	call->done(call->ctx, error ? sentence : NULL);
	free(call);
	return 0;
}

static int take_line(struct qmp *qmp, const char *line, size_t len)
{
	json_t *message = json_loadb(line, len, 0, NULL);
	const json_t *error = json_object_get(message, "error");
	int r = json_is_object(message) ? 0 : -EPROTO;

	if (error || json_object_get(message, "return"))
		r = take_answer(qmp, error);
	json_decref(message);
	return r;
}

static int take_lines(struct qmp *qmp)
{
	int r = 0;

	while (r == 0 && qmp->in.len) {
		const char *from = (const char *)buf_peek(&qmp->in);
		const char *end = memchr(from, '\n', qmp->in.len);

		if (!end)
			return qmp->in.len > QMP_LINE_MAX ? -EPROTO : 0;
		r = take_line(qmp, from, (size_t)(end - from));
		buf_consume(&qmp->in, (size_t)(end - from) + 1);
	}
	return r;
}

static void on_monitor(struct loop_source *source, uint32_t revents)
{
	struct qmp *qmp = container_of(source, struct qmp, source);
	ssize_t n = 1;

	if (revents & EPOLLOUT && buf_flush(&qmp->out, source->fd) < 0)
		n = 0;
	if (n && revents & (EPOLLIN | EPOLLHUP | EPOLLERR))
		n = buf_fill(&qmp->in, source->fd, QMP_PIECE);
	if (n == 0 || (n < 0 && n != -EAGAIN)) {
		loop_del(qmp->loop, source);
		loop_timer_cancel(&qmp->deadline);
	} else if (take_lines(qmp) < 0) {
		lose(qmp, "speaks no QMP");
	} else {
		watch(qmp);
	}
}

static void ignore_answer(void *ctx, const char *error)
{
	(void)ctx;
	(void)error;
}

int qmp_init(struct qmp *qmp, struct loop *loop, int fd,
	     void (*on_lost)(struct qmp *qmp, const char *how))
{
	int r;

	*qmp = (struct qmp){.loop = loop, .source = LOOP_SOURCE_NONE, .on_lost = on_lost};
	list_init(&qmp->calls);
	loop_timer_init(&qmp->deadline, on_deadline);
	r = loop_add(loop, &qmp->source, fd, EPOLLIN, on_monitor);
	if (r == 0)
		r = qmp_execute(qmp, "qmp_capabilities", json_object(), ignore_answer,
				NULL);
	return r;
}

void qmp_fini(struct qmp *qmp)
{
	struct qmp_call *call;

	list_for_each (call, &qmp->calls, struct qmp_call, link) {
		list_del(&call->link);
		free(call);
	}
	loop_timer_cancel(&qmp->deadline);
	loop_del(qmp->loop, &qmp->source);
	buf_fini(&qmp->in);
	buf_fini(&qmp->out);
}

int qmp_execute(struct qmp *qmp, const char *command, json_t *arguments,
		void (*done)(void *ctx, const char *error), void *ctx)
{
	json_t *message =
	    json_pack("{s:s, s:o}", "execute", command, "arguments", arguments);
	char *text = json_dumps(message, JSON_COMPACT);
	struct qmp_call *call = calloc(1, sizeof(*call));
	int r = -ENOMEM;

	if (text && call && buf_append(&qmp->out, text, strlen(text)) == 0)
		r = buf_append(&qmp->out, "\n", 1);
	free(text);
	json_decref(message);
	if (r < 0) {
		free(call);
		return r;
	}
	call->done = done;
	call->ctx = ctx;
	list_add_before(&qmp->calls, &call->link);
	watch(qmp);
	return 0;
}
