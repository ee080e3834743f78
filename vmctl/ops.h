/*
 * The control operations of the link protocol: docs/protocols.md lists them.
 *
 * Theory of operation
 *
 * Every request gets exactly one reply. Most are answered at once. A request
 * that has to wait, for an answer of a VM process or for its end, becomes a
 * struct request on the lists of both its client and its VM; it is answered by
 * ops_answer(), ops_vm_dead(), ops_vm_gone() or its own deadline, whichever
 * comes first, and forgotten with its client.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

struct channel;
struct client;
struct vmproc;

/**
 * ops_request() - handle a control frame.
 * Return: 0, also when the reply is an error; -ENOMEM ends the client.
 */
int ops_request(struct client *client, const uint8_t *payload, size_t len);

/**
 * ops_disks() - handle a LINK_DISKS frame of the emulated host's relay.
 * Return: 0, or -EPROTO for nonsense.
 */
int ops_disks(struct client *client, const uint8_t *payload, size_t len);

/** ops_forget() - the client's session is over. */
void ops_forget(struct client *client);

/** ops_answer() - a VM process has answered. Return: 0, or -EPROTO for nonsense. */
int ops_answer(struct vmproc *vm, json_t *message);

/** ops_vm_dead() - tell of the end of @vm; the owner of its channel comes later. */
void ops_vm_dead(struct vmproc *vm);

/** ops_channel_drained() - the owner of the channel of a dead VM has all of it. */
void ops_channel_drained(struct channel *channel);

/** ops_vm_gone() - @vm is about to be freed. */
void ops_vm_gone(struct vmproc *vm);
