/*
 * The slots that the DNS proxy and the proxy for secrets serve, and their policies.
 *
 * Theory of operation: a guest is known by the address that its packets have behind its
 * slot's NAT, 198.19.x.y for slot 256 x + y and fd70:6666:7300:1::n; no guest can have
 * another one's, since the slot lets nothing else out. A slot is in the table while `vmctl
 * net` says so: who comes from elsewhere is nobody. Each program has things of its own
 * beside a slot: they are a structure that begins with a struct slot.
 */
#pragma once

#include "wire/policy.h"

#include <jansson.h>
#include <stdint.h>
#include <sys/socket.h>

#define SLOTS_MAX 65536

struct slot {
	uint16_t number;
	struct policy *policy;
};

struct slots {
	size_t size; /* of a slot with what is beside it */
	struct slot *at[SLOTS_MAX];
};

/**
 * slots_set() - put the policy of a "policy" message into force; a slot that is new is
 * made, zeros behind its struct slot. Return: the slot, or NULL with @err filled, when the
 * message is malformed: the slot, if there is one, has what it had.
 */
struct slot *slots_set(struct slots *slots, const json_t *message, struct error *err);

/** slots_of_message() - the slot that a message's "slot" is, or NULL. */
struct slot *slots_of_message(const struct slots *slots, const json_t *message);

/** slots_of_address() - the slot of who has this address, or NULL. */
struct slot *slots_of_address(const struct slots *slots, const struct sockaddr *address);

/** slots_drop() - it is no slot any more, and its memory is freed. */
void slots_drop(struct slots *slots, struct slot *slot);
