/*
 * net/log: what a sandbox's network did, a line of JSON each.
 *
 * Theory of operation: vmctl tells of it in bundles (the event `net`), which get their time
 * here. The newest NET_LOG_KEPT bytes are kept, whole lines; places in the log count all
 * that was ever there, as those of a terminal's screen do.
 */
#pragma once

#include "pffs/core/stream.h"
#include "util/list.h"

#include <jansson.h>

#define NET_LOG_KEPT                                                                       \
	(4u << 20) /* bytes: less than 1 in 100 of a small machine's memory                \
		    */

struct net_log {
	struct stream lines;
	uint64_t kept; /* where the oldest line begins */
	struct link watchers;
};

void net_log_init(struct net_log *log);
void net_log_fini(struct net_log *log);

/** net_log_add() - records of vmctl, which came just now. Those without sense are left out.
 * Return: where the first new line begins. */
uint64_t net_log_add(struct net_log *log, const json_t *records);

/** net_log_restore() - lines that were there before. */
void net_log_restore(struct net_log *log, const void *data, size_t len);
