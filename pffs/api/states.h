/*
 * Waiting for the state of a sandbox.
 */
#pragma once

#include "pffs/api/request.h"

enum states_wanted {
	STATES_READY,  /* ready or running */
	STATES_FROZEN, /* in its file */
};

/**
 * states_await() - call @done as soon as @sb is so, or @err says why it will not be:
 * it is dead, or has gone, or could not be frozen or resumed. Never before this returns.
 * @sb: to be kept by the caller until then.
 */
void states_await(struct request *r, struct sandbox *sb, enum states_wanted wanted,
		  void (*done)(struct request *r, struct sandbox *sb,
			       const struct error *err));
