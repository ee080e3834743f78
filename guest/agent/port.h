/*
 * The agent's end of the port: frames in, frames out.
 */
#pragma once

#include "util/buf.h"
#include "util/loop.h"
#include "wire/agent.h"

#include <stdbool.h>

#define PORT_HIGH (256u << 10) /* bytes waiting at which program output stops */
#define PORT_LOW  (128u << 10) /* bytes waiting at which it goes on */

struct port {
	struct loop *loop;
	struct loop_source source;
	struct loop_timer retry;
	struct buf in, out;
	int fd;
	int pipe[2];	/* on the way to fd: see port.c */
	size_t piped;	/* bytes in it */
	uint16_t epoch; /* of every frame sent */
	bool full;	/* someone waits for on_room */
	bool may_end;	/* the end of the stream ends the agent (in tests) */
	void (*on_frame)(struct port *port, const struct agent_frame *frame);
	void (*on_room)(struct port *port);
	void (*before_output)(struct port *port); /* STDOUT, STDERR or EXIT */
};

/**
 * port_init() - serve @fd.
 * @port: the caller's; the callbacks and may_end are set already.
 * @fd:   taken over; made non-blocking.
 *
 * Return: 0 or -errno with @err filled.
 */
int port_init(struct port *port, struct loop *loop, int fd, struct error *err);

/** port_send() - queue one frame of @len bytes, at most AGENT_PAYLOAD_MAX. */
void port_send(struct port *port, uint32_t stream, enum agent_type type,
	       const void *payload, size_t len);

/** port_send_exit() - queue AGENT_EXIT. */
void port_send_exit(struct port *port, uint32_t stream, const struct agent_exit *status);

/** port_send_taken() - queue AGENT_STDIN_TAKEN. */
void port_send_taken(struct port *port, uint32_t stream, uint32_t bytes);

/** port_send_opened() - queue AGENT_PORT_OPENED. */
void port_send_opened(struct port *port, uint32_t stream, uint32_t errnum);

/**
 * port_has_room() - may program output be read and sent now?
 * A caller that is refused is told by on_room when it may try again.
 */
bool port_has_room(struct port *port);
