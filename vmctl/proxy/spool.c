#include "vmctl/proxy/spool.h"

#include "util/io.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* #syscalls:proxy memfd_create pwrite64 pread64 */
static int to_file(struct spool *spool)
{
	int fd = memfd_create("body", MFD_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	spool->fd = fd;
	r = io_pwrite_all(fd, buf_peek(&spool->memory), spool->memory.len, 0);
	buf_fini(&spool->memory);
	return r;
}

int spool_put(struct spool *spool, const void *data, size_t len)
{
	int r = 0;

	if (spool->fd < 0 && spool->len + len > SPOOL_MEMORY)
		r = to_file(spool);
	if (r == 0 && spool->fd < 0)
		r = buf_append(&spool->memory, data, len);
	else if (r == 0)
		r = io_pwrite_all(spool->fd, data, len, spool->len);
	if (r == 0)
		spool->len += len;
	return r;
}

ssize_t spool_take(struct spool *spool, void *to, size_t max)
{
	size_t left = spool->len - spool->taken, len = left < max ? left : max;
	int r = 0;

	if (spool->fd >= 0)
		r = io_pread_all(spool->fd, to, len, spool->taken);
	else if (len)
		memcpy(to, buf_peek(&spool->memory) + spool->taken, len);
	if (r < 0)
		return r;
	spool->taken += len;
	return (ssize_t)len;
}

void spool_fini(struct spool *spool)
{
	buf_fini(&spool->memory);
	if (spool->fd >= 0)
		close(spool->fd);
	*spool = SPOOL_NONE;
}
