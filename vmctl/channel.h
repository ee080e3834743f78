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
 * What went to an owner stays in @from_vm until it is credited: an owner may be killed
 * before it has dealt with it. The next one tells how much of the stream it knows and
 * gets the rest again. So LINK_WINDOW is always @window and what is kept, while there is
 * an owner.
 *
 * A fork cuts both streams (docs/fork.md). From channel_hold() on nothing is read
 * and what the owner sends waits, its last @held bytes; channel_cut() lets bytes
 * through up to the place of the cut, where cut() is called; channel_release() ends
 * it.
 *
 * When the broker is killed
 *
 * All that must not be lost is in @state, which another broker finds, as it finds the
 * socket (keep.h). A killed process has carried out some of its instructions and none of
 * the others, so what counts is their order. Of bytes of the VM: (1) they are peeked, by
 * which the socket's own peek offset (SO_PEEK_OFF) grows, to behind the end of @from_vm;
 * (2) they are counted there; (3) they are taken from the socket, by which the offset goes
 * back to 0; (4) @consumed is told. With C for what was counted but not told, and P for the
 * offset, a broker that finds
 *	C = 0, P = 0  has found everything in its place;
 *	C = 0, P > 0  came after (1): it peeks again, from the beginning;
 *	C > 0, P > 0  came after (2), or amid (3): it takes P bytes, which are counted;
 *	C > 0, P = 0  came after (3): it tells @consumed.
 * So none is lost, and none is there twice. Bytes for the VM are appended as whole
 * frames of the link, and counted by one store. (1) @writing is set; (2) they are written;
 * (3) they are dropped from @to_vm; (4) @writing is cleared. No offset tells whether (2)
 * has been, but the VM's process knows how much it was ever sent: a broker that finds
 *@writing set asks it, and writes nothing before channel_sent().
 *
 * What was held for a fork or a freeze is not held any more: these have failed with the
 * broker that wanted them.
 *
 * The socket is watched only for what is of use now: a peer that is gone makes
 * it readable and writable for ever.
 */
#pragma once

#include "util/error.h"
#include "util/list.h"
#include "util/loop.h"
#include "vmctl/kept.h"

#include <stdbool.h>
#include <stdint.h>

struct client;

#define CHANNEL_NOW UINT64_MAX

struct channel {
	struct link link; /* on client->channels, while it has an owner */
	struct loop *loop;
	struct loop_source source;
	struct client *owner;
	struct channel_state *state;
	struct ring from_vm; /* the newest bytes of the VM, that no owner has credited */
	struct ring to_vm;
	size_t repeat; /* how many of @from_vm the owner is to get again */
	uint32_t id;
	uint32_t window;  /* bytes that may still go to the owner */
	uint32_t allowed; /* bytes that the owner may still send */
	uint32_t taken;	  /* bytes the VM took, not yet told to the owner */
	size_t stale;	  /* bytes of @to_vm that came from former owners */
	uint64_t
	    limit; /* what has been read of the VM may come to it; UINT64_MAX: no limit */
	bool hold;
	bool unsure; /* another broker was killed amid writing: see channel_sent() */
	size_t held; /* bytes at the end of @to_vm that have to wait */
	int fd;	     /* the agent socket; -1 when its end has been read */
	bool ended;  /* the VM's process is gone: no more bytes will come */
	void (*drained)(struct channel *channel); /* the last byte is queued */
	void (*cut)(struct channel *channel);	  /* @limit has been come to */
};

/**
 * channel_init() - a channel without an owner.
 * @kept: what is known of the VM; all zeros, or left by another broker. The caller's.
 * @fd:   the channel's from now on.
 */
void channel_init(struct channel *channel, struct loop *loop, struct kept *kept, int fd,
		  void (*drained)(struct channel *channel));

/** channel_sent() - of an @unsure channel: the VM was sent @count bytes. Return: 0, or
 * -EPROTO if that cannot be. */
int channel_sent(struct channel *channel, uint64_t count);

/** channel_relayed() - how many bytes were ever read from the VM. */
static inline uint64_t channel_relayed(const struct channel *channel)
{
	return channel->state->from_vm.head;
}

/** channel_fed() - how many bytes its owners have sent that are not held. */
static inline uint64_t channel_fed(const struct channel *channel)
{
	return channel->state->to_vm.head - channel->held;
}

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
