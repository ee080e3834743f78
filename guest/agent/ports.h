/*
 * Connections from outside to TCP ports of the guest.
 */
#pragma once

#include "wire/agent.h"

struct agent;

/** ports_frame() - a frame from the host that concerns one connection. */
void ports_frame(struct agent *agent, const struct agent_frame *frame);

/** ports_resume() - the port to the host has room again. */
void ports_resume(struct agent *agent);

/** ports_end() - all connections break: they are another machine's. */
void ports_end(struct agent *agent);
