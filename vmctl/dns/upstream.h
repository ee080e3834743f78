/*
 * The resolvers that questions are passed on to.
 *
 * They are those that `vmctl net` names, else those of the host, which a process of its own
 * tells of (resolv.h): this one sees no files.
 */
#pragma once

#include "util/error.h"
#include "util/loop.h"

#include <jansson.h>
#include <sys/socket.h>

#define UPSTREAM_MAX  8
#define UPSTREAM_PORT 53

struct upstream {
	struct sockaddr_storage address;
	socklen_t len;
};

struct upstream_list {
	struct upstream list[UPSTREAM_MAX];
	unsigned count;
};

struct upstreams {
	struct upstream_list named; /* by vmctl net */
	struct upstream_list host;
	struct loop *loop;
	struct loop_source source; /* where changes of @host come from */
};

/**
 * upstreams_watch() - know those of the host, from soon on.
 * Return: 0 or -errno with @err filled.
 */
int upstreams_watch(struct upstreams *upstreams, struct loop *loop, struct error *err);

/** upstreams_name() - use @addresses, an array of strings; those that are no addresses are
 * ignored. Without one, or not an array: those of the host. */
void upstreams_name(struct upstreams *upstreams, const json_t *addresses);

/** upstreams_now() - Return: what is valid now, of @upstreams. There may be none. */
const struct upstream_list *upstreams_now(const struct upstreams *upstreams);
