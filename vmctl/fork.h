/*
 * The request to fork a VM.
 *
 * Theory of operation
 *
 * The VM that is to be the child is made before its process: nobody sees it while
 * its @making is set. The parent's streams are held (channel.h) and its process is
 * asked to fork. The fork has worked when three things have come, in any order: the
 * answer of the parent's process, the child's word that its guest runs, and the last
 * byte that the guest said before the fork, which the client gets before the reply.
 * Whatever goes wrong frees the request, and with it goes the child.
 */
#pragma once

#include "util/error.h"

#include <jansson.h>
#include <stdbool.h>

struct client;
struct request;
struct vmproc;

/**
 * fork_begin() - fork @parent for @client, the owner of its channel.
 * @seq: of the client's request, which is answered later.
 *
 * Return: 0 or -errno with @err filled.
 */
int fork_begin(struct client *client, json_t *seq, struct vmproc *parent, const char *name,
	       struct error *err);

/** fork_answer() - the parent's process has answered. Return: 0 or -EPROTO. */
int fork_answer(struct request *request, const json_t *message);

/** fork_started() - the child's guest runs. */
void fork_started(struct request *request);

/** fork_child_dead() - @child, which is being made, has died; it is to be freed. */
void fork_child_dead(struct vmproc *child);

/** fork_interrupt() - another client takes the channel of @parent. */
void fork_interrupt(struct vmproc *parent);

/** fork_end() - the request is about to be freed. */
void fork_end(struct request *request);
