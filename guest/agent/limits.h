/*
 * What the programs of this machine may take: AGENT_LIMITS.
 */
#pragma once

struct agent_frame;

/** limits_frame() - the host says what they may take from now on. */
void limits_frame(const struct agent_frame *frame);
