#include "vmctl/virtqueue.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <stddef.h>
#include <string.h>

void virtqueue_reset(struct virtqueue *vq)
{
	*vq = (struct virtqueue){.size_max = vq->size_max, .indirect = vq->indirect};
}

/* Size and alignment of the parts: virtio 1.2, 2.7. */
static uint64_t desc_bytes(const struct virtqueue *vq)
{
	return (uint64_t)vq->size * sizeof(struct vring_desc);
}

static uint64_t avail_bytes(const struct virtqueue *vq)
{
	return sizeof(struct vring_avail) + (uint64_t)vq->size * 2 + (vq->events ? 2 : 0);
}

static uint64_t used_bytes(const struct virtqueue *vq)
{
	return sizeof(struct vring_used) +
	       (uint64_t)vq->size * sizeof(struct vring_used_elem) + (vq->events ? 2 : 0);
}

static int check_part(const struct gmem *mem, uint64_t gpa, uint64_t len, unsigned align,
		      const char *what, struct error *err)
{
	if (gpa % align)
		return error_say(err, EPROTO, "its %s is not aligned to %u bytes", what,
				 align);
	if (!gmem_ptr(mem, gpa, len))
		return error_say(err, EPROTO, "its %s is not in memory", what);
	return 0;
}

int virtqueue_enable(struct virtqueue *vq, const struct gmem *mem, struct error *err)
{
	int r;

	if (!vq->size || vq->size > vq->size_max || vq->size & (vq->size - 1))
		return error_say(err, EPROTO, "a queue of %u entries is not possible",
				 vq->size);
	r = check_part(mem, vq->desc, desc_bytes(vq), 16, "descriptor table", err);
	if (!r)
		r = check_part(mem, vq->avail, avail_bytes(vq), 2, "available ring", err);
	if (!r)
		r = check_part(mem, vq->used, used_bytes(vq), 4, "used ring", err);
	if (r < 0)
		return r;
	vq->next_avail = vq->next_used = vq->told = 0;
	vq->ready = true;
	return 0;
}

/* Only for queues that are ready: their parts have been checked. */
static struct vring_avail *avail_ring(const struct virtqueue *vq, const struct gmem *mem)
{
	return gmem_ptr(mem, vq->avail, avail_bytes(vq));
}

int virtqueue_pending(const struct virtqueue *vq, const struct gmem *mem, struct error *err)
{
	uint16_t index, pending;

	if (!vq->ready)
		return 0;
	index = __atomic_load_n(&avail_ring(vq, mem)->idx, __ATOMIC_ACQUIRE);
	pending = (uint16_t)(index - vq->next_avail);
	if (pending > vq->size)
		return error_say(err, EPROTO,
				 "%u chains are available in a queue of %u entries",
				 pending, vq->size);
	return pending;
}

/* A table of descriptors: the queue's own, or an indirect one (virtio 1.2, 2.7.5.3). */
struct table {
	const struct vring_desc *at;
	unsigned size;
};

static struct table own_table(const struct virtqueue *vq, const struct gmem *mem)
{
	return (struct table){gmem_ptr(mem, vq->desc, desc_bytes(vq)), vq->size};
}

/* Read descriptor @index once. */
static int copy_descriptor(const struct table *table, uint16_t index,
			   struct vring_desc *desc, struct error *err)
{
	if (index >= table->size)
		return error_say(err, EPROTO,
				 "descriptor %u does not exist in a table of %u entries",
				 index, table->size);
	desc->addr = __atomic_load_n(&table->at[index].addr, __ATOMIC_RELAXED);
	desc->len = __atomic_load_n(&table->at[index].len, __ATOMIC_RELAXED);
	desc->flags = __atomic_load_n(&table->at[index].flags, __ATOMIC_RELAXED);
	desc->next = __atomic_load_n(&table->at[index].next, __ATOMIC_RELAXED);
	return 0;
}

/* The table that @desc names, which is the whole chain. */
static int indirect_table(const struct virtqueue *vq, const struct gmem *mem,
			  const struct vring_desc *desc, struct table *table,
			  struct error *err)
{
	if (!vq->indirect)
		return error_say(err, EPROTO, "an indirect descriptor was not offered");
	if (desc->flags & VRING_DESC_F_NEXT)
		return error_say(err, EPROTO, "an indirect descriptor has a successor");
	table->size = desc->len / (unsigned)sizeof(*table->at);
	if (desc->len % sizeof(*table->at) || !table->size ||
	    table->size > VIRTQUEUE_SIZE_MAX)
		return error_say(err, EPROTO, "an indirect table has %u bytes", desc->len);
	if (desc->addr % _Alignof(struct vring_desc))
		return error_say(err, EPROTO, "an indirect table is not aligned");
	table->at = gmem_ptr(mem, desc->addr, desc->len);
	if (!table->at)
		return error_say(err, EPROTO, "an indirect table is not in memory");
	return 0;
}

/* Append one checked buffer to @chain. */
static int chain_add(struct vchain *chain, const struct gmem *mem,
		     const struct vring_desc *desc, struct error *err)
{
	bool in = desc->flags & VRING_DESC_F_WRITE;
	uint32_t *sum = in ? &chain->in : &chain->out;
	struct iovec *iov = &chain->iov[chain->nout + chain->nin];

	if (desc->flags & VRING_DESC_F_INDIRECT)
		return error_say(err, EPROTO, "an indirect descriptor is part of a chain");
	if (!in && chain->nin)
		return error_say(err, EPROTO,
				 "a readable descriptor follows a writable one");
	if (__builtin_add_overflow(*sum, desc->len, sum))
		return error_say(err, EPROTO, "a chain is longer than 4 GiB");
	iov->iov_base = gmem_ptr(mem, desc->addr, desc->len);
	iov->iov_len = desc->len;
	if (!iov->iov_base)
		return error_say(err, EPROTO, "%u bytes at 0x%llx are not in memory",
				 desc->len, (unsigned long long)desc->addr);
	if (in)
		chain->nin++;
	else
		chain->nout++;
	return 0;
}

/* Add what begins at descriptor @index of @table, of which @desc is a copy. */
static int chain_add_all(struct vchain *chain, const struct gmem *mem,
			 const struct table *table, struct vring_desc *desc,
			 struct error *err)
{
	for (;;) {
		int r;

		if (chain->nout + chain->nin == table->size)
			return error_say(err, EPROTO,
					 "a chain is longer than its table of %u entries",
					 table->size);
		r = chain_add(chain, mem, desc, err);
		if (r < 0 || !(desc->flags & VRING_DESC_F_NEXT))
			return r;
		r = copy_descriptor(table, desc->next, desc, err);
		if (r < 0)
			return r;
	}
}

int virtqueue_peek(const struct virtqueue *vq, const struct gmem *mem, struct vchain *chain,
		   struct error *err)
{
	int r = virtqueue_pending(vq, mem, err);
	struct vring_desc desc = {0};
	struct table table;

	if (r <= 0)
		return r;
	table = own_table(vq, mem);
	chain->head = __atomic_load_n(&avail_ring(vq, mem)->ring[vq->next_avail % vq->size],
				      __ATOMIC_RELAXED);
	chain->nout = chain->nin = 0;
	chain->out = chain->in = 0;
	r = copy_descriptor(&table, chain->head, &desc, err);
	if (!r && desc.flags & VRING_DESC_F_INDIRECT) {
		r = indirect_table(vq, mem, &desc, &table, err);
		if (!r)
			r = copy_descriptor(&table, 0, &desc, err);
	}
	if (!r)
		r = chain_add_all(chain, mem, &table, &desc, err);
	return r < 0 ? r : 1;
}

void virtqueue_take(struct virtqueue *vq, const struct gmem *mem,
		    const struct vchain *chain, uint32_t written)
{
	struct vring_used *used = gmem_ptr(mem, vq->used, used_bytes(vq));
	struct vring_used_elem *elem = &used->ring[vq->next_used % vq->size];

	elem->id = chain->head;
	elem->len = written;
	vq->next_avail++;
	vq->next_used++;
}

void virtqueue_untake(struct virtqueue *vq, unsigned chains)
{
	vq->next_avail = (uint16_t)(vq->next_avail - chains);
	vq->next_used = (uint16_t)(vq->next_used - chains);
}

void virtqueue_give(struct virtqueue *vq, const struct gmem *mem)
{
	struct vring_used *used = gmem_ptr(mem, vq->used, used_bytes(vq));

	__atomic_store_n(&used->idx, vq->next_used, __ATOMIC_RELEASE);
}

void virtqueue_done(struct virtqueue *vq, const struct gmem *mem,
		    const struct vchain *chain, uint32_t written)
{
	virtqueue_take(vq, mem, chain, written);
	virtqueue_give(vq, mem);
}

bool virtqueue_wants_interrupt(struct virtqueue *vq, const struct gmem *mem)
{
	const struct vring_avail *avail = avail_ring(vq, mem);
	uint16_t before = vq->told;

	vq->told = vq->next_used;
	/* The used index must be visible before the driver's word is read: the driver
	 * gives that and then looks at the index once more. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!vq->events)
		return !(__atomic_load_n(&avail->flags, __ATOMIC_RELAXED) &
			 VRING_AVAIL_F_NO_INTERRUPT);
	return vring_need_event(__atomic_load_n(&avail->ring[vq->size], __ATOMIC_RELAXED),
				vq->next_used, before);
}

/* With events the device's word is behind the used ring, and its flags mean nothing. */
void virtqueue_notify_at(const struct virtqueue *vq, const struct gmem *mem,
			 unsigned chains)
{
	struct vring_used *used;
	uint16_t *event;

	if (!vq->ready)
		return;
	used = gmem_ptr(mem, vq->used, used_bytes(vq));
	event = (void *)((uint8_t *)used + used_bytes(vq) - sizeof(*event));
	if (vq->events)
		__atomic_store_n(event, (uint16_t)(vq->next_avail + chains - 1),
				 __ATOMIC_RELAXED);
	else
		__atomic_store_n(&used->flags, chains ? 0 : VRING_USED_F_NO_NOTIFY,
				 __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* A driver that keeps the rules fills the queue at most: so this ends, with any. */
int virtqueue_pending_all(const struct virtqueue *vq, const struct gmem *mem,
			  struct error *err)
{
	int pending = virtqueue_pending(vq, mem, err), before = -1;

	for (unsigned i = 0; i <= vq->size && pending >= 0 && pending != before; i++) {
		before = pending;
		virtqueue_notify_at(vq, mem, (unsigned)pending + 1);
		pending = virtqueue_pending(vq, mem, err);
	}
	return pending;
}
