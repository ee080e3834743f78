/*
 * A channel: the agent stream of one VM on its way to and from its client.
 *
 * Theory of operation
 *
 * Towards the client, bytes are read from the VM only when they can be queued
 * for the client at once: when the channel has an owner, the owner's window
 * (@window, refilled by LINK_CREDIT) is open and its queue is not busy.
 * Otherwise they stay in the socket, and the VM process stalls, and the guest.
 * Of one client's channels the one served longest ago goes first.
 *
 * Towards the VM, the owner may send @allowed bytes; what the socket does not
 * take waits in @to_vm. Bytes that the VM took are given back to the owner as
 * credit, in portions. What a former owner had sent stays queued, since the VM
 * may be in the middle of it; a new owner is let in while that is at most
 * LINK_WINDOW, so @to_vm never holds more than two windows.
 *
 * What went to an owner stays in @kept until it is credited: an owner may be killed before
 * it has dealt with it. The next one tells how much of the stream it knows and gets the
 * rest again. So LINK_WINDOW is always @window and what is kept, while there is an owner.
 *
 * A fork cuts both streams (docs/fork.md). From channel_hold() on nothing is read
 * and what the owner sends waits, its last @held bytes; channel_cut() lets bytes
 * through up to the place of the cut, where cut() is called; channel_release() ends
 * it.
 *
 * The socket is watched only for what is of use now: a peer that is gone makes
 * it readable and writable for ever.
 */
#pragma once

#include "util/buf.h"
#include "util/error.h"
#include "util/list.h"
#include "util/loop.h"

#include <stdbool.h>
#include <stdint.h>

struct client;

#define CHANNEL_NOW UINT64_MAX

struct channel {
	struct link link; /* on client->channels, while it has an owner */
	struct loop *loop;
	struct loop_source source;
	struct client *owner;
	struct buf to_vm;
	struct buf kept; /* the newest bytes of @relayed, that no owner has credited */
	size_t repeat;	 /* how many of them the owner is to get again */
	uint32_t id;
	uint32_t window;  /* bytes that may still go to the owner */
	uint32_t allowed; /* bytes that the owner may still send */
	uint32_t taken;	  /* bytes the VM took, not yet told to the owner */
	size_t stale;	  /* bytes of @to_vm that came from former owners */
	uint64_t fed;	  /* bytes ever put into @to_vm while it was not held */
	uint64_t relayed; /* bytes ever read from the VM */
	uint64_t limit;	  /* what @relayed may come to; UINT64_MAX: no limit */
	bool hold;
	size_t held; /* bytes at the end of @to_vm that have to wait */
	int fd;	     /* the agent socket; -1 when its end has been read */
	bool ended;  /* the VM's process is gone: no more bytes will come */
	void (*drained)(struct channel *channel); /* the last byte is queued */
	void (*cut)(struct channel *channel);	  /* @relayed has come to @limit */
};

/** channel_init() - a channel without an owner; @fd becomes the channel's. */
void channel_init(struct channel *channel, struct loop *loop, uint32_t id, int fd,
		  void (*drained)(struct channel *channel));

/** channel_fini() - let the owner go and close the socket. */
void channel_fini(struct channel *channel);

/**
 * channel_attach() - give the channel to @client; no-op for its owner.
 * @from: how many bytes of the VM the client knows; channel_repeat() sends what is kept of
 *        the others. CHANNEL_NOW: it wants none of them.
 *
 * The caller tells the former owner.
 * Return: 0, or -EBUSY with @err when a former owner's bytes clog the channel.
 */
int channel_attach(struct channel *channel, struct client *client, uint64_t from,
		   struct error *err);

/** channel_position() - how many bytes of the VM the owner knows, or is about to get again.
 */
uint64_t channel_position(const struct channel *channel);

/** channel_accepted() - how many bytes for the VM its owners have ever sent. */
uint64_t channel_accepted(const struct channel *channel);

/** channel_repeat() - queue what is to be sent again; behind the reply to `attach`. */
void channel_repeat(struct channel *channel);

/** channel_detach() - take the channel from its owner. */
void channel_detach(struct channel *channel);

/** channel_from_client() - bytes from the owner. Return: 0, -EPROTO or -ENOMEM. */
int channel_from_client(struct channel *channel, const void *data, uint32_t len);

/** channel_credit() - the owner disposed of @bytes. Return: 0 or -EPROTO. */
int channel_credit(struct channel *channel, uint32_t bytes);

/**
 * channel_hold() - stop both streams where they are.
 * Return: the number of bytes that the VM has been sent, or will have been.
 */
uint64_t channel_hold(struct channel *channel);

/**
 * channel_cut() - let bytes of the VM through until there have been @count.
 * Return: 0, or -EPROTO when there have been more already. cut() may be called
 * before this returns.
 */
int channel_cut(struct channel *channel, uint64_t count,
		void (*cut)(struct channel *channel));

/** channel_release() - let both streams go on; no-op when they are not held. */
void channel_release(struct channel *channel);

/** channel_watch() - something changed that decides what may move. */
void channel_watch(struct channel *channel);

/** channel_end() - the VM's process has been reaped. */
void channel_end(struct channel *channel);

/**
 * channel_settle() - call drained() if the VM's process has been reaped and the
 * owner has been sent all there was. To be called when the reply to `attach` is
 * queued; otherwise the channel does it by itself.
 */
void channel_settle(struct channel *channel);
