/*
 * QEMU's monitor protocol, QMP: one JSON object a line, over a socket.
 *
 * Theory of operation
 *
 * QEMU greets, takes `qmp_capabilities`, and then answers commands in the order in
 * which they came, by an object with "return" or "error". Everything else that it
 * sends is an event, and is ignored. Commands may be sent without waiting for
 * answers. While some are missing, the time from message to message is limited.
 */
#pragma once

#include "util/buf.h"
#include "util/list.h"
#include "util/loop.h"

#include <jansson.h>

#define QMP_DEADLINE_MS 60000u
#define QMP_LINE_MAX	(256u << 10)

struct qmp {
	struct loop *loop;
	struct loop_source source;
	struct loop_timer deadline;
	struct buf in, out;
	struct link calls; /* struct qmp_call, in the order of their answers */
	void (*on_lost)(struct qmp *qmp, const char *how);
};

/**
 * qmp_init() - begin a conversation.
 * @fd:	     non-blocking; stays the caller's.
 * @on_lost: called once, with a predicate, when QEMU breaks the protocol or does not
 *	     answer in time. No command is answered afterwards. A socket that ends is
 *	     not told: QEMU has ended then.
 *
 * Return: 0 or -errno; qmp_fini() is right in both cases.
 */
int qmp_init(struct qmp *qmp, struct loop *loop, int fd,
	     void (*on_lost)(struct qmp *qmp, const char *how));

/** qmp_fini() - end it; commands on their way are not answered. */
void qmp_fini(struct qmp *qmp);

/**
 * qmp_execute() - send a command.
 * @arguments: an object; the reference is taken.
 * @done:      called with the answer: @error is QEMU's sentence, or NULL.
 *
 * Return: 0 or -ENOMEM.
 */
int qmp_execute(struct qmp *qmp, const char *command, json_t *arguments,
		void (*done)(void *ctx, const char *error), void *ctx);
