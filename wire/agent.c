#include "wire/agent.h"

#include <errno.h>
#include <string.h>

static bool is_type(uint8_t type)
{
	return (type >= AGENT_WAKE && type <= AGENT_PORT_CLOSE) ||
	       (type >= AGENT_READY && type <= AGENT_PORT_CLOSED);
}

int agent_next(const struct buf *in, struct agent_frame *frame, struct error *err)
{
	struct cursor c = cursor_over(buf_peek(in), in->len);
	uint8_t zero;

	if (in->len < AGENT_HEADER)
		return 0;
	frame->len = cursor_get_u32(&c);
	frame->stream = cursor_get_u32(&c);
	frame->type = cursor_get_u8(&c);
	zero = cursor_get_u8(&c);
	frame->epoch = cursor_get_u16(&c);
	if (frame->len > AGENT_PAYLOAD_MAX || zero || !is_type(frame->type))
		return error_say(err, EPROTO, "bytes on the agent port are not a frame");
	frame->payload = cursor_get_raw(&c, frame->len);
	return frame->payload ? 1 : 0;
}

void agent_put_header(uint8_t *at, uint16_t epoch, uint32_t stream, enum agent_type type,
		      size_t len)
{
	struct cursor c = cursor_into(at, AGENT_HEADER);

	cursor_put_u32(&c, (uint32_t)len);
	cursor_put_u32(&c, stream);
	cursor_put_u8(&c, (uint8_t)type);
	cursor_put_u8(&c, 0);
	cursor_put_u16(&c, epoch);
}

int agent_put(struct buf *out, uint16_t epoch, uint32_t stream, enum agent_type type,
	      const void *payload, size_t len)
{
	uint8_t *at;

	if (len > AGENT_PAYLOAD_MAX)
		return -EMSGSIZE;
	at = buf_reserve(out, AGENT_HEADER + len);
	if (!at)
		return -ENOMEM;
	agent_put_header(at, epoch, stream, type, len);
	if (len)
		memcpy(at + AGENT_HEADER, payload, len);
	out->len += AGENT_HEADER + len;
	return 0;
}

static struct cursor payload_of(const struct agent_frame *frame)
{
	return cursor_over(frame->payload, frame->len);
}

static int finish(const struct cursor *c, const char *what, struct error *err)
{
	if (cursor_done(c))
		return 0;
	return error_say(err, EPROTO, "a %s frame on the agent port is malformed", what);
}

int agent_put_wake(struct buf *out, const struct agent_wake *wake)
{
	uint8_t payload[2 + 8 + AGENT_ENTROPY + 4 + AGENT_NAME_MAX + 4 + AGENT_ID_MAX + 1];
	struct cursor c = cursor_into(payload, sizeof(payload));

	cursor_put_u16(&c, wake->epoch);
	cursor_put_u64(&c, wake->realtime_ns);
	cursor_put_raw(&c, wake->entropy, AGENT_ENTROPY);
	cursor_put_bytes(&c, wake->hostname, strlen(wake->hostname));
	cursor_put_bytes(&c, wake->id, strlen(wake->id));
	cursor_put_u8(&c, wake->frozen);
	if (c.overflow)
		return -EMSGSIZE;
	return agent_put(out, wake->epoch, 0, AGENT_WAKE, payload,
			 sizeof(payload) - cursor_left(&c));
}

int agent_get_wake(const struct agent_frame *frame, struct agent_wake *wake,
		   struct error *err)
{
	struct cursor c = payload_of(frame);
	const void *entropy;

	wake->epoch = cursor_get_u16(&c);
	wake->realtime_ns = cursor_get_u64(&c);
	entropy = cursor_get_raw(&c, AGENT_ENTROPY);
	if (entropy)
		memcpy(wake->entropy, entropy, AGENT_ENTROPY);
	cursor_get_string(&c, wake->hostname, sizeof(wake->hostname));
	cursor_get_string(&c, wake->id, sizeof(wake->id));
	wake->frozen = cursor_get_u8(&c);
	if (wake->frozen > 1)
		c.overflow = true;
	return finish(&c, "wake", err);
}

int agent_put_run(struct buf *out, uint16_t epoch, uint32_t stream,
		  const struct agent_run *run)
{
	uint8_t payload[6];
	struct cursor c = cursor_into(payload, sizeof(payload));

	cursor_put_u8(&c, run->language);
	cursor_put_u8(&c, run->stdin_open);
	cursor_put_u32(&c, run->code_length);
	return agent_put(out, epoch, stream, AGENT_RUN, payload, sizeof(payload));
}

int agent_get_run(const struct agent_frame *frame, struct agent_run *run, struct error *err)
{
	struct cursor c = payload_of(frame);

	run->language = cursor_get_u8(&c);
	run->stdin_open = cursor_get_u8(&c);
	run->code_length = cursor_get_u32(&c);
	if (run->language < AGENT_PYTHON || run->language > AGENT_SCRIPT ||
	    run->stdin_open > 1 || run->code_length > AGENT_CODE_MAX)
		c.overflow = true;
	return finish(&c, "run", err);
}

int agent_put_signal(struct buf *out, uint16_t epoch, uint32_t stream,
		     enum agent_signal signal)
{
	uint8_t payload = (uint8_t)signal;

	return agent_put(out, epoch, stream, AGENT_SIGNAL, &payload, 1);
}

int agent_get_signal(const struct agent_frame *frame, uint8_t *signal, struct error *err)
{
	struct cursor c = payload_of(frame);

	*signal = cursor_get_u8(&c);
	if (*signal != AGENT_INTERRUPT && *signal != AGENT_KILL)
		c.overflow = true;
	return finish(&c, "signal", err);
}

int agent_put_exit(struct buf *out, uint16_t epoch, uint32_t stream,
		   const struct agent_exit *status)
{
	uint8_t payload[2] = {status->signaled, status->value};

	return agent_put(out, epoch, stream, AGENT_EXIT, payload, sizeof(payload));
}

int agent_get_exit(const struct agent_frame *frame, struct agent_exit *status,
		   struct error *err)
{
	struct cursor c = payload_of(frame);

	status->signaled = cursor_get_u8(&c);
	status->value = cursor_get_u8(&c);
	if (status->signaled > 1 || (status->signaled && status->value > 127))
		c.overflow = true;
	return finish(&c, "exit", err);
}

static int put_number(struct buf *out, uint16_t epoch, uint32_t stream,
		      enum agent_type type, uint32_t number)
{
	uint8_t payload[4];
	struct cursor c = cursor_into(payload, sizeof(payload));

	cursor_put_u32(&c, number);
	return agent_put(out, epoch, stream, type, payload, sizeof(payload));
}

int agent_put_stdin_taken(struct buf *out, uint16_t epoch, uint32_t stream, uint32_t bytes)
{
	return put_number(out, epoch, stream, AGENT_STDIN_TAKEN, bytes);
}

int agent_get_stdin_taken(const struct agent_frame *frame, uint32_t *bytes,
			  struct error *err)
{
	struct cursor c = payload_of(frame);

	*bytes = cursor_get_u32(&c);
	if (*bytes > AGENT_STDIN_WINDOW)
		c.overflow = true;
	return finish(&c, "stdin-taken", err);
}

int agent_put_limits(struct buf *out, uint16_t epoch, const struct agent_limits *limits)
{
	uint8_t payload[16];
	struct cursor c = cursor_into(payload, sizeof(payload));

	cursor_put_u32(&c, limits->memory_mib);
	cursor_put_u32(&c, limits->vcpus);
	cursor_put_u32(&c, limits->pids);
	cursor_put_u32(&c, limits->disk_mib);
	return agent_put(out, epoch, 0, AGENT_LIMITS, payload, sizeof(payload));
}

int agent_get_limits(const struct agent_frame *frame, struct agent_limits *limits,
		     struct error *err)
{
	struct cursor c = payload_of(frame);

	limits->memory_mib = cursor_get_u32(&c);
	limits->vcpus = cursor_get_u32(&c);
	limits->pids = cursor_get_u32(&c);
	limits->disk_mib = cursor_get_u32(&c);
	return finish(&c, "limits", err);
}

int agent_put_hold(struct buf *out, uint16_t epoch, uint32_t msecs)
{
	return put_number(out, epoch, 0, AGENT_HOLD, msecs);
}

int agent_get_hold(const struct agent_frame *frame, uint32_t *msecs, struct error *err)
{
	struct cursor c = payload_of(frame);

	*msecs = cursor_get_u32(&c);
	return finish(&c, "hold", err);
}

int agent_get_held(const struct agent_frame *frame, uint8_t *stopped, struct error *err)
{
	struct cursor c = payload_of(frame);

	*stopped = cursor_get_u8(&c);
	if (*stopped > 1)
		c.overflow = true;
	return finish(&c, "held", err);
}

static void put_size(struct cursor *c, const struct agent_size *size)
{
	cursor_put_u16(c, size->rows);
	cursor_put_u16(c, size->cols);
}

static void get_size(struct cursor *c, struct agent_size *size)
{
	size->rows = cursor_get_u16(c);
	size->cols = cursor_get_u16(c);
}

int agent_put_size(struct buf *out, uint16_t epoch, uint32_t stream,
		   const struct agent_size *size)
{
	uint8_t payload[4];
	struct cursor c = cursor_into(payload, sizeof(payload));

	put_size(&c, size);
	return agent_put(out, epoch, stream, AGENT_TERMINAL_SIZE, payload, sizeof(payload));
}

int agent_get_size(const struct agent_frame *frame, struct agent_size *size,
		   struct error *err)
{
	struct cursor c = payload_of(frame);

	get_size(&c, size);
	return finish(&c, "terminal-size", err);
}

int agent_put_terminal(struct buf *out, uint16_t epoch, uint32_t stream,
		       const struct agent_size *size, const char *command)
{
	uint8_t payload[4 + 4 + AGENT_COMMAND_MAX];
	struct cursor c = cursor_into(payload, sizeof(payload));

	put_size(&c, size);
	cursor_put_bytes(&c, command, strlen(command));
	if (c.overflow)
		return -EMSGSIZE;
	return agent_put(out, epoch, stream, AGENT_TERMINAL, payload,
			 sizeof(payload) - cursor_left(&c));
}

int agent_get_terminal(const struct agent_frame *frame, struct agent_terminal *terminal,
		       struct error *err)
{
	struct cursor c = payload_of(frame);

	get_size(&c, &terminal->size);
	cursor_get_string(&c, terminal->command, sizeof(terminal->command));
	return finish(&c, "terminal", err);
}

int agent_put_port_open(struct buf *out, uint16_t epoch, uint32_t stream, uint16_t port)
{
	uint8_t payload[2];
	struct cursor c = cursor_into(payload, sizeof(payload));

	cursor_put_u16(&c, port);
	return agent_put(out, epoch, stream, AGENT_PORT_OPEN, payload, sizeof(payload));
}

int agent_get_port_open(const struct agent_frame *frame, uint16_t *port, struct error *err)
{
	struct cursor c = payload_of(frame);

	*port = cursor_get_u16(&c);
	if (!*port)
		c.overflow = true;
	return finish(&c, "port-open", err);
}

int agent_put_port_taken(struct buf *out, uint16_t epoch, uint32_t stream, uint32_t bytes)
{
	return put_number(out, epoch, stream, AGENT_PORT_TAKEN, bytes);
}

int agent_get_port_taken(const struct agent_frame *frame, uint32_t *bytes,
			 struct error *err)
{
	struct cursor c = payload_of(frame);

	*bytes = cursor_get_u32(&c);
	if (*bytes > AGENT_PORT_WINDOW)
		c.overflow = true;
	return finish(&c, "port-taken", err);
}

int agent_put_port_opened(struct buf *out, uint16_t epoch, uint32_t stream, uint32_t errnum)
{
	return put_number(out, epoch, stream, AGENT_PORT_OPENED, errnum);
}

int agent_get_port_opened(const struct agent_frame *frame, uint32_t *errnum,
			  struct error *err)
{
	struct cursor c = payload_of(frame);

	*errnum = cursor_get_u32(&c);
	return finish(&c, "port-opened", err);
}
