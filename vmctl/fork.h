/*
 * The request to fork a VM, once or many times.
 *
 * Theory of operation
 *
 * The VMs that are to be the children are made before their processes: nobody sees
 * one while its @making is set. The parent's streams are held (channel.h) and its
 * process is asked to fork, VM_FORK_BATCH times with one message: each child needs
 * descriptors, of which a message takes no more. The process stands still until it
 * has had the last message, so all children are of one moment.
 *
 * The fork has worked when these things have come, in any order: the answers of the
 * parent's process, each child's word that its guest runs, and the last byte that the
 * guest said before the fork, which the client gets before the reply. Whatever goes
 * wrong frees the request, and with it go all of the children; the parent runs on.
 * The deadline of the request begins anew with each sign of life.
 */
#pragma once

#include "util/error.h"

#include <jansson.h>

#define FORK_NAMES_MAX 1000 /* children of one request */

struct client;
struct request;
struct vmproc;

/**
 * fork_begin() - fork @parent for @client, the owner of its channel.
 * @seq:   of the client's request, which is answered later.
 * @names: an array of at least one string.
 * @twin:  NULL, or the name of one more, which stands still until it is told to resume.
 *
 * Return: 0 or -errno with @err filled.
 */
int fork_begin(struct client *client, json_t *seq, struct vmproc *parent, json_t *names,
	       const char *twin, struct error *err);

/** fork_check_parent() - may @client have @parent copied now, by a fork or to a file?
 * Return: 0 or -errno with @err filled. */
int fork_check_parent(const struct client *client, struct vmproc *parent,
		      struct error *err);

/**
 * fork_errno() - what a client is told of @errnum: whatever is short is short like
 * memory, since with less of other VMs it is there.
 */
int fork_errno(int errnum);

/** fork_answer() - the parent's process has answered. Return: 0 or -EPROTO. */
int fork_answer(struct request *request, json_t *message);

/** fork_started() - the guest of @child, which is being made, runs. */
void fork_started(struct vmproc *child);

/** fork_child_dead() - @child, which is being made, has died; it is to be freed. */
void fork_child_dead(struct vmproc *child);

/** fork_interrupt() - another client takes the channel of @parent, which may also
 * be one that is being frozen. */
void fork_interrupt(struct vmproc *parent);

/** fork_cancel() - the process of @parent is to forget what it was told to fork. */
void fork_cancel(struct vmproc *parent);

/** fork_end() - the request is about to be freed. */
void fork_end(struct request *request);
