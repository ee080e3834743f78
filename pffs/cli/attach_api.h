/*
 * attach() for a pffs without a mount: over its socket.
 */
#pragma once

#include "pffs/cli/attach.h"
#include "pffs/cli/client.h"

struct attach_api {
	const struct client *client;
	const char *sandbox;  /* segment of a path */
	const char *terminal; /* to come back to, a segment; NULL: a new one */
	char *const *command; /* of a new one; NULL: a shell */
};

/** attach_api() - Return: as attach(). */
int attach_api(const struct attach_api *options, int *status, struct error *err);
