/*
 * A disk in a snapshot: its clusters, without those that are zeros.
 */
#include "vmctl/disk.h"

#include "util/buf.h"
#include "util/cleanup.h"
#include "vmctl/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static bool all_zero(const uint8_t *p, size_t len)
{
	return !p[0] && memcmp(p, p + 1, len - 1) == 0;
}

/* Read a cluster; behind the end of the disk it is zeros. */
static int read_cluster(struct disk *disk, uint64_t cluster, uint8_t *to, struct error *err)
{
	struct iovec iov = {.iov_base = to, .iov_len = DISK_CLUSTER};
	struct iov_cursor cur = iov_at(&iov, 1);
	uint64_t at = cluster * DISK_CLUSTER, left = disk->size - at;
	size_t len = left < DISK_CLUSTER ? (size_t)left : DISK_CLUSTER;
	int r;

	memset(to, 0, DISK_CLUSTER);
	r = disk_read(disk, at, &cur, len);
	return r < 0 ? error_set(err, -r, "cannot read the disk") : 0;
}

static int add_to_runs(struct buf *runs, struct snapshot_run *run, uint64_t cluster)
{
	int r = 0;

	if (run->count && cluster == (uint64_t)run->first + run->count) {
		run->count++;
		return 0;
	}
	if (run->count)
		r = buf_append(runs, run, sizeof(*run));
	*run = (struct snapshot_run){.first = (uint32_t)cluster, .count = 1};
	return r;
}

static int put_clusters(struct disk *disk, struct snapshot_writer *w, struct buf *runs,
			struct error *err)
{
	cleanup_free uint8_t *data = malloc(DISK_CLUSTER);
	struct snapshot_run run = {0};
	int r = data ? 0 : -ENOMEM;

	for (uint64_t i = 0; i * DISK_CLUSTER < disk->size && r == 0; i++) {
		if (!disk->map[i])
			continue;
		r = read_cluster(disk, i, data, err);
		if (r < 0)
			return r;
		if (all_zero(data, DISK_CLUSTER))
			continue;
		r = snapshot_put(w, SNAPSHOT_DISK, data, DISK_CLUSTER, err);
		if (r < 0)
			return r;
		r = add_to_runs(runs, &run, i);
	}
	if (r == 0 && run.count)
		r = buf_append(runs, &run, sizeof(run));
	return r < 0 ? error_set(err, -r, "cannot write the machine's disk") : 0;
}

int disk_save(struct disk *disk, struct snapshot_writer *w, struct error *err)
{
	struct buf runs = {0};
	int r = snapshot_put(w, SNAPSHOT_DISK, NULL, 0, err);

	if (r == 0)
		r = put_clusters(disk, w, &runs, err);
	if (r == 0)
		r = snapshot_put(w, SNAPSHOT_CLUSTERS, buf_peek(&runs), runs.len, err);
	buf_fini(&runs);
	return r;
}

/* #syscalls:vm fcntl(1==F_DUPFD_CLOEXEC) */
int disk_open_saved(struct disk *disk, const struct snapshot *s, uint64_t size,
		    struct error *err)
{
	uint64_t clusters = (size + DISK_CLUSTER - 1) / DISK_CLUSTER;
	cleanup_free struct snapshot_run *runs = NULL;
	size_t count = 0;
	uint32_t slot = 0;
	int fd, r;

	runs = snapshot_load_runs(s, SNAPSHOT_CLUSTERS, SNAPSHOT_DISK, DISK_CLUSTER,
				  clusters, &count, err);
	if (!runs)
		return err->code;
	fd = fcntl(s->fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return error_set(err, errno, "cannot open the frozen machine's disk");
	r = disk_over(disk, fd, size, err);
	if (r < 0)
		return r;
	disk->start = s->section[SNAPSHOT_DISK].offset;
	disk->slot = calloc(clusters, sizeof(*disk->slot));
	if (!disk->slot) {
		disk_close(disk);
		return error_say(err, ENOMEM, "no memory for the map of a disk");
	}
	for (size_t i = 0; i < count; i++) {
		uint64_t end = (uint64_t)runs[i].first + runs[i].count;

		disk_give_to_base(disk, runs[i].first * DISK_CLUSTER, end * DISK_CLUSTER);
		for (uint32_t k = 0; k < runs[i].count; k++)
			disk->slot[runs[i].first + k] = slot++;
	}
	return 0;
}
