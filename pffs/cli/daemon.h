/*
 * The process behind a mount, or the HTTP server alone: event loop, link to vmctl, FUSE
 * session, HTTP.
 */
#pragma once

#include "pffs/api/server.h"
#include "pffs/core/caps.h"
#include "pffs/core/config.h"
#include "pffs/core/net/net_host.h"
#include "util/error.h"

#include <stdbool.h>

struct daemon_options {
	const char *mountpoint; /* NULL: HTTP alone */
	const char *socket;	/* vmctl's */
	const char *images;
	const char *state;  /* directory of what is frozen; NULL: nothing can be */
	const char *engine; /* for a vmctl of our own: kvm, emulated or auto */
	const char *uplink; /* likewise: kernel, user, none or auto */
	unsigned memory_mib, vcpus, disk_mib;
	struct caps caps;
	struct config config;
	struct net_options net;
	bool allow_other;
	const char *user; /* whose rights it has, when root starts it; NULL: pffs */
	const char *log;  /* removed when it ends in order; or NULL */
	struct server_options http; /* its socket is set by daemon_run() */
};

/**
 * daemon_run() - serve until unmounted or told to end.
 * @ready: called once, when it is up, with a sentence for the user.
 *
 * Return: 0 after an orderly end, or -errno with @err filled when it could
 * not listen or mount, or vmctl not be reached; nothing is left behind in either case.
 */
int daemon_run(const struct daemon_options *options,
	       void (*ready)(void *ctx, const char *sentence), void *ctx,
	       struct error *err);
