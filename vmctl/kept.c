#include "vmctl/kept.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define VERSION 3u
#define PAGE	4096u
#define FACTS	((sizeof(struct kept) + PAGE - 1) / PAGE * PAGE)
#define SIZE	(FACTS + KEPT_FROM_VM + KEPT_TO_VM)

static struct kept *map(int fd, struct error *err)
{
	void *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (memory != MAP_FAILED)
		return memory;
	error_set(err, errno, "cannot map what is known of a VM");
	return NULL;
}

struct kept *kept_new(int *fd, struct error *err)
{
	struct kept *kept = NULL;

	*fd = memfd_create("vmctl", MFD_CLOEXEC);
	if (*fd < 0 || ftruncate(*fd, SIZE) < 0)
		error_set(err, errno, "cannot keep what is known of a VM");
	else
		kept = map(*fd, err);
	if (kept) {
		kept->version = VERSION;
		kept->size = SIZE;
		return kept;
	}
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	return NULL;
}

struct kept *kept_map(int fd, struct error *err)
{
	struct kept *kept;
	struct stat st;

	if (fstat(fd, &st) < 0 || st.st_size != SIZE) {
		error_say(err, EPROTO, "a VM was left by another version of vmctl");
		return NULL;
	}
	kept = map(fd, err);
	if (!kept || (kept->version == VERSION && kept->size == SIZE))
		return kept;
	kept_free(kept);
	error_say(err, EPROTO, "a VM was left by another version of vmctl");
	return NULL;
}

void kept_free(struct kept *kept)
{
	if (kept)
		munmap(kept, SIZE);
}

struct ring kept_from_vm(struct kept *kept)
{
	return (struct ring){.at = &kept->channel.from_vm,
			     .bytes = (uint8_t *)kept + FACTS,
			     .size = KEPT_FROM_VM};
}

struct ring kept_to_vm(struct kept *kept)
{
	return (struct ring){.at = &kept->channel.to_vm,
			     .bytes = (uint8_t *)kept + FACTS + KEPT_FROM_VM,
			     .size = KEPT_TO_VM};
}
