/*
 * The log of connections: what the hub's rules say by NFLOG (hub.h), one at a time.
 */
#pragma once

#include "util/error.h"
#include "wire/policy_range.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nl_sock;

struct flow {
	unsigned slot;
	char verdict; /* HUB_ALLOW and so on */
	uint8_t protocol;
	uint16_t port; /* of TCP and UDP; 0 */
	struct policy_range address;
};

struct flows {
	struct nl_sock *sock;
	void (*fn)(void *data, const struct flow *flow);
	void *data;
};

/**
 * flows_open() - of the thread's namespace. @fn: told of each flow by flows_read().
 * Return: 0 or -errno with @err.
 */
int flows_open(struct flows *flows, void (*fn)(void *data, const struct flow *flow),
	       void *data, struct error *err);

/** flows_fd() - what to wait for. */
int flows_fd(const struct flows *flows);

/** flows_read() - take what there is. */
void flows_read(struct flows *flows);

/** flows_close() - no-op when it is not open. */
void flows_close(struct flows *flows);

/**
 * flow_parse() - the first bytes of a packet of a slot.
 * Return: false when it is none.
 */
bool flow_parse(const void *packet, size_t len, struct flow *flow);
