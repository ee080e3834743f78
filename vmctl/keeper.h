/*
 * The broker's side of the keeper (keep.h).
 */
#pragma once

#include "util/error.h"
#include "util/loop.h"

#include <stdbool.h>
#include <stdint.h>

struct broker;
struct vmproc;

struct keeper {
	char *path; /* of its socket; NULL: there is none, and VMs end with the broker */
	struct loop_source source; /* its fd is the connection, or -1 */
	struct loop_timer again;   /* armed until another one is started */
	bool said;		   /* that there is none */
};

/**
 * keeper_open() - take up the VMs that a former broker has left, or start a keeper.
 * @path: of its socket, copied; NULL: VMs are to end with the broker.
 *
 * A keeper that cannot be started is tried again later, and standard error says why.
 * Return: 0, or -errno with @err filled: there are VMs, which cannot be taken up.
 */
int keeper_open(struct broker *broker, const char *path, struct error *err);

/** keeper_put() - @vm is to outlive us. No-op without a keeper. */
void keeper_put(struct broker *broker, const struct vmproc *vm);

/** keeper_process() - the process of @vm is known. */
void keeper_process(struct broker *broker, const struct vmproc *vm);

/** keeper_ended() - the process of @vm has ended. */
void keeper_ended(struct broker *broker, const struct vmproc *vm);

/** keeper_net() - the network's socket is @net now, or with -1 there is none. */
void keeper_net(struct broker *broker, int net);

/** keeper_drop() - @vm is about to be freed. */
void keeper_drop(struct broker *broker, const struct vmproc *vm);

/** keeper_close() - there are no VMs any more, and no broker soon. */
void keeper_close(struct broker *broker);
