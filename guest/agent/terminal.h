/*
 * Terminals: programs, shells above all, that a person types to.
 */
#pragma once

#include "wire/agent.h"

#include <stdbool.h>
#include <sys/types.h>

struct agent;

/** terminals_frame() - a frame from the host that concerns one terminal. */
void terminals_frame(struct agent *agent, const struct agent_frame *frame);

/** terminals_resume() - the port has room again. */
void terminals_resume(struct agent *agent);

/** terminals_reaped() - a process has ended. Return: whether it was a terminal's. */
bool terminals_reaped(struct agent *agent, pid_t pid, int status);

/** terminals_are_quiet() - nothing runs in a terminal for certain. */
bool terminals_are_quiet(const struct agent *agent);
