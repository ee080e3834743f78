/*
 * The processes of all runs stand still while the host changes files.
 *
 * Theory of operation: the host asks for it by AGENT_HOLD, with a time. All cgroups are
 * frozen; AGENT_HELD says that their processes have stopped, or, when one has not after
 * some two seconds, that they have not, and then all go on. Nothing waits in here for that:
 * output of what still runs goes its way. They go on when the host says so, or at the end
 * of the time: the host may have gone. It asks again to have more of it.
 */
#pragma once

#include "guest/agent/port.h"

/** hold_frame() - AGENT_HOLD. */
void hold_frame(struct port *port, const struct agent_frame *frame);

/** hold_end() - all go on, if they were held. */
void hold_end(void);
