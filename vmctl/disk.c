#include "vmctl/disk.h"

#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define ZERO  0	 /* in the map: no layer holds it, it reads as zeros */
#define BASE  1	 /* the base's layer; the others are above */
#define PARTS 64 /* buffers per system call */

static uint64_t cluster_count(const struct disk *disk)
{
	return (disk->size + DISK_CLUSTER - 1) / DISK_CLUSTER;
}

static bool on_disk(const struct disk *disk, uint64_t offset, uint64_t len)
{
	return offset <= disk->size && len <= disk->size - offset;
}

static void take_base(struct disk *disk, int fd, uint64_t size)
{
	*disk = (struct disk){.size = size, .layers = 1};
	for (unsigned i = 0; i <= DISK_LAYERS_MAX; i++)
		disk->fd[i] = -1;
	disk->fd[BASE] = fd;
}

static int open_base(struct disk *disk, const char *path, struct error *err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	off_t size;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set(err, errno, "cannot open the disk image %s", path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return error_say(err, EINVAL,
				 "the disk image %s is neither a file nor a block device",
				 path);
	size = lseek(fd, 0, SEEK_END);
	if (size < (off_t)DISK_SECTOR)
		return error_say(err, EINVAL, "the disk image %s is empty", path);
	take_base(disk, steal_fd(&fd), (uint64_t)size - (uint64_t)size % DISK_SECTOR);
	return 0;
}

int disk_open_image(struct disk *disk, const char *path, struct error *err)
{
	return open_base(disk, path, err);
}

void disk_give_to_base(struct disk *disk, uint64_t from, uint64_t to)
{
	for (uint64_t i = from / DISK_CLUSTER; i * DISK_CLUSTER < to; i++) {
		disk->held[BASE] += disk->map[i] == ZERO;
		disk->map[i] = BASE;
	}
}

/*
 * Give the clusters with data of the base, which has @size bytes, to it. A block
 * device does not know its holes: then the base has them all.
 */
static void map_base(struct disk *disk, uint64_t size)
{
	off_t data = lseek(disk->fd[BASE], 0, SEEK_DATA), hole;

	if (data < 0 && errno != ENXIO)
		disk_give_to_base(disk, 0, size);
	while (data >= 0 && (uint64_t)data < size) {
		hole = lseek(disk->fd[BASE], data, SEEK_HOLE);
		if (hole <= data || (uint64_t)hole > size)
			hole = (off_t)size;
		disk_give_to_base(disk, (uint64_t)data, (uint64_t)hole);
		data = lseek(disk->fd[BASE], hole, SEEK_DATA);
	}
}

/*
 * An unlinked sparse file of @size bytes, or -errno.
 * #syscalls:vm openat(2==O_TMPFILE|O_RDWR|O_EXCL|O_CLOEXEC) ftruncate
 */
static int make_top(uint64_t size, struct error *err)
{
	const char *dir = getenv("TMPDIR");
	cleanup_close int fd =
	    open(dir ? dir : "/var/tmp", O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return error_set(err, errno, "cannot make a file for the disk's writes");
	if (ftruncate(fd, (off_t)size) < 0)
		return error_set(err, errno, "cannot make a sparse file of %llu MiB",
				 (unsigned long long)(size >> 20));
	return steal_fd(&fd);
}

/* Make an empty layer and let it be the top; there is room for one. */
static int add_top(struct disk *disk, struct error *err)
{
	int fd = make_top(disk->size, err);
	unsigned layer = BASE + 1;

	if (fd < 0)
		return fd;
	while (disk->fd[layer] >= 0)
		layer++;
	disk->fd[layer] = fd;
	disk->held[layer] = 0;
	disk->top = layer;
	disk->layers++;
	return 0;
}

/* What a disk knows of its clusters, which are all zeros as yet, and a top. */
static int make_layers(struct disk *disk, struct error *err)
{
	int r;

	disk->map = calloc(cluster_count(disk), sizeof(*disk->map));
	disk->scratch = malloc(DISK_CLUSTER);
	r = disk->map && disk->scratch
		? add_top(disk, err)
		: error_say(err, ENOMEM, "no memory for the map of a disk");
	if (r < 0)
		disk_close(disk);
	return r;
}

int disk_over(struct disk *disk, int fd, uint64_t size, struct error *err)
{
	take_base(disk, fd, size);
	return make_layers(disk, err);
}

int disk_open_layered(struct disk *disk, const char *path, uint64_t size, struct error *err)
{
	int r = open_base(disk, path, err);
	uint64_t base;

	if (r < 0)
		return r;
	base = disk->size;
	if (size && size < base) {
		disk_close(disk);
		return error_say(err, EINVAL,
				 "a disk of %llu MiB is smaller than its image %s",
				 (unsigned long long)(size >> 20), path);
	}
	if (size)
		disk->size = size;
	r = make_layers(disk, err);
	if (r == 0)
		map_base(disk, base);
	return r;
}

static void close_layer(struct disk *disk, unsigned layer)
{
	close(disk->fd[layer]);
	disk->fd[layer] = -1;
	disk->layers--;
}

void disk_close(struct disk *disk)
{
	for (unsigned i = BASE; disk->layers; i++)
		if (disk->fd[i] >= 0)
			close_layer(disk, i);
	free(disk->map);
	free(disk->slot);
	free(disk->scratch);
	*disk = (struct disk){0};
}

/*
 * Move @len bytes between @fd and the buffers at @cur. Behind the end of the base are
 * zeros; the other layers are as long as the disk.
 * #syscalls:vm,vcpu preadv pwritev close
 */
static int transfer(int fd, bool write, uint64_t offset, struct iov_cursor *cur, size_t len)
{
	struct iovec part[PARTS];

	while (len) {
		struct iov_cursor ahead = *cur;
		size_t want = len;
		int n = (int)iov_take(&ahead, part, PARTS, &want);
		ssize_t got = write ? pwritev(fd, part, n, (off_t)offset)
				    : preadv(fd, part, n, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0 && write)
			return -EIO;
		if (got == 0) {
			iov_zero(cur, len);
			return 0;
		}
		iov_skip(cur, (size_t)got);
		offset += (size_t)got;
		len -= (size_t)got;
	}
	return 0;
}

/*
 * Where @offset of the disk is in the file of @layer. Clusters that follow each other on
 * the disk, and are all in the base, follow each other there, too.
 */
static uint64_t place(const struct disk *disk, unsigned layer, uint64_t offset)
{
	if (layer != BASE || !disk->slot)
		return offset;
	return disk->start + disk->slot[offset / DISK_CLUSTER] * DISK_CLUSTER +
	       offset % DISK_CLUSTER;
}

/* Bytes from @offset on, at most @len, that one layer holds. */
static uint64_t run_length(const struct disk *disk, uint64_t offset, uint64_t len)
{
	uint64_t cluster = offset / DISK_CLUSTER, end = offset + len;
	uint16_t layer;

	if (!disk->map)
		return len;
	layer = disk->map[cluster++];
	while (cluster * DISK_CLUSTER < end && disk->map[cluster] == layer)
		cluster++;
	return cluster * DISK_CLUSTER < end ? cluster * DISK_CLUSTER - offset : len;
}

int disk_read(struct disk *disk, uint64_t offset, struct iov_cursor *to, size_t len)
{
	if (!on_disk(disk, offset, len))
		return -EINVAL;
	while (len) {
		size_t run = run_length(disk, offset, len);
		uint16_t layer = disk->map ? disk->map[offset / DISK_CLUSTER] : BASE;
		int r = 0;

		if (layer == ZERO)
			iov_zero(to, run);
		else
			r = transfer(disk->fd[layer], false, place(disk, layer, offset), to,
				     run);
		if (r < 0)
			return r;
		offset += run;
		len -= run;
	}
	return 0;
}

static bool all_zero(const uint8_t *p, size_t len)
{
	return !len || (!p[0] && !memcmp(p, p + 1, len - 1));
}

/* Copy [@from, @to), inside one cluster, from @layer to the top. */
static int copy_up(struct disk *disk, unsigned layer, uint64_t from, uint64_t to)
{
	struct iovec iov = {.iov_base = disk->scratch, .iov_len = to - from};
	struct iov_cursor cur = iov_at(&iov, 1);
	int r;

	if (from == to)
		return 0;
	r = transfer(disk->fd[layer], false, place(disk, layer, from), &cur, iov.iov_len);
	if (r < 0 || all_zero(disk->scratch, iov.iov_len))
		return r;
	cur = iov_at(&iov, 1);
	return transfer(disk->fd[disk->top], true, from, &cur, iov.iov_len);
}

/*
 * Make [@from, @to), inside one cluster, zeros in the top.
 * #syscalls:vm,vcpu fallocate(1==FALLOC_FL_PUNCH_HOLE|FALLOC_FL_KEEP_SIZE)
 */
static int punch(struct disk *disk, uint64_t from, uint64_t to)
{
	struct iovec iov = {.iov_base = disk->scratch, .iov_len = to - from};
	struct iov_cursor cur = iov_at(&iov, 1);
	int fd = disk->fd[disk->top];

	/* Blocks are given back whole; what follows the disk's end is nothing. */
	if (to == disk->size)
		to = cluster_count(disk) * DISK_CLUSTER;
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
		      (off_t)(to - from)) == 0)
		return 0;
	if (errno != EOPNOTSUPP)
		return -errno;
	memset(disk->scratch, 0, iov.iov_len);
	return transfer(fd, true, from, &cur, iov.iov_len);
}

static uint64_t cluster_end(const struct disk *disk, uint64_t cluster)
{
	uint64_t end = (cluster + 1) * DISK_CLUSTER;

	return end < disk->size ? end : disk->size;
}

/* Let @layer hold @cluster from now on, which may be ZERO. */
static void give_to(struct disk *disk, uint64_t cluster, uint16_t layer)
{
	uint16_t former = disk->map[cluster];

	disk->map[cluster] = layer;
	if (layer != ZERO)
		disk->held[layer]++;
	if (former == ZERO || --disk->held[former])
		return;
	if (former != BASE && former != disk->top)
		close_layer(disk, former);
}

/*
 * Give @cluster to the top, with what it holds outside of [@from, @to). What is
 * inside is zeros or, when the top had it already, as it was.
 */
static int raise_cluster(struct disk *disk, uint64_t cluster, uint64_t from, uint64_t to)
{
	uint16_t layer = disk->map[cluster];
	uint64_t start = cluster * DISK_CLUSTER, end = cluster_end(disk, cluster);
	int r = 0;

	if (layer == disk->top)
		return 0;
	if (layer != ZERO) {
		r = copy_up(disk, layer, start, from);
		if (!r)
			r = copy_up(disk, layer, to, end);
	}
	if (r < 0)
		punch(disk, start, end); /* keep the invariant as well as we can */
	else
		give_to(disk, cluster, (uint16_t)disk->top);
	return r;
}

int disk_write(struct disk *disk, uint64_t offset, struct iov_cursor *from, size_t len)
{
	uint64_t end = offset + len;

	if (!disk->map)
		return -EROFS;
	if (!on_disk(disk, offset, len))
		return -EINVAL;
	for (uint64_t at = offset; at < end;) {
		uint64_t cluster = at / DISK_CLUSTER, stop = cluster_end(disk, cluster);
		int r = raise_cluster(disk, cluster, at, stop < end ? stop : end);

		if (r < 0)
			return r;
		at = stop;
	}
	return transfer(disk->fd[disk->top], true, offset, from, len);
}

/* Zero [@from, @to), inside @cluster. */
static int zero_part(struct disk *disk, uint64_t cluster, uint64_t from, uint64_t to)
{
	bool whole = from == cluster * DISK_CLUSTER && to == cluster_end(disk, cluster);
	uint16_t layer = disk->map[cluster];
	int r = 0;

	if (layer == ZERO)
		return 0;
	if (layer == disk->top)
		r = punch(disk, from, to);
	else if (!whole)
		return raise_cluster(disk, cluster, from, to);
	if (!whole || r)
		return r;
	give_to(disk, cluster, ZERO);
	return 0;
}

int disk_zero(struct disk *disk, uint64_t offset, uint64_t len)
{
	if (!disk->map)
		return -EROFS;
	if (!on_disk(disk, offset, len))
		return -EINVAL;
	for (uint64_t at = offset, end = offset + len; at < end;) {
		uint64_t cluster = at / DISK_CLUSTER, stop = cluster_end(disk, cluster);
		int r = zero_part(disk, cluster, at, stop < end ? stop : end);

		if (r < 0)
			return r;
		at = stop;
	}
	return 0;
}

/* The sealed layer that holds the fewest clusters; there is one. */
static uint16_t smallest_layer(const struct disk *disk)
{
	unsigned least = 0;

	for (unsigned i = BASE + 1; i <= DISK_LAYERS_MAX; i++) {
		if (disk->fd[i] < 0 || i == disk->top)
			continue;
		if (!least || disk->held[i] < disk->held[least])
			least = i;
	}
	return (uint16_t)least;
}

/* The next cluster from @from on that @layer holds, which holds one there. */
static uint64_t next_held(const struct disk *disk, uint16_t layer, uint64_t from)
{
	const uint16_t *at = disk->map + from;

	while (*at != layer)
		at++;
	return (uint64_t)(at - disk->map);
}

/* Make room for a layer: copy what the smallest one holds into the top. */
static int fold(struct disk *disk, struct error *err)
{
	uint16_t layer = smallest_layer(disk);

	for (uint64_t i = 0; disk->fd[layer] >= 0; i++) {
		int r;

		i = next_held(disk, layer, i);
		r = copy_up(disk, layer, i * DISK_CLUSTER, cluster_end(disk, i));
		if (r < 0) {
			punch(disk, i * DISK_CLUSTER, cluster_end(disk, i));
			return error_set(err, -r, "cannot fold the disk's layers");
		}
		give_to(disk, i, (uint16_t)disk->top);
	}
	return 0;
}

int disk_seal(struct disk *disk, struct error *err)
{
	int r = 0;

	if (!disk->map || !disk->held[disk->top])
		return 0;
	if (disk->layers == DISK_LAYERS_MAX)
		r = fold(disk, err);
	return r ? r : add_top(disk, err);
}

int disk_part(struct disk *disk, struct error *err)
{
	int fd;

	if (!disk->map)
		return 0;
	fd = make_top(disk->size, err);
	if (fd < 0)
		return fd;
	close(disk->fd[disk->top]);
	disk->fd[disk->top] = fd;
	return 0;
}

uint64_t disk_allocated(const struct disk *disk)
{
	uint64_t bytes = 0;
	struct stat st;

	for (unsigned i = BASE + 1; i <= DISK_LAYERS_MAX; i++)
		if (disk->fd[i] >= 0 && fstat(disk->fd[i], &st) == 0)
			bytes += (uint64_t)st.st_blocks * 512;
	return bytes;
}
