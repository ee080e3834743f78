/*
 * The relay between the clients of the emulated host and its ports.
 *
 * Theory of operation
 *
 * A client that has sent its LINK_HELLO is bound to a free port; without one it
 * is refused. From then on whole frames pass, in both directions, so that a
 * client that dies in the middle of a frame leaves no half of it on the port,
 * whose stream does not end with the client. When a client goes, LINK_BYE goes
 * to the port. What was on its way to that client still comes out of the port,
 * so a client is passed nothing until the LINK_HELLO with its own nonce. A
 * LINK_BYE from the other side is the broker's way to close the connection. LINK_DISKS
 * is for the relay's owner alone: a client that sends it is ended.
 *
 * Neither direction buffers more than RELAY_BUSY and one read: a side that does
 * not take its bytes makes the other one wait.
 *
 * QEMU now and then loses an interrupt: its emulated VMRUN sets a flag in the same word
 * as the device threads do, and not atomically. What the interrupt said is still in the
 * APIC, and is delivered along with the next one. But if it was that of the timer, the
 * emulated host sleeps, with all its deadlines, until some device interrupts it. So the
 * relay sends a LINK_TICK every RELAY_TICK_MS, which costs one interrupt, and no sleep
 * lasts longer.
 *
 * The relay takes connections at once but binds no client before it and the broker in the
 * host have agreed where the streams of the ports begin (host_line.h). Before each request
 * of a client its owner may tell the broker something on the same port, or hold the
 * client's frames back. A client that hangs up meanwhile keeps its port until what it had
 * asked for has passed.
 */
#pragma once

#include "util/buf.h"
#include "util/error.h"
#include "util/list.h"
#include "util/loop.h"
#include "vmctl/host.h"
#include "wire/link.h"

#include <stdbool.h>

#define RELAY_BUSY    (512u << 10)
#define RELAY_WAITING 64   /* clients without a port */
#define RELAY_TICK_MS 500  /* between two of the interrupts that wake the host */
#define RELAY_CALL_MS 1000 /* until the broker is called again; then twice that, ... */

struct relay;
struct relay_client;

struct relay_port {
	struct relay *relay;
	struct loop_source source;
	struct relay_client *client; /* NULL: free */
	struct buf in, out;
	bool begun;		   /* what comes is not of a former relay */
	uint8_t nonce[LINK_NONCE]; /* that begins the session */
	bool open;		   /* it has begun */
	unsigned told;		   /* may_pass()'s; 0 at first */
};

struct relay_ops {
	/* Called once, when the broker on the other side has answered. */
	void (*on_up)(struct relay *relay);
	/* Called when a port has ended. It may not free the relay. */
	void (*on_lost)(struct relay *relay);
	/*
	 * Called before a control frame goes to @port. It may put frames of its own
	 * into port->out. Return: false to hold the frame until relay_go_on().
	 */
	bool (*may_pass)(struct relay *relay, struct relay_port *port);
};

/* The relay's end of the line. */
struct relay_line {
	struct loop_source source;
	struct loop_timer again; /* fires when the broker is to be called again */
	struct buf in, out;
	uint64_t patience_ms;
	uint8_t nonce[LINK_NONCE]; /* of the last call */
	bool answered;		   /* it has been answered on the line */
};

struct relay {
	struct loop *loop;
	struct loop_source listener;
	struct relay_line line;
	struct relay_port ports[HOST_PORTS];
	struct link clients;	/* struct relay_client */
	struct loop_timer bind; /* fires when a waiting client may be bound */
	struct loop_timer tick; /* fires when the next LINK_TICK is due */
	int waiting;		/* clients without a port */
	bool up;		/* the broker has answered */
	const struct relay_ops *ops;
};

/**
 * relay_init() - relay the clients of @listen_fd to @ports.
 * @line: of the same broker.
 * @ops: not copied.
 *
 * The descriptors stay the caller's. Return: 0 or -errno with @err filled.
 */
int relay_init(struct relay *relay, struct loop *loop, int listen_fd, const int *ports,
	       int line, const struct relay_ops *ops, struct error *err);

/** relay_go_on() - try again the frames that may_pass() has held. */
void relay_go_on(struct relay *relay);

/** relay_fini() - end all clients. */
void relay_fini(struct relay *relay);

/* Between host_relay.c and host_relay_line.c. */

/** relay_watch_port() - its output, or what limits its input, has changed. */
void relay_watch_port(struct relay_port *port);

/** relay_call() - begin to call the broker. Return: 0 or -errno. */
int relay_call(struct relay *relay, int fd);
void relay_line_fini(struct relay *relay);

/**
 * relay_begin() - bytes of a port that has not begun. When the last one begins, clients are
 * served. Return: whether it has begun now.
 */
bool relay_begin(struct relay_port *port);

/** relay_is_up() - the broker has answered on all ports. */
void relay_is_up(struct relay *relay);
