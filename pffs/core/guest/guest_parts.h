/*
 * Inside of guest.h: what the parts of the conversation use of each other.
 */
#pragma once

#include "pffs/core/guest/guest.h"

/** guest_signal() - to the run that goes on. */
void guest_signal(struct sandbox *sb, enum agent_signal signal);

/** guest_kill() - have the guest end the run that goes on, with all it has started. */
void guest_kill(struct sandbox *sb);

/** guest_first_queued() - the run that joined the queue first, or NULL. */
struct run *guest_first_queued(const struct sandbox *sb);

/** guest_stdin_pump() - send what the program may have: bytes within the window, then end
 * of file. */
void guest_stdin_pump(struct feed *feed);
