/*
 * The figures that a run has drawn, on their way to the host.
 */
#pragma once

#include "guest/agent/port.h"
#include "util/buf.h"

#include <stdbool.h>

struct figures {
	struct port *port;
	struct buf fds; /* int: files that were not sent, the first of them in part */
	off_t at;	/* how far that is sent */
	uint32_t stream;
	uint32_t number; /* of the first */
};

/** figures_init() - none yet. */
void figures_init(struct figures *figures, struct port *port, uint32_t stream);

/**
 * figures_add() - one more: @fd is a file, taken over. More than the host keeps, and
 * what is no regular file, is dropped.
 */
void figures_add(struct figures *figures, int fd);

/** figures_resume() - go on after port_has_room() had refused. */
void figures_resume(struct figures *figures);

/** figures_are_sent() - true when none is left to send. */
bool figures_are_sent(const struct figures *figures);

/** figures_fini() - drop what was not sent. */
void figures_fini(struct figures *figures);
