/*
 * virtio console device with two ports (virtio 1.2, 5.3).
 *
 * Theory of operation: port 0 is a console (hvc0) that feeds the log. Port 1,
 * named `pffs.agent`, is the byte stream between the guest's agent and a
 * socket. The stream has backpressure both ways: a chain that the guest sends
 * stays in its queue until the socket has taken its last byte, and the socket
 * is read only while the guest has the port open and has given room to read
 * into; once there was none, only when there is a good deal of it again. The device
 * says which of the two it waits for; its owner polls the socket for that.
 *
 * Control messages to the guest are bits per port, not a queue, so that a guest
 * that asks for ever makes nothing grow.
 */
#pragma once

#include "vmctl/conlog.h"
#include "vmctl/virtio.h"

#include <linux/virtio_console.h>

#define CONSOLE_PORTS 2
#define CONSOLE_AGENT "pffs.agent"

struct virtio_console {
	struct virtio_device dev;
	struct virtio_console_config config;
	struct conlog *log;
	unsigned pending[CONSOLE_PORTS]; /* control messages to send, as bits */
	bool agent_open;		 /* the guest has port 1 open */
	int agent_fd;			 /* non-blocking; -1 once it has ended */
	uint32_t sent;			 /* bytes of port 1's first chain that are gone */
	uint16_t most_room; /* chains that port 1's queue ever had to receive into */
	bool rests;	    /* port 1 was full, and not enough is free yet */
	uint64_t bytes_in, bytes_out; /* ever taken from agent_fd, and given to it */
	bool want_in, want_out;	      /* what agent_fd is to be polled for */

	/* Tells the owner that want_in or want_out has changed. */
	void (*watch)(struct virtio_console *con);
};

/**
 * virtio_console_init() - a device that is ready for its driver.
 * @log:      receives what the guest writes to port 0.
 * @agent_fd: the agent's stream, a non-blocking socket that outlives the device.
 * @watch:    called, under the device lock, when the polling is to change.
 */
void virtio_console_init(struct virtio_console *con, struct conlog *log, int agent_fd,
			 void (*watch)(struct virtio_console *con), const struct gmem *mem,
			 struct virtio_line line);

/**
 * virtio_console_part() - in a process that has just been forked, before
 * virtio_wake(): the agent's stream goes on with another socket, and is counted
 * from here. A chain that has gone in part goes on where it was.
 */
void virtio_console_part(struct virtio_console *con, int agent_fd);

/**
 * virtio_console_ready() - the agent's socket is ready for what was wanted.
 * Return: 0, or -errno with @err filled when that ends the VM.
 */
int virtio_console_ready(struct virtio_console *con, struct error *err);
