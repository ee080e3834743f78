/*
 * The process behind a mount: event loop, link to vmctl, FUSE session.
 */
#pragma once

#include "pffs/core/caps.h"
#include "pffs/core/config.h"
#include "util/error.h"

#include <stdbool.h>

struct daemon_options {
	const char *mountpoint;
	const char *socket; /* vmctl's */
	const char *images;
	const char *state;  /* directory of what is frozen; NULL: nothing can be */
	const char *engine; /* for a vmctl of our own: kvm, emulated or auto */
	unsigned memory_mib, vcpus, disk_mib;
	struct caps caps;
	struct config config;
	bool allow_other;
};

/**
 * daemon_run() - serve until unmounted or told to end.
 * @ready: called once, when the mount is up, with a sentence for the user.
 *
 * Return: 0 after an orderly end, or -errno with @err filled when the mount could
 * not be made or vmctl not be reached; nothing is left behind in either case.
 */
int daemon_run(const struct daemon_options *options,
	       void (*ready)(void *ctx, const char *sentence), void *ctx,
	       struct error *err);
