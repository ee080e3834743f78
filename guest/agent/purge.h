/*
 * Killing what a run in the REPL started, and nothing older.
 */
#pragma once

#include "guest/agent/group.h"
#include "util/loop.h"

/**
 * purge() - SIGKILL to every process of @group but those in @survivors.
 * @group: taken over; its cgroup is removed when the survivors have ended.
 * @survivors: taken over; what was in the group when the run began.
 *
 * Goes on in the background until a look at the group finds no victim.
 */
void purge(struct loop *loop, struct group *group, struct procs *survivors);
