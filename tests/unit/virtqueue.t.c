/*
 * A virtqueue against drivers that keep the rules, and against hostile ones:
 * whatever is in the ring, the device sees whole buffers in memory or -EPROTO.
 */
#include "vmctl/virtqueue.h"
#include "tests/unit/tap.h"

#include <errno.h>
#include <linux/virtio_ring.h>

#define RAM   (1u << 20)
#define SIZE  8
#define DESC  0x1000
#define AVAIL 0x2000
#define USED  0x3000
#define DATA  0x10000

static struct gmem mem;
static struct virtqueue vq;
static struct vring_desc *desc;
static struct vring_avail *avail;
static struct vring_used *used;
static struct vchain chain;
static struct error err;

/* A queue of SIZE entries with nothing in it. */
static void fresh_with(bool events)
{
	memset(mem.base, 0, RAM);
	vq = (struct virtqueue){.size_max = SIZE, .events = events};
	vq.size = SIZE;
	vq.desc = DESC;
	vq.avail = AVAIL;
	vq.used = USED;
	desc = gmem_ptr(&mem, DESC, SIZE * sizeof(*desc));
	avail = gmem_ptr(&mem, AVAIL, 4 + SIZE * 2);
	used = gmem_ptr(&mem, USED, 4 + SIZE * 8);
	if (virtqueue_enable(&vq, &mem, &err) < 0)
		diag("cannot enable: %s", err.text);
}

static void fresh(void)
{
	fresh_with(false);
}

static void set_desc(unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	desc[i] = (struct vring_desc){addr, len, flags, next};
}

static void offer(uint16_t head)
{
	avail->ring[avail->idx % SIZE] = head;
	avail->idx++;
}

static int peek(void)
{
	err.text[0] = '\0';
	return virtqueue_peek(&vq, &mem, &chain, &err);
}

static void refused(const char *what)
{
	is_int(peek(), -EPROTO, "%s is refused", what);
	ok(err.text[0], "with a sentence: %s", err.text);
	is_int(used->idx, 0, "and nothing is given back");
}

static void enable_with(struct virtqueue with, int want, const char *what)
{
	vq = with;
	is_int(virtqueue_enable(&vq, &mem, &err), want, "enable: %s", what);
	is_int(vq.ready, want == 0, "the queue is%s ready", want ? " not" : "");
}

static void test_enable(void)
{
	struct virtqueue good = {
	    .size_max = SIZE, .size = SIZE, .desc = DESC, .avail = AVAIL, .used = USED};
	struct virtqueue bad;

	enable_with(good, 0, "a good queue");
#define BAD(field, value, what)                                                            \
	do {                                                                               \
		bad = good;                                                                \
		bad.field = (value);                                                       \
		enable_with(bad, -EPROTO, what);                                           \
	} while (0)
	BAD(size, 0, "size 0");
	BAD(size, SIZE * 2, "a size above the maximum");
	BAD(size, 3, "a size that is no power of two");
	BAD(desc, DESC + 8, "descriptors not aligned");
	BAD(avail, AVAIL + 1, "available ring not aligned");
	BAD(used, USED + 2, "used ring not aligned");
	BAD(desc, RAM - 16, "descriptors that leave memory");
	BAD(avail, RAM - 2, "an available ring that leaves memory");
	BAD(used, RAM, "a used ring beyond memory");
	BAD(desc, UINT64_MAX - 15, "descriptors at the end of the address space");
	BAD(avail, GMEM_HOLE, "an available ring in the hole");
	BAD(used, GMEM_HOLE_END, "a used ring above 4 GiB in a small guest");
#undef BAD
	good.avail = RAM - (4 + SIZE * 2);
	enable_with(good, 0, "an available ring at the end of memory");
	good.events = true;
	enable_with(good, -EPROTO, "one with an event behind it");
	good.avail = AVAIL;
	good.used = RAM - (4 + SIZE * 8);
	enable_with(good, -EPROTO, "a used ring with an event behind the end of memory");
	good.events = false;
	enable_with(good, 0, "the same without");
}

static void test_simple(void)
{
	struct iov_cursor cur;
	char text[8] = {0};

	fresh();
	is_int(peek(), 0, "an empty queue has no chain");
	set_desc(0, DATA, 3, VRING_DESC_F_NEXT, 5);
	set_desc(5, DATA + 100, 2, VRING_DESC_F_NEXT, 2);
	set_desc(2, DATA + 200, 64, VRING_DESC_F_WRITE, 77);
	memcpy(mem.base + DATA, "abc", 3);
	memcpy(mem.base + DATA + 100, "de", 2);
	offer(0);
	is_int(peek(), 1, "a chain of three buffers");
	is_int(chain.nout, 2, "two to read");
	is_int(chain.nin, 1, "one to write");
	is_int(chain.out, 5, "with 5 bytes");
	is_int(chain.in, 64, "and room for 64");
	cur = vchain_out(&chain);
	is_int(iov_read(&cur, text, sizeof(text)), 5, "reading stops at the end");
	is_str(text, "abcde", "and gives the bytes in order");
	is_int(peek(), 1, "looking consumes nothing");
	is_int(chain.head, 0, "the same chain is there again");
	cur = vchain_in(&chain);
	is_int(iov_write(&cur, "xyz", 3), 3, "writing");
	virtqueue_done(&vq, &mem, &chain, 3);
	is_mem(mem.base + DATA + 200, "xyz", 3, "reaches the guest");
	is_int(used->idx, 1, "the chain is given back");
	is_int(used->ring[0].id, 0, "by its head");
	is_int(used->ring[0].len, 3, "with its length");
	is_int(peek(), 0, "and the queue is empty");
}

static void test_interrupts(void)
{
	fresh();
	ok(virtqueue_wants_interrupt(&vq, &mem), "interrupts are wanted by default");
	avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	ok(!virtqueue_wants_interrupt(&vq, &mem), "and can be suppressed");
}

static void give_back(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		offer(0);
		peek();
		virtqueue_done(&vq, &mem, &chain, 0);
	}
}

/* With events a driver that is behind hears nothing until it has caught up. */
static void test_interrupt_events(uint16_t start)
{
	fresh_with(true);
	set_desc(0, DATA, 1, 0, 0);
	vq.next_avail = vq.next_used = vq.told = avail->idx = used->idx = start;
	avail->ring[SIZE] = start;
	avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	ok(!virtqueue_wants_interrupt(&vq, &mem), "from %u: nothing was given back", start);
	give_back(3);
	ok(virtqueue_wants_interrupt(&vq, &mem), "the first chain is news");
	ok(!virtqueue_wants_interrupt(&vq, &mem), "once");
	give_back(2);
	ok(!virtqueue_wants_interrupt(&vq, &mem),
	   "more is none for a driver that is behind");
	avail->ring[SIZE] = (uint16_t)(start + 5);
	ok(!virtqueue_wants_interrupt(&vq, &mem), "it has caught up, and there is no more");
	give_back(1);
	ok(virtqueue_wants_interrupt(&vq, &mem), "the next one is news again");
}

static uint16_t notify_event(void)
{
	const uint16_t *event = gmem_ptr(&mem, USED + 4 + SIZE * 8, 2);

	return *event;
}

static void test_notify(uint16_t start)
{
	fresh();
	virtqueue_notify_at(&vq, &mem, 0);
	is_int(used->flags, VRING_USED_F_NO_NOTIFY, "without events: no notify");
	virtqueue_notify_at(&vq, &mem, 5);
	is_int(used->flags, 0, "or with every chain");

	fresh_with(true);
	vq.next_avail = vq.next_used = avail->idx = used->idx = start;
	virtqueue_notify_at(&vq, &mem, 5);
	is_int(notify_event(), (uint16_t)(start + 4), "from %u: with the fifth chain",
	       start);
	is_int(used->flags, 0, "the flags stay as they were");
	virtqueue_notify_at(&vq, &mem, 0);
	is_int(notify_event(), (uint16_t)(start - 1), "with none for a long time");
	offer(0);
	offer(0);
	is_int(virtqueue_pending_all(&vq, &mem, &err), 2, "two are there");
	is_int(notify_event(), (uint16_t)(start + 2), "and the third one is news");
	avail->idx = (uint16_t)(start + SIZE + 1);
	is_int(virtqueue_pending_all(&vq, &mem, &err), -EPROTO, "too many are refused");
	virtqueue_reset(&vq);
	is_int(virtqueue_pending_all(&vq, &mem, &err), 0, "a reset queue has none");
}

static void test_wrap(void)
{
	unsigned bad = 0;

	fresh();
	vq.next_avail = vq.next_used = avail->idx = used->idx = 0xfffa;
	for (unsigned i = 0; i < 3 * SIZE; i++) {
		uint16_t head = (uint16_t)(i * 5 % SIZE);

		set_desc(head, DATA + i, i + 1, VRING_DESC_F_WRITE, 0);
		offer(head);
		bad += peek() != 1 || chain.head != head || chain.in != i + 1;
		virtqueue_done(&vq, &mem, &chain, i);
		bad += used->ring[(0xfffa + i) % SIZE].id != head;
		bad += used->ring[(0xfffa + i) % SIZE].len != i;
	}
	is_int(bad, 0, "indices wrap around at 65536 and at the queue's size");
	is_int(used->idx, (uint16_t)(0xfffa + 3 * SIZE), "the used index follows");
}

static void test_full(void)
{
	fresh();
	for (unsigned i = 0; i < SIZE; i++)
		set_desc(i, DATA, 1, i + 1 < SIZE ? VRING_DESC_F_NEXT : 0,
			 (uint16_t)(i + 1));
	offer(0);
	is_int(peek(), 1, "a chain as long as the queue is good");
	is_int(chain.nout, SIZE, "all its buffers are there");

	fresh();
	for (unsigned i = 0; i < SIZE; i++) {
		set_desc(i, DATA, 1, 0, 0);
		offer((uint16_t)i);
	}
	is_int(virtqueue_pending(&vq, &mem, &err), SIZE, "a full ring is good");
}

static void test_hostile_index(void)
{
	fresh();
	avail->idx = SIZE + 1;
	refused("an available index beyond the queue's size");
	fresh();
	avail->idx = 0xffff;
	refused("an available index that went backwards");
	fresh();
	offer(SIZE);
	refused("a head that is no descriptor");
	fresh();
	offer(0xffff);
	refused("a head of 65535");
	fresh();
	set_desc(0, DATA, 1, VRING_DESC_F_NEXT, SIZE);
	offer(0);
	refused("a next that is no descriptor");
}

static void test_hostile_chain(void)
{
	fresh();
	set_desc(0, DATA, 1, VRING_DESC_F_NEXT, 0);
	offer(0);
	refused("a descriptor that is its own next");
	fresh();
	set_desc(0, DATA, 1, VRING_DESC_F_NEXT, 1);
	set_desc(1, DATA, 1, VRING_DESC_F_NEXT, 2);
	set_desc(2, DATA, 1, VRING_DESC_F_NEXT, 1);
	offer(0);
	refused("a loop of two");
	fresh();
	set_desc(0, DATA, 1, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
	set_desc(1, DATA, 1, 0, 0);
	offer(0);
	refused("a readable buffer after a writable one");
	fresh();
	set_desc(0, DATA, 16, VRING_DESC_F_INDIRECT, 0);
	offer(0);
	refused("an indirect table, which was not offered,");
}

#define TABLE 0x8000

/* An indirect table with @count descriptors of one byte each. */
static struct vring_desc *indirect(unsigned count)
{
	struct vring_desc *table;

	fresh();
	vq.indirect = true;
	table = gmem_ptr(&mem, TABLE, count * sizeof(*table));
	for (unsigned i = 0; i < count; i++)
		table[i] =
		    (struct vring_desc){DATA + i, 1, VRING_DESC_F_NEXT, (uint16_t)(i + 1)};
	table[count - 1].flags = 0;
	set_desc(3, TABLE, count * (uint32_t)sizeof(*table), VRING_DESC_F_INDIRECT, 0);
	offer(3);
	return table;
}

static void test_indirect(void)
{
	struct iov_cursor cur;
	char text[8] = {0};

	indirect(5);
	memcpy(mem.base + DATA, "table", 5);
	is_int(peek(), 1, "a chain in a table of its own");
	is_int(chain.head, 3, "has the head of the descriptor that names it");
	is_int(chain.nout, 5, "and its own buffers");
	cur = vchain_out(&chain);
	is_int(iov_read(&cur, text, sizeof(text)), 5, "they can be read");
	is_str(text, "table", "in order");
	virtqueue_done(&vq, &mem, &chain, 0);
	is_int(used->ring[0].id, 3, "it is given back by its head");
	indirect(VIRTQUEUE_SIZE_MAX);
	is_int(peek(), 1, "a table may be longer than the queue");
	is_int(chain.nout, VIRTQUEUE_SIZE_MAX, "up to a limit");
}

static void test_hostile_table(void)
{
	struct vring_desc *table;

	indirect(VIRTQUEUE_SIZE_MAX + 1);
	refused("a table beyond that limit");
	indirect(2);
	desc[3].len = 0;
	refused("an empty table");
	indirect(2);
	desc[3].len = 17;
	refused("a table with a part of a descriptor");
	indirect(2);
	desc[3].len = UINT32_MAX - 15;
	refused("a table of 4 GiB");
	indirect(2);
	desc[3].addr = TABLE + 4;
	refused("a table that is not aligned");
	indirect(2);
	desc[3].addr = RAM - 16;
	refused("a table that leaves memory");
	indirect(2);
	desc[3].addr = UINT64_MAX - 15;
	refused("a table at the end of the address space");
	indirect(2);
	desc[3].flags |= VRING_DESC_F_NEXT;
	refused("a table with a successor");
	table = indirect(2);
	table[1].flags = VRING_DESC_F_INDIRECT;
	refused("a table in a table");
	table = indirect(2);
	table[0].next = 2;
	refused("a next that is not in the table");
	table = indirect(2);
	table[0].next = 0;
	refused("a loop in a table");
	table = indirect(2);
	table[1].addr = RAM;
	refused("a buffer outside of memory, in a table,");
	indirect(2);
	set_desc(0, DATA, 1, VRING_DESC_F_NEXT, 3);
	avail->ring[0] = 0;
	refused("a table behind a buffer");
}

static void test_hostile_buffer(void)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
		const char *what;
	} bad[] = {
	    {RAM, 1, "a buffer after the end of memory"},
	    {RAM - 1, 2, "a buffer across the end of memory"},
	    {DATA, UINT32_MAX, "a buffer of 4 GiB"},
	    {UINT64_MAX, 1, "a buffer at the last address"},
	    {UINT64_MAX - 1, 16, "a buffer whose end wraps around"},
	    {GMEM_HOLE, 1, "a buffer in the hole"},
	    {GMEM_HOLE_END, 1, "a buffer above 4 GiB in a small guest"},
	    {0xd0000000, 4, "a buffer over device registers"},
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		fresh();
		set_desc(0, bad[i].addr, bad[i].len, 0, 0);
		offer(0);
		refused(bad[i].what);
		fresh();
		set_desc(0, DATA, 1, VRING_DESC_F_NEXT, 1);
		set_desc(1, bad[i].addr, bad[i].len, VRING_DESC_F_WRITE, 0);
		offer(0);
		refused(bad[i].what);
	}
	fresh();
	set_desc(0, DATA, 0, 0, 0);
	offer(0);
	is_int(peek(), 1, "an empty buffer is odd and harmless");
	is_int(chain.out, 0, "it has no bytes");
}

/* Buffers that are fine one by one may have a sum that does not fit. */
static void test_hostile_sum(void)
{
	struct gmem large;
	struct gmem small = mem;

	if (gmem_init(&large, 3ull << 30, &err) < 0) {
		skip(3, "no 3 GiB of address space");
		return;
	}
	mem = large;
	vq = (struct virtqueue){.size_max = SIZE};
	vq.size = SIZE;
	vq.desc = DESC;
	vq.avail = AVAIL;
	vq.used = USED;
	desc = gmem_ptr(&mem, DESC, 1);
	avail = gmem_ptr(&mem, AVAIL, 1);
	used = gmem_ptr(&mem, USED, 1);
	is_int(virtqueue_enable(&vq, &mem, &err), 0, "a guest of 3 GiB");
	set_desc(0, 0, 0xbfffffff, VRING_DESC_F_NEXT, 1);
	set_desc(1, 0, 0xbfffffff, 0, 0);
	offer(0);
	refused("a chain of more than 4 GiB");
	gmem_fini(&mem);
	mem = small;
}

static unsigned below(unsigned n)
{
	static unsigned seed = 1;

	return (unsigned)rand_r(&seed) % n;
}

/* Small ones are as frequent as large ones. */
static uint64_t random_number(void)
{
	uint64_t r = (uint64_t)below(1u << 31) << 33 | below(1u << 31);

	return r >> (below(8) ? 40 + below(24) : below(64));
}

/* Any bytes at all: the device ends with buffers in memory, or with a refusal. */
static void test_random(void)
{
	unsigned outside = 0, good = 0, too_many = 0;

	for (unsigned round = 0; round < 200000; round++) {
		int r;

		if (round % 1000 == 0)
			fresh_with(round % 2000);
		for (unsigned i = 0; i < SIZE; i++)
			set_desc(i, random_number(), (uint32_t)random_number(),
				 (uint16_t)below(5), (uint16_t)below(9));
		avail->idx = (uint16_t)(vq.next_avail + below(SIZE + 2));
		avail->ring[vq.next_avail % SIZE] = (uint16_t)(below(SIZE + 1));
		avail->ring[SIZE] = (uint16_t)below(1u << 16);
		too_many += virtqueue_pending_all(&vq, &mem, &err) > SIZE;
		r = peek();
		if (r <= 0)
			continue;
		good++;
		for (unsigned i = 0; i < chain.nout + chain.nin; i++) {
			const uint8_t *p = chain.iov[i].iov_base;

			outside +=
			    p < mem.base || p + chain.iov[i].iov_len > mem.base + RAM;
		}
		virtqueue_done(&vq, &mem, &chain, chain.in);
		virtqueue_wants_interrupt(&vq, &mem);
		virtqueue_notify_at(&vq, &mem, below(SIZE));
	}
	ok(good > 1000, "random rings: %u chains were taken", good);
	is_int(outside, 0, "no buffer is outside of memory");
	is_int(too_many, 0, "no queue has more chains than entries");
}

static void test_not_ready(void)
{
	fresh();
	set_desc(0, DATA, 1, 0, 0);
	offer(0);
	virtqueue_reset(&vq);
	is_int(peek(), 0, "a queue that was reset has no chains");
	is_int(vq.size_max, SIZE, "and keeps its largest size");
}

int main(void)
{
	if (gmem_init(&mem, RAM, &err) < 0)
		return 1;
	test_enable();
	test_simple();
	test_interrupts();
	test_interrupt_events(0);
	test_interrupt_events(0xfffd);
	test_notify(0);
	test_notify(0xfffe);
	test_wrap();
	test_full();
	test_hostile_index();
	test_hostile_chain();
	test_indirect();
	test_hostile_table();
	test_hostile_buffer();
	test_hostile_sum();
	test_random();
	test_not_ready();
	gmem_fini(&mem);
	return done_testing();
}
