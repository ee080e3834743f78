/*
 * Policies as rules of the hub.
 *
 * Theory of operation
 *
 * VMs with the same policy share a chain in the hub, `cN`, where N is also the mark of the
 * connections that it let through (hub.h); forks mostly do. So connecting a fork is one
 * element of the map, and none where that has been written ahead. A policy's chain goes
 * when the last VM that has it does.
 *
 * Everything here is written into the hub's ruleset; the caller commits.
 */
#pragma once

#include "util/list.h"
#include "vmctl/net/hub.h"
#include "wire/policy.h"

#include <stdint.h>

/* A policy that at least one VM has. */
struct rules {
	struct link link; /* on the rulebook's list */
	struct policy *policy;
	char *text; /* what tells it from others: its JSON without secrets */
	uint32_t number;
	unsigned references;
};

struct rulebook {
	struct hub *hub;
	struct link all; /* struct rules */
	uint32_t last;
};

/** rulebook_init() - no rules yet. */
void rulebook_init(struct rulebook *book, struct hub *hub);

/**
 * rules_of() - the rules of @policy, which are made if there are none.
 * Return: the caller's reference, or NULL without memory.
 */
struct rules *rules_of(struct rulebook *book, struct policy *policy);

/** rules_ref() - share them; NULL is none. Return: @rules. */
struct rules *rules_ref(struct rules *rules);

/** rules_put() - give a reference back; NULL is none. */
void rules_put(struct rulebook *book, struct rules *rules);

/** rules_apply() - what slot @number sends goes by @rules, or NULL: nowhere. @former: by
 * which it went until now, or NULL. */
void rules_apply(struct rulebook *book, unsigned number, const struct rules *rules,
		 const struct rules *former);
