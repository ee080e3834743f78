#include "pffs/core/vmm.h"

#include "util/cleanup.h"
#include "util/io.h"
#include "wire/agent.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>

#define CREDIT_BATCH (LINK_WINDOW / 4)
#define ERRNO_MAX    4095
#define AGAIN_MS     50 /* until what there was no memory for is tried again */

struct request {
	struct link link;
	json_int_t seq;
	vmm_reply_fn *fn;
	void *ctx;
};

static void try_again(struct loop_timer *timer);

void vmm_init(struct vmm *vmm, struct loop *loop,
	      void (*broken)(struct vmm *vmm, const char *reason),
	      void (*uplink)(struct vmm *vmm, const json_t *event))
{
	*vmm = (struct vmm){.loop = loop,
			    .source = LOOP_SOURCE_NONE,
			    .next_seq = 1,
			    .broken = broken,
			    .uplink = uplink};
	list_init(&vmm->requests);
	list_init(&vmm->channels);
	loop_timer_init(&vmm->again, try_again);
}

bool vmm_connected(const struct vmm *vmm)
{
	return vmm->source.fd >= 0;
}

static void finish_request(struct request *request, json_t *reply, const struct error *err)
{
	list_del(&request->link);
	if (request->fn)
		request->fn(request->ctx, reply, err);
	free(request);
}

static void close_link(struct vmm *vmm, const char *why)
{
	struct error err;
	struct request *request;
	int fd = vmm->source.fd;

	if (fd < 0)
		return;
	loop_del(vmm->loop, &vmm->source);
	loop_timer_cancel(&vmm->again);
	vmm->doomed_count = 0;
	close(fd);
	buf_fini(&vmm->in);
	buf_fini(&vmm->out);
	vmm->greeted = false;
	error_say(&err, EIO, "the link to vmctl broke: %s", why);
	list_for_each (request, &vmm->requests, struct request, link)
		finish_request(request, NULL, &err);
}

void vmm_close(struct vmm *vmm)
{
	const struct timeval patience = {.tv_sec = 2};

	if (!vmm_connected(vmm))
		return;
	/* What was asked last, to destroy VMs, should still reach the peer. */
	setsockopt(vmm->source.fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (io_set_nonblock(vmm->source.fd, false) == 0)
		buf_flush(&vmm->out, vmm->source.fd);
	close_link(vmm, "pffs is ending");
}

/* End the link and tell everybody who depends on it. */
static void break_link(struct vmm *vmm, const char *why)
{
	struct error err;
	struct channel *channel;

	error_say(&err, EIO, "the link to vmctl broke: %s", why);
	close_link(vmm, why);
	/* The end of one may be that of others: forks that were being made with it. */
	while (!list_empty(&vmm->channels)) {
		channel = container_of(vmm->channels.next, struct channel, link);
		channel->lost(channel, err.text);
	}
	vmm->broken(vmm, err.text);
}

/* A failed write is followed by a hang-up on the same socket: the event loop ends
 * the link then, when no frame of it is being handled. */
static void flush_out(struct vmm *vmm)
{
	if (!vmm_connected(vmm))
		return;
	if (buf_flush(&vmm->out, vmm->source.fd) < 0)
		buf_fini(&vmm->out);
	loop_mod(vmm->loop, &vmm->source, EPOLLIN | (vmm->out.len ? EPOLLOUT : 0u));
}

/* Return: 0 or -ENOMEM. */
static int send_control(struct vmm *vmm, json_t *message, json_int_t seq)
{
	cleanup_free char *text = NULL;
	int r = -ENOMEM;

	if (message && json_object_set_new(message, "seq", json_integer(seq)) == 0)
		text = json_dumps(message, JSON_COMPACT);
	json_decref(message);
	if (text)
		r = link_put(&vmm->out, 0, LINK_CONTROL, text, strlen(text));
	return r;
}

/* What is on the list is answered once, whatever happens. */
static int send_request(struct vmm *vmm, json_t *message, vmm_reply_fn *fn, void *ctx)
{
	struct request *request;
	int r;

	request = vmm_connected(vmm) ? calloc(1, sizeof(*request)) : NULL;
	if (!request) {
		json_decref(message);
		return vmm_connected(vmm) ? -ENOMEM : -EIO;
	}
	*request = (struct request){.seq = vmm->next_seq++, .fn = fn, .ctx = ctx};
	r = send_control(vmm, message, request->seq);
	if (r < 0) {
		free(request);
		return r;
	}
	list_add_before(&vmm->requests, &request->link);
	flush_out(vmm);
	return 0;
}

void vmm_request(struct vmm *vmm, json_t *message, vmm_reply_fn *fn, void *ctx)
{
	int r = send_request(vmm, message, fn, ctx);
	struct error err;

	if (r == 0 || !fn)
		return;
	error_say(&err, -r,
		  r == -ENOMEM ? "no memory to ask vmctl" : "vmctl cannot be reached");
	fn(ctx, NULL, &err);
}

static json_t *pack_op(const char *op, uint32_t vm)
{
	return json_pack("{s:s, s:I}", "op", op, "vm", (json_int_t)vm);
}

void vmm_ask(struct vmm *vmm, const char *op, uint32_t vm, vmm_reply_fn *fn, void *ctx)
{
	vmm_request(vmm, pack_op(op, vm), fn, ctx);
}

static int send_destroy(struct vmm *vmm, uint32_t id)
{
	return send_request(vmm, pack_op("destroy", id), NULL, NULL);
}

static void again_soon(struct vmm *vmm)
{
	if (!vmm->again.deadline_ns)
		loop_timer_set(vmm->loop, &vmm->again, AGAIN_MS);
}

/* Nobody would ever ask for that again. */
void vmm_destroy(struct vmm *vmm, uint32_t id)
{
	if (send_destroy(vmm, id) != -ENOMEM || vmm->doomed_count == VMM_DOOMED_MAX)
		return;
	vmm->doomed[vmm->doomed_count++] = id;
	again_soon(vmm);
}

void vmm_resume(struct vmm *vmm, struct channel *channel, uint32_t id, uint64_t sent,
		uint64_t received)
{
	channel->vmm = vmm;
	channel->id = id;
	channel->credit = LINK_WINDOW;
	channel->sent = sent;
	channel->received = channel->credited = received;
	list_add_before(&vmm->channels, &channel->link);
}

void vmm_attach(struct vmm *vmm, struct channel *channel, uint32_t id)
{
	vmm_resume(vmm, channel, id, 0, 0);
}

void vmm_hand_over(struct channel *from, struct channel *to)
{
	vmm_resume(from->vmm, to, from->id, from->sent, from->received);
	to->credit = from->credit;
	to->credited = from->credited;
	to->out = from->out;
	from->out = (struct buf){0};
	vmm_detach(from);
}

void vmm_detach(struct channel *channel)
{
	if (!channel->vmm)
		return;
	list_del(&channel->link);
	channel->vmm = NULL;
	buf_fini(&channel->out);
}

_Static_assert(AGENT_HEADER + AGENT_PAYLOAD_MAX + LINK_WINDOW / 8 <= LINK_WINDOW &&
		   AGENT_HEADER + AGENT_PAYLOAD_MAX + CREDIT_BATCH <= LINK_WINDOW,
	       "there is credit for any frame, whatever of it is still owed");

void vmm_flush(struct channel *channel)
{
	struct agent_frame frame;

	if (!channel->vmm)
		return;
	while (agent_next(&channel->out, &frame, NULL) == 1) {
		size_t len = agent_frame_size(&frame);

		if (len > channel->credit ||
		    link_put(&channel->vmm->out, channel->id, LINK_DATA,
			     buf_peek(&channel->out), len) < 0)
			break;
		buf_consume(&channel->out, len);
		channel->credit -= (uint32_t)len;
		channel->sent += len;
	}
	flush_out(channel->vmm);
	if (!channel->out.len)
		channel->drained(channel);
}

static struct channel *find_channel(struct vmm *vmm, uint32_t id)
{
	struct channel *channel;

	list_for_each (channel, &vmm->channels, struct channel, link)
		if (channel->id == id)
			return channel;
	return NULL;
}

static void handle_event(struct vmm *vmm, json_t *message)
{
	const char *event = json_string_value(json_object_get(message, "event"));
	const char *reason = json_string_value(json_object_get(message, "reason"));
	json_int_t vm = json_integer_value(json_object_get(message, "vm"));
	struct channel *channel;

	if (event && strcmp(event, "uplink") == 0)
		vmm->uplink(vmm, message);
	channel = event ? find_channel(vmm, (uint32_t)vm) : NULL;
	if (channel && strcmp(event, "net") == 0)
		channel->net(channel, message);
	if (!channel || !reason || strcmp(event, "dead") != 0)
		return;
	vmm_detach(channel);
	channel->dead(channel, reason);
}

static void handle_reply(struct vmm *vmm, json_int_t seq, json_t *message)
{
	const char *text = json_string_value(json_object_get(message, "error"));
	json_int_t code = json_integer_value(json_object_get(message, "errno"));
	struct request *request;
	struct error err;

	list_for_each (request, &vmm->requests, struct request, link) {
		if (request->seq != seq)
			continue;
		if (text)
			error_say(&err, code > 0 && code <= ERRNO_MAX ? (int)code : EIO,
				  "%s", text);
		finish_request(request, text ? NULL : message, text ? &err : NULL);
		return;
	}
}

static void handle_control(struct vmm *vmm, const struct link_frame *frame)
{
	json_t *message = json_loadb((const char *)frame->payload, frame->len, 0, NULL);
	const json_t *seq = json_object_get(message, "seq");

	if (json_is_integer(seq))
		handle_reply(vmm, json_integer_value(seq), message);
	else if (json_is_object(message))
		handle_event(vmm, message);
	json_decref(message);
}

static void handle_data(struct vmm *vmm, const struct link_frame *frame)
{
	struct channel *channel = find_channel(vmm, frame->channel);

	/* Bytes of a VM that was just given up may still be on their way. */
	if (!channel)
		return;
	channel->received += frame->len;
	channel->data(channel, frame->payload, frame->len);
}

void vmm_took(struct channel *channel, size_t left)
{
	uint64_t taken = channel->received > left ? channel->received - left : 0;

	if (!channel->vmm || taken < channel->credited + CREDIT_BATCH)
		return;
	if (link_put_credit(&channel->vmm->out, channel->id,
			    (uint32_t)(taken - channel->credited)) < 0)
		return; /* the next frame tries again */
	channel->credited = taken;
	flush_out(channel->vmm);
}

static int handle_frame(struct vmm *vmm, const struct link_frame *frame, struct error *err)
{
	struct link_hello hello;
	struct channel *channel;
	uint32_t bytes;
	int r;

	if (!vmm->greeted) {
		r = link_get_hello(frame, &hello, err);
		vmm->greeted = r == 0;
		return r;
	}
	switch (frame->type) {
	case LINK_CONTROL:
		handle_control(vmm, frame);
		return 0;
	case LINK_DATA:
		handle_data(vmm, frame);
		return 0;
	case LINK_CREDIT:
		r = link_get_credit(frame, &bytes, err);
		channel = r == 0 ? find_channel(vmm, frame->channel) : NULL;
		if (channel && bytes <= LINK_WINDOW - channel->credit) {
			channel->credit += bytes;
			vmm_flush(channel);
		}
		return r;
	default:
		return error_say(err, EPROTO, "vmctl sent a frame out of place");
	}
}

static void handle_input(struct vmm *vmm)
{
	struct link_frame frame;
	struct error err;

	int r;

	while ((r = link_next(&vmm->in, &frame, &err)) == 1) {
		r = handle_frame(vmm, &frame, &err);
		if (r < 0)
			break;
		buf_consume(&vmm->in, link_frame_size(&frame));
	}
	if (r < 0)
		break_link(vmm, err.text);
	else
		flush_out(vmm);
}

static void try_again(struct loop_timer *timer)
{
	struct vmm *vmm = container_of(timer, struct vmm, again);

	while (vmm->doomed_count &&
	       send_destroy(vmm, vmm->doomed[vmm->doomed_count - 1]) == 0)
		vmm->doomed_count--;
	if (vmm->doomed_count)
		again_soon(vmm);
	flush_out(vmm); /* which listens again, too */
}

static void vmm_ready(struct loop_source *source, uint32_t revents)
{
	struct vmm *vmm = container_of(source, struct vmm, source);
	ssize_t n;

	if (revents & EPOLLOUT)
		flush_out(vmm);
	if (!vmm_connected(vmm) || !(revents & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	n = buf_fill(&vmm->in, source->fd, LINK_HEADER + LINK_PAYLOAD_MAX);
	if (n == -EAGAIN)
		return;
	if (n == -ENOMEM) {
		loop_mod(vmm->loop, source, 0);
		again_soon(vmm);
	} else if (n <= 0)
		break_link(vmm, n == 0 ? "vmctl ended" : strerror((int)-n));
	else
		handle_input(vmm);
}

int vmm_connect(struct vmm *vmm, int fd, struct error *err)
{
	uint8_t nonce[LINK_NONCE];
	int r = io_set_nonblock(fd, true);

	buf_fini(&vmm->out); /* of a former link, whose end has made somebody speak */
	if (r == 0 && getrandom(nonce, sizeof(nonce), 0) != sizeof(nonce))
		r = -EIO;
	if (r == 0)
		r = loop_add(vmm->loop, &vmm->source, fd, EPOLLIN, vmm_ready);
	if (r < 0) {
		close(fd);
		return error_set(err, -r, "cannot use the link to vmctl");
	}
	r = link_put_hello(&vmm->out, nonce);
	if (r == 0)
		flush_out(vmm);
	return r;
}
