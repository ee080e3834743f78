/*
 * Requests to the kernel's networking, one at a time (RFC 3549; Linux, netlink(7)). The
 * agent is static and has no libnl.
 */
#pragma once

#include <linux/netlink.h>
#include <stddef.h>
#include <stdint.h>

#define NETLINK_ROOM 256 /* bytes of a request */

/* Bytes of an answer, or of a part of a dump: the kernel makes no part that is larger than
 * the room it was last read into, or than a page. */
#define NETLINK_ANSWER 4096

struct netlink_request {
	struct nlmsghdr header;
	uint8_t room[NETLINK_ROOM];
};

/** netlink_open() - a socket whose answers are waited for a second at most.
 * Return: fd or -errno. */
int netlink_open(int protocol);

/**
 * netlink_begin() - an empty request.
 * @flags: NLM_F_* besides NLM_F_REQUEST.
 * @len:   bytes of the structure that every request of @type begins with.
 *
 * Return: that structure, zeroed, to be filled in.
 */
void *netlink_begin(struct netlink_request *request, uint16_t type, uint16_t flags,
		    size_t len);

/** netlink_put() - add an attribute; all of them fit NETLINK_ROOM. */
void netlink_put(struct netlink_request *request, uint16_t type, const void *data,
		 size_t len);

/** netlink_do() - have the kernel do it. Return: 0 or the kernel's -errno. */
int netlink_do(int fd, struct netlink_request *request);

/**
 * netlink_get() - ask for one thing.
 * @answer: room of NETLINK_ANSWER bytes, aligned as struct nlmsghdr.
 *
 * Return: the first message of the answer, which lies in @answer whole, or NULL with errno
 * set.
 */
const struct nlmsghdr *netlink_get(int fd, struct netlink_request *request, void *answer);

/**
 * netlink_dump() - ask for all things of a kind.
 * @answer: as netlink_get().
 * @each:   is told each of them, while the kernel looks for the next.
 *
 * Return: 0 or -errno.
 */
int netlink_dump(int fd, struct netlink_request *request, void *answer,
		 void (*each)(void *ctx, const struct nlmsghdr *message), void *ctx);
