/*
 * Split virtqueues (virtio 1.2, 2.7), against a hostile driver.
 *
 * Theory of operation: the device looks at the first chain that the driver has
 * made available with virtqueue_peek(), which consumes nothing, and gives it
 * back with virtqueue_done(). A device that cannot take a chain yet just looks
 * again later. Chains are finished in the order in which they came.
 *
 * Ring and descriptors are in memory that the guest may change at any moment.
 * Every field is read once, the copy is checked, and only the copy is used.
 * After virtqueue_peek() the buffers are known to be RAM; what is in them stays
 * the guest's to change.
 *
 * Each notify is an exit of the VM, and each interrupt costs its guest several. With
 * VIRTIO_RING_F_EVENT_IDX (2.7.7, 2.7.10) either side says which index of the other's it
 * wants to hear of next: the driver of none while it is behind with what it was given,
 * the device of one by which there is something worth its while. A driver that lies
 * about its index misses what it would have been told, and nothing else.
 */
#pragma once

#include "util/error.h"
#include "vmctl/gmem.h"
#include "vmctl/iov.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define VIRTQUEUE_SIZE_MAX 256

struct virtqueue {
	uint16_t size_max;	    /* what the device offers */
	bool indirect;		    /* and whether chains may be in tables of their own */
	bool events;		    /* both sides name what they want to hear of by index */
	uint16_t size;		    /* what the driver chose, a power of two */
	bool ready;		    /* the fields above and below are checked */
	uint64_t desc, avail, used; /* gpa of the three parts */
	uint16_t next_avail;	    /* free-running index of the next chain to take */
	uint16_t next_used;	    /* free-running index of the next to give back */
	uint16_t told; /* what @next_used was at the last look whether to tell */
};

struct vchain {
	uint16_t head;	    /* index of its first descriptor */
	unsigned nout, nin; /* buffers to read from, buffers to write to */
	uint32_t out, in;   /* bytes in each */
	struct iovec iov[VIRTQUEUE_SIZE_MAX]; /* nout, then nin */
};

/** vchain_out() - a cursor over what the driver wrote for the device. */
static inline struct iov_cursor vchain_out(const struct vchain *chain)
{
	return iov_at(chain->iov, chain->nout);
}

/** vchain_in() - a cursor over the room that the driver gave the device. */
static inline struct iov_cursor vchain_in(const struct vchain *chain)
{
	return iov_at(chain->iov + chain->nout, chain->nin);
}

/** virtqueue_reset() - back to the state after power on. */
void virtqueue_reset(struct virtqueue *vq);

/**
 * virtqueue_enable() - check the driver's size and addresses, begin at index 0.
 * Return: 0 or -EPROTO with @err filled.
 */
int virtqueue_enable(struct virtqueue *vq, const struct gmem *mem, struct error *err);

/**
 * virtqueue_pending() - how many chains the driver has made available.
 * Return: 0 for a queue that is not ready, or -EPROTO with @err filled when the
 * driver claims more than the queue holds. Chains that come later have a notify
 * of their own, so handling this many bounds the work of one notify.
 */
int virtqueue_pending(const struct virtqueue *vq, const struct gmem *mem,
		      struct error *err);

/**
 * virtqueue_peek() - the next chain, which stays in the queue.
 * Return: 1 with @chain filled, 0 without one, -EPROTO with @err filled.
 */
int virtqueue_peek(const struct virtqueue *vq, const struct gmem *mem, struct vchain *chain,
		   struct error *err);

/**
 * virtqueue_done() - give the chain of the latest virtqueue_peek() back.
 * @written: bytes written to its buffers.
 */
void virtqueue_done(struct virtqueue *vq, const struct gmem *mem,
		    const struct vchain *chain, uint32_t written);

/**
 * virtqueue_take() - as virtqueue_done(), but the driver does not see it before
 * virtqueue_give(): for what has several chains, and comes whole or not at all.
 */
void virtqueue_take(struct virtqueue *vq, const struct gmem *mem,
		    const struct vchain *chain, uint32_t written);

/** virtqueue_untake() - the last @chains that were taken, and not given, are pending again.
 */
void virtqueue_untake(struct virtqueue *vq, unsigned chains);

/** virtqueue_give() - give back all that was taken. */
void virtqueue_give(struct virtqueue *vq, const struct gmem *mem);

/**
 * virtqueue_wants_interrupt() - the driver wants to hear of what was given back since
 * this was asked last.
 */
bool virtqueue_wants_interrupt(struct virtqueue *vq, const struct gmem *mem);

/**
 * virtqueue_notify_at() - ask the driver to notify us when it has made @chains available.
 * @chains: counted as virtqueue_pending() does; 0: do not notify.
 *
 * It may notify all the same, and a driver without events does so with every chain. Who
 * has asked looks at the queue once more: the chains may have come just before.
 */
void virtqueue_notify_at(const struct virtqueue *vq, const struct gmem *mem,
			 unsigned chains);

/**
 * virtqueue_pending_all() - as virtqueue_pending(), and the driver will notify us of
 * whatever chain comes next.
 */
int virtqueue_pending_all(const struct virtqueue *vq, const struct gmem *mem,
			  struct error *err);
