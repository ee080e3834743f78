/*
 * Watchers of an object that changes: the parked readers and pollers of the
 * mount hang on these lists.
 */
#pragma once

#include "util/list.h"

struct watch {
	struct link link;
	void (*fn)(struct watch *watch);
};

/** watch_add() - have @watch->fn called at every change; the watch stays the caller's. */
static inline void watch_add(struct link *watchers, struct watch *watch,
			     void (*fn)(struct watch *watch))
{
	watch->fn = fn;
	list_add_before(watchers, &watch->link);
}

/** watch_notify() - tell all watchers. A callback may remove its own watch. */
static inline void watch_notify(struct link *watchers)
{
	struct watch *watch;

	list_for_each (watch, watchers, struct watch, link)
		watch->fn(watch);
}
