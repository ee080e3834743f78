/*
 * The way from the hub to the world.
 *
 * Theory of operation
 *
 * kernel: a pair of links, `pffsN` in the host's namespace and `up` in the hub, NAT in a
 * table `inet pffsN` of our own, and nothing else of the host's is changed but ip_forward.
 * The link ends with the hub; the table is taken away by uplink_clean(), at the latest when
 * the next one is made, and set again by a guard (guard.h) should somebody else take it
 * away before. It closes the host itself: what is for an address of the host's own
 * is refused, whatever addresses these are.
 *
 * user: pasta (of passt), which needs no privilege: it makes `up`, and carries what comes
 * from there by sockets of the user. It forwards no port either way. A guard ends it.
 *
 * none: no `up`; nothing leaves.
 */
#pragma once

#include "util/error.h"
#include "vmctl/net/rt.h"

#include <stdbool.h>
#include <sys/types.h>

#define UPLINK_TEXT 32

enum uplink_kind {
	UPLINK_AUTO,
	UPLINK_KERNEL,
	UPLINK_USER,
	UPLINK_NONE,
};

struct uplink {
	enum uplink_kind kind; /* never UPLINK_AUTO, once it is open */
	char name[16];	       /* of the link in the host's namespace, or "" */
	char why[256];	       /* a sentence: why it is this kind */
	int index;	       /* of that link */
	int guard;	       /* the other end is its guard's; -1: it has none */
	unsigned number;
	bool six; /* the host passes IPv6 on; or, with pasta, has a way by it */
};

/** uplink_parse() - "kernel", "user", "none", "auto". Return: 0 or -EINVAL with @err. */
int uplink_parse(const char *text, enum uplink_kind *kind, struct error *err);

/** uplink_name() - of a kind. */
const char *uplink_name(enum uplink_kind kind);

/**
 * uplink_open() - in the host's namespace: make the host's side.
 * @want:  what is asked for. UPLINK_AUTO: what can be had.
 * @hub:   a process in the hub's namespaces, and
 * @netns: a descriptor of its network namespace.
 *
 * What cannot be had is UPLINK_NONE, with @uplink->why.
 */
void uplink_open(struct uplink *uplink, enum uplink_kind want, pid_t hub, int netns);

/** uplink_join() - in the hub: use it. @hub: its links. Return: 0 or -errno with @err. */
int uplink_join(struct uplink *uplink, struct rt *hub, struct error *err);

/**
 * uplink_host() - in the emulated host: its own link is that of QEMU's user-mode network.
 * Return: 0 or -errno with @err.
 */
int uplink_host(struct error *err);

/** uplink_print() - its link in the host's namespace, "NAME/NUMBER", for uplink_clean();
 * or "". */
void uplink_print(const struct uplink *uplink, char text[UPLINK_TEXT]);

/** uplink_clean() - in the host's namespace: take away what the uplink of a process that is
 * no more has left, and nothing of another one that has that name by now. */
void uplink_clean(const char *text);
