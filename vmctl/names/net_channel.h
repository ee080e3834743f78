/*
 * What `vmctl net` and a program of it tell each other: the DNS proxy, the proxy for
 * secrets.
 *
 * Theory of operation: a SOCK_SEQPACKET pair, one JSON object in each message, descriptors
 * beside it in some. docs/protocols.md has the messages. Neither end waits for the other:
 * what the socket does not take is kept, up to NET_CHANNEL_QUEUE, and what is beyond that
 * is not sent, which its sender is told. Both ends are ours; a message that is no JSON
 * object, or is cut off, is a bug of one, and ends the channel.
 */
#pragma once

#include "util/list.h"
#include "util/loop.h"

#include <jansson.h>
#include <stddef.h>

#define NET_CHANNEL_MESSAGE (256u << 10) /* bytes of the largest one that is read */
#define NET_CHANNEL_QUEUE   (4u << 20)	 /* bytes that wait to be sent */
#define NET_CHANNEL_FDS	    4

struct net_channel {
	struct loop *loop;
	struct loop_source source;
	struct link queue;
	size_t queued; /* bytes */
	/* A message. @fds are the callee's: those that it takes it sets to -1. */
	void (*heard)(struct net_channel *channel, const json_t *message,
		      int fds[NET_CHANNEL_FDS]);
	/* The other end is no more, or broke the rules. */
	void (*ended)(struct net_channel *channel);
};

/**
 * net_channel_open() - begin; @channel has heard() and ended() already.
 * @fd: the socket, which becomes the channel's, and non-blocking.
 * Return: 0 or -errno with @err filled.
 */
int net_channel_open(struct net_channel *channel, struct loop *loop, int fd,
		     struct error *err);

/**
 * net_channel_read() - take all messages that are there.
 *
 * `vmctl net` tells of a slot before it gives the slot's tap away. So who has a guest's
 * packet in hand, and reads then, knows the slot and the policy that the packet is of,
 * however short before they were told.
 */
void net_channel_read(struct net_channel *channel);

/** net_channel_close() - end it. What is still to be sent is lost. */
void net_channel_close(struct net_channel *channel);

/**
 * net_channel_send() - send a message, now or when the socket takes it.
 * @message: this takes over the reference; NULL is one that there was no memory for.
 * Return: 0, -ENOBUFS when too much waits already, or -ENOMEM.
 */
int net_channel_send(struct net_channel *channel, json_t *message);
