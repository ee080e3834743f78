/*
 * Guest memory in a snapshot.
 *
 * Theory of operation
 *
 * What a guest has in common with the machine that it was forked from is not known from
 * page tables, since its memory is its own by now where it was written and read anew alike.
 * So it is compared. The mapping of a page of a file costs a region of the address space
 * for each run, and their number is limited (vm.max_map_count): runs that are near to each
 * other are stored as one, with what is between them.
 */
#include "vmctl/gmem.h"

#include "util/buf.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "vmctl/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE	   SNAPSHOT_PAGE
#define RUNS_MAX   16384 /* a quarter of the regions that a process may have */
#define TELL_EVERY 16384 /* pages between two signs of life */
#define GAP_MIN	   8	 /* pages; a region costs the host nearly as much */

#define PAGEMAP_ENTRY 8 /* bytes; Linux, Documentation/admin-guide/mm/pagemap.rst */
#define PAGEMAP_THERE (3ull << 62) /* in memory, or swapped out */
#define PAGEMAP_BATCH 512

/* Goes through the pages of a guest in order. */
struct scan {
	const struct gmem *mem, *base;
	int pagemap; /* -1: look at every page */
	uint64_t entry[PAGEMAP_BATCH];
	uint64_t first, known; /* @entry has pages from @first on, so many */
};

static bool is_zero(const uint8_t *page)
{
	return !page[0] && memcmp(page, page + 1, PAGE - 1) == 0;
}

/* A page of an anonymous mapping that is not there was never written. */
static bool is_there(struct scan *scan, uint64_t page)
{
	uint64_t at = ((uintptr_t)scan->mem->base / PAGE + page) * PAGEMAP_ENTRY;
	ssize_t n;

	if (scan->pagemap < 0)
		return true;
	if (page - scan->first >= scan->known) {
		n = pread(scan->pagemap, scan->entry, sizeof(scan->entry), (off_t)at);
		scan->first = page;
		scan->known = n > 0 ? (uint64_t)n / PAGEMAP_ENTRY : 0;
		if (!scan->known)
			return true;
	}
	return scan->entry[page - scan->first] & PAGEMAP_THERE;
}

static bool is_to_be_stored(struct scan *scan, uint64_t page)
{
	const uint8_t *at = scan->mem->base + page * PAGE;

	if (scan->base)
		return memcmp(at, scan->base->base + page * PAGE, PAGE) != 0;
	return is_there(scan, page) && !is_zero(at);
}

static int put_run(struct snapshot_writer *w, const struct scan *scan,
		   const struct snapshot_run *run, struct buf *runs, struct error *err)
{
	if (buf_append(runs, run, sizeof(*run)) < 0)
		return error_set(err, ENOMEM, "cannot write the machine's file");
	return snapshot_put(w, SNAPSHOT_MEMORY, scan->mem->base + run->first * PAGE,
			    run->count * PAGE, err);
}

static int put_pages(struct snapshot_writer *w, struct scan *scan, struct buf *runs,
		     struct error *err)
{
	uint64_t pages = scan->mem->size / PAGE, gap = pages / RUNS_MAX;
	struct snapshot_run run = {0};
	int r = 0;

	if (gap < GAP_MIN)
		gap = GAP_MIN;
	for (uint64_t page = 0; page < pages && r == 0; page++) {
		uint64_t end = (uint64_t)run.first + run.count;

		if (w->progress && page % TELL_EVERY == 0)
			w->progress();
		if (!is_to_be_stored(scan, page))
			continue;
		if (run.count && page - end < gap) {
			run.count = (uint32_t)(page + 1 - run.first);
			continue;
		}
		if (run.count)
			r = put_run(w, scan, &run, runs, err);
		run = (struct snapshot_run){.first = (uint32_t)page, .count = 1};
	}
	return r == 0 && run.count ? put_run(w, scan, &run, runs, err) : r;
}

int gmem_save(const struct gmem *mem, const struct gmem *base, int pagemap,
	      struct snapshot_writer *w, struct error *err)
{
	struct scan scan = {
	    .mem = mem, .base = base, .pagemap = mem->of_files ? -1 : pagemap};
	struct buf runs = {0};
	int r = snapshot_put(w, SNAPSHOT_MEMORY, NULL, 0, err);

	if (r == 0)
		r = put_pages(w, &scan, &runs, err);
	if (r == 0)
		r = snapshot_put(w, SNAPSHOT_RUNS, buf_peek(&runs), runs.len, err);
	buf_fini(&runs);
	return r;
}

int gmem_map(struct gmem *mem, const struct snapshot *s, struct error *err)
{
	uint64_t offset = s->section[SNAPSHOT_MEMORY].offset;
	cleanup_free struct snapshot_run *runs = NULL;
	size_t count;

	runs = snapshot_load_runs(s, SNAPSHOT_RUNS, SNAPSHOT_MEMORY, PAGE, mem->size / PAGE,
				  &count, err);
	if (!runs)
		return err->code;
	mem->of_files = true;
	for (size_t i = 0; i < count; i++) {
		uint64_t len = runs[i].count * PAGE;

		if (mmap(mem->base + runs[i].first * PAGE, len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, s->fd,
			 (off_t)offset) == MAP_FAILED)
			return error_set(err, errno, "cannot map the frozen machine");
		offset += len;
	}
	madvise(mem->base, mem->size, MADV_DONTDUMP);
	return 0;
}
