/*
 * What must be unique to each sandbox: its identity, its clock, its randomness.
 */
#pragma once

#include "wire/agent.h"

#include <stdbool.h>

/**
 * wake_init() - lay the files that hold the identity over those of /etc.
 * @dir: a folder on a tmpfs to keep them in. Called once, before programs run.
 */
void wake_init(const char *dir);

/** wake_apply() - take on what the host says in @wake; failures are logged. */
void wake_apply(const struct agent_wake *wake);
