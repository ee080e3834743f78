/*
 * Collecting the dead: PID 1 inherits every orphan of the guest.
 */
#pragma once

#include "util/error.h"

struct agent;

/** reap_init() - from now on, reap every child. Return: 0 or -errno with @err filled. */
int reap_init(struct agent *agent, struct error *err);
