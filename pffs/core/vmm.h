/*
 * The client side of the link to vmctl: control requests and VM channels.
 *
 * Theory of operation: one stream, non-blocking, in the event loop. A request is
 * answered by one call of its reply function, with NULL and a sentence when the
 * link broke first. A channel belongs to one VM: what is queued on it goes out
 * as the peer's credit allows, in whole frames of the agent's protocol; what comes in is
 * handed over at once, and credited back when it has been dealt with, since vmctl keeps it
 * until then for a pffs that takes the channel up. When the link breaks every channel is
 * told that it is lost; the VM may go on.
 */
#pragma once

#include "util/error.h"
#include "util/loop.h"
#include "wire/link.h"

#include <jansson.h>
#include <stdbool.h>

struct channel {
	struct link link; /* on vmm->channels while attached */
	struct vmm *vmm;
	uint32_t id;	   /* the VM's id */
	struct buf out;	   /* bytes that wait for credit */
	uint32_t credit;   /* bytes we may still send */
	uint64_t sent;	   /* bytes that the VM was ever sent on it */
	uint64_t received; /* bytes that have ever come */
	uint64_t credited; /* of these, what was dealt with and given back */
	void (*data)(struct channel *channel, const uint8_t *data, size_t len);
	void (*dead)(struct channel *channel, const char *reason);
	void (*lost)(struct channel *channel, const char *reason); /* the link broke */
	void (*drained)(struct channel *channel); /* all that was queued has gone */
	void (*net)(struct channel *channel, const json_t *event); /* of its network */
};

#define VMM_DOOMED_MAX 64

struct vmm {
	struct loop *loop;
	struct loop_source source; /* fd is the link's; -1 while there is none */
	struct buf in, out;
	struct loop_timer again;	 /* what there was no memory for is tried again */
	uint32_t doomed[VMM_DOOMED_MAX]; /* VMs that are still to be destroyed */
	unsigned doomed_count;
	bool greeted; /* the peer's LINK_HELLO has come */
	json_int_t next_seq;
	struct link requests; /* struct request, defined in vmm.c */
	struct link channels;
	void (*broken)(struct vmm *vmm, const char *reason);
	void (*uplink)(struct vmm *vmm, const json_t *event); /* there is another one */
};

/** vmm_init() - a client without a link. @broken is called when a link is lost, @uplink
 * when vmctl says so. */
void vmm_init(struct vmm *vmm, struct loop *loop,
	      void (*broken)(struct vmm *vmm, const char *reason),
	      void (*uplink)(struct vmm *vmm, const json_t *event));

/**
 * vmm_connect() - take a connected stream socket and greet the peer.
 * @fd: owned by the client from now on, also on failure.
 * Return: 0 or -errno with @err filled.
 */
int vmm_connect(struct vmm *vmm, int fd, struct error *err);

/** vmm_connected() - there is a link; it may not have answered yet. */
bool vmm_connected(const struct vmm *vmm);

typedef void vmm_reply_fn(void *ctx, json_t *reply, const struct error *err);

/**
 * vmm_request() - send a control request.
 * @message: JSON object with at least "op"; stolen.
 * @fn: called once: with the reply (borrowed), or with NULL and the error that
 *      the peer sent or the break of the link. NULL when nobody wants to know.
 */
void vmm_request(struct vmm *vmm, json_t *message, vmm_reply_fn *fn, void *ctx);

/** vmm_ask() - likewise, for an operation on @vm that needs no more to be said. */
void vmm_ask(struct vmm *vmm, const char *op, uint32_t vm, vmm_reply_fn *fn, void *ctx);

/** vmm_destroy() - end VM @id, which nobody has any more. Should there be no memory to ask
 * for that, it is asked later. */
void vmm_destroy(struct vmm *vmm, uint32_t id);

/** vmm_attach() - begin to use the channel of VM @id. */
void vmm_attach(struct vmm *vmm, struct channel *channel, uint32_t id);

/**
 * vmm_resume() - go on with a channel that a former pffs has begun to use.
 * @sent, @received: where its streams are, as the reply to `attach` says.
 */
void vmm_resume(struct vmm *vmm, struct channel *channel, uint32_t id, uint64_t sent,
		uint64_t received);

/** vmm_took() - all that came on @channel was dealt with, but the last @left bytes. */
void vmm_took(struct channel *channel, size_t left);

/** vmm_position() - how many bytes @channel will have sent when its queue is empty. */
static inline uint64_t vmm_position(const struct channel *channel)
{
	return channel->sent + channel->out.len;
}

/** vmm_hand_over() - the VM of @from, and what waits for it, is @to's from now on. */
void vmm_hand_over(struct channel *from, struct channel *to);

/** vmm_detach() - stop using a channel; what was queued on it is dropped. */
void vmm_detach(struct channel *channel);

/** vmm_flush() - send what is in @channel->out, as far as credit goes. */
void vmm_flush(struct channel *channel);

/** vmm_close() - end the link without calling @broken. */
void vmm_close(struct vmm *vmm);
