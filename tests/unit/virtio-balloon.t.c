/*
 * The balloon gives back what the driver says is free, and nothing else.
 */
#include "tests/unit/virtio_driver.h"
#include "vmctl/virtio_balloon.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

enum { INFLATE, DEFLATE, REPORTING };

#define BLOCK (RAM / 2) /* memory that the tests use up */

static struct virtio_balloon balloon;

/* A machine whose upper half of memory is used. */
static void fresh(void)
{
	virtio_balloon_init(&balloon, &mem, line);
	probe(&balloon.dev);
	memset(mem.base + BLOCK, 0xaa, BLOCK);
}

/* Is the page at @gpa there? */
static bool resident(uint64_t gpa)
{
	unsigned char in = 0;

	mincore(mem.base + gpa, 4096, &in);
	return in & 1;
}

static unsigned missing_pages(void)
{
	unsigned n = 0;

	for (uint64_t at = BLOCK; at < RAM; at += 4096)
		n += !resident(at);
	return n;
}

static int report(void *at, size_t len)
{
	struct iovec iov = {at, len};

	chain(REPORTING, 0, &iov, 0, 1);
	return notify(&balloon.dev, REPORTING);
}

static void test_device(void)
{
	fresh();
	is_int(reg(&balloon.dev, VIRTIO_MMIO_DEVICE_ID), 5, "a memory balloon");
	ok(offered(&balloon.dev) & 1 << VIRTIO_BALLOON_F_REPORTING,
	   "which takes reports of free pages");
	set(&balloon.dev, VIRTIO_MMIO_QUEUE_SEL, REPORTING);
	ok(reg(&balloon.dev, VIRTIO_MMIO_QUEUE_NUM_MAX) >= 32,
	   "in a queue that is long enough for Linux");
	is_int(reg(&balloon.dev, VIRTIO_MMIO_CONFIG), 0, "it shall stay empty");
}

static void test_report(void)
{
	struct iovec two[2] = {{mem.base + BLOCK, 0x10000},
			       {mem.base + BLOCK + 0x80000, 0x20000}};

	fresh();
	is_int(missing_pages(), 0, "all memory is in use");
	chain(REPORTING, 0, two, 0, 2);
	is_int(notify(&balloon.dev, REPORTING), 0, "two free blocks are reported");
	is_int(next_used(REPORTING), 0, "the report comes back, nothing is written");
	is_int(missing_pages(), 0x10 + 0x20, "they are given back");
	ok(!resident(BLOCK) && !resident(BLOCK + 0xf000) && resident(BLOCK + 0x10000),
	   "they, and not their neighbours");
	is_int(mem.base[BLOCK + 100], 0, "they read as zeros");
	is_int(mem.base[BLOCK + 0x10000], 0xaa, "the others are as they were");
	mem.base[BLOCK] = 7;
	is_int(mem.base[BLOCK], 7, "and can be used again");
}

/* Only whole pages can be given back: the rest of a page may be in use. */
static void test_unaligned(void)
{
	unsigned bad = 0;

	fresh();
	report(mem.base + BLOCK + 1, 4096);
	report(mem.base + BLOCK + 4095, 4096);
	report(mem.base + BLOCK, 4095);
	report(mem.base + BLOCK + 100, 0);
	is_int(missing_pages(), 0, "no part of a page is given back");
	report(mem.base + BLOCK + 100, 0x3000);
	is_int(missing_pages(), 2, "whole pages inside a block are");
	for (unsigned i = 0; i < 4096; i++)
		bad += mem.base[BLOCK + i] != 0xaa;
	is_int(bad, 0, "what is before them is as it was");
}

static void test_report_hostile(void)
{
	struct iovec iov = {mem.base + BLOCK, 4096};

	fresh();
	is_int(report(mem.base + RAM - 4096, 8192), -EPROTO, "a report across the end: %s",
	       err.text);
	fresh();
	is_int(report(mem.base + RAM, 4096), -EPROTO, "a report behind the end: %s",
	       err.text);
	fresh();
	is_int(report(mem.base - 4096, 4096), -EPROTO, "a report before memory: %s",
	       err.text);
	fresh();
	is_int(report(mem.base + BLOCK, UINT32_MAX), -EPROTO, "a report of 4 GiB: %s",
	       err.text);
	is_int(missing_pages(), 0, "none of them gives back anything");
	fresh();
	chain(REPORTING, 0, &iov, 1, 0);
	is_int(notify(&balloon.dev, REPORTING), 0, "a block that may only be read");
	is_int(missing_pages(), 0, "is not taken");
	fresh();
	avail_ring(REPORTING)->idx = SIZE + 1;
	is_int(notify(&balloon.dev, REPORTING), -EPROTO, "more than the queue holds: %s",
	       err.text);
	is_int(notify(&balloon.dev, 3), 0, "there is no fourth queue");
}

/* Put @count page numbers from @pfn on into the balloon, or take them out. */
static int pages(unsigned queue, uint32_t pfn, unsigned count, size_t len)
{
	uint32_t *pfns = (uint32_t *)buffer(0);
	struct iovec iov = {pfns, len};

	for (unsigned i = 0; i < count; i++)
		pfns[i] = pfn + i;
	chain(queue, 0, &iov, 1, 0);
	return notify(&balloon.dev, queue);
}

static void test_balloon(void)
{
	fresh();
	is_int(pages(INFLATE, BLOCK / 4096 + 1, 3, 12), 0, "three pages are put into it");
	is_int(next_used(INFLATE), 0, "the numbers come back");
	is_int(missing_pages(), 3, "the pages are given back");
	ok(resident(BLOCK) && !resident(BLOCK + 3 * 4096), "those and no others");
	is_int(pages(DEFLATE, BLOCK / 4096 + 1, 3, 12), 0, "they are taken out");
	is_int(next_used(DEFLATE), 0, "which needs no answer");
	is_int(missing_pages(), 3, "and costs nothing before they are used");
}

static void test_balloon_hostile(void)
{
	fresh();
	is_int(pages(INFLATE, RAM / 4096, 1, 4), -EPROTO, "a page behind the end: %s",
	       err.text);
	fresh();
	is_int(pages(INFLATE, UINT32_MAX, 1, 4), -EPROTO, "the last page of all: %s",
	       err.text);
	fresh();
	is_int(pages(INFLATE, BLOCK / 4096, 1, 3), -EPROTO, "part of a number: %s",
	       err.text);
	fresh();
	is_int(pages(INFLATE, BLOCK / 4096, 1, 0x100000), -EPROTO, "too many numbers: %s",
	       err.text);
	is_int(missing_pages(), 0, "none of them gives back anything");
	fresh();
	is_int(pages(INFLATE, 0, 0, 0), 0, "no number at all is harmless");
}

int main(void)
{
	if (gmem_init(&mem, RAM, &err) < 0)
		return 1;
	madvise(mem.base, RAM, MADV_NOHUGEPAGE); /* mincore() is to tell pages apart */
	test_device();
	test_report();
	test_unaligned();
	test_report_hostile();
	test_balloon();
	test_balloon_hostile();
	gmem_fini(&mem);
	return done_testing();
}
