/*
 * What is behind a virtio-blk device: a read-only image, or a stack of sparse
 * layers.
 *
 * Theory of operation: the disk is cut into clusters of 64 KiB, and a map in
 * memory says for each which layer holds it, or that it is all zeros. So a read
 * costs the same however many layers there are. The base is a file or a block
 * device that is never written; the disk may be larger than it. One of the other
 * layers is the top: an unlinked sparse file, so that it costs what is written and
 * ends with its process. Layers keep a cluster at the offset that it has on the
 * disk. All writes go to the top; a write to a part of a cluster from elsewhere
 * copies the rest up first.
 *
 * Invariant: a cluster that the map does not give to the top is a hole there.
 *
 * To fork a disk, its process seals the top, unless nothing is in it: then it is
 * a layer like the others, and an empty file is the new top. fork(2) copies the
 * map; the child takes an empty file of its own for the empty top.
 *
 * A sealed layer of which the map has no cluster any more is closed at once, and its
 * room is free when the last process has done so. When there are DISK_LAYERS_MAX
 * layers, the one with the fewest clusters is folded into the top before that is
 * sealed. The fewest are no more than what the sealed layers hold on average.
 *
 * The disk of a machine that was frozen has the machine's file as its base. There the
 * clusters stand one behind the other, without those that are zeros: @slot tells where.
 */
#pragma once

#include "util/error.h"
#include "vmctl/iov.h"

#include <stdbool.h>
#include <stdint.h>

#define DISK_CLUSTER	(64ull << 10)
#define DISK_SECTOR	512ull
#define DISK_LAYERS_MAX 256

struct disk {
	uint64_t size;	 /* bytes, a multiple of DISK_SECTOR */
	uint16_t *map;	 /* per cluster: its layer, or 0; NULL: all are in the base */
	unsigned top;	 /* the layer that takes the writes, if there is a map */
	unsigned layers; /* in use */
	int fd[DISK_LAYERS_MAX + 1];	    /* by layer; -1: not in use */
	uint32_t held[DISK_LAYERS_MAX + 1]; /* clusters that the map gives to each */
	uint8_t *scratch;		    /* one cluster, for copying up */
	uint32_t *slot;			    /* of each cluster in the base; NULL: its own */
	uint64_t start;			    /* of the base's slots in its file */
};

struct snapshot;
struct snapshot_writer;

/**
 * disk_open_image() - a read-only disk.
 * @path: a file or a block device.
 *
 * Return: 0 or -errno with @err filled.
 */
int disk_open_image(struct disk *disk, const char *path, struct error *err);

/**
 * disk_open_layered() - a writable disk that begins as the contents of @path.
 * @path: a file or a block device; holes in a file cost nothing. The top goes
 *        to $TMPDIR or /var/tmp, or to memory where that cannot hold it.
 * @size: in bytes, a multiple of DISK_SECTOR; 0 for that of @path. What is behind
 *        the end of @path begins as zeros.
 *
 * Return: 0 or -errno with @err filled.
 */
int disk_open_layered(struct disk *disk, const char *path, uint64_t size,
		      struct error *err);

/**
 * disk_over() - a writable disk of zeros, for one who gives its clusters to the base.
 * @fd:   the base; the disk's from now on, also on failure.
 * @size: in bytes.
 *
 * Return: 0 or -errno with @err filled.
 */
int disk_over(struct disk *disk, int fd, uint64_t size, struct error *err);

/** disk_give_to_base() - let the base hold the clusters of [@from, @to). */
void disk_give_to_base(struct disk *disk, uint64_t from, uint64_t to);

/**
 * disk_open_saved() - a writable disk that begins as disk_save() wrote it.
 * @s:    its file is the disk's from now on, as well.
 * @size: of the disk that was saved.
 *
 * Return: 0 or -errno with @err filled.
 */
int disk_open_saved(struct disk *disk, const struct snapshot *s, uint64_t size,
		    struct error *err);

/** disk_save() - write all that is not zeros to SNAPSHOT_CLUSTERS and SNAPSHOT_DISK.
 * Return: 0 or -errno with @err filled. */
int disk_save(struct disk *disk, struct snapshot_writer *w, struct error *err);

/** disk_close() - give up all layers. */
void disk_close(struct disk *disk);

/** disk_read_only() - the disk takes no writes. */
static inline bool disk_read_only(const struct disk *disk)
{
	return !disk->map;
}

/**
 * disk_read() - read @len bytes at @offset into the buffers at @to.
 * Return: 0, -EINVAL when the range is not on the disk, or -errno.
 */
int disk_read(struct disk *disk, uint64_t offset, struct iov_cursor *to, size_t len);

/**
 * disk_write() - write @len bytes at @offset from the buffers at @from. After a
 * failure that range holds anything.
 * Return: 0, -EROFS, -EINVAL when the range is not on the disk, or -errno.
 *
 * There is no flush: the top ends with its process, so no crash of the host
 * leaves anything behind that a flush could have made safe.
 */
int disk_write(struct disk *disk, uint64_t offset, struct iov_cursor *from, size_t len);

/**
 * disk_zero() - make @len bytes at @offset read as zeros, and give back the
 * room that they took.
 * Return: as disk_write().
 */
int disk_zero(struct disk *disk, uint64_t offset, uint64_t len);

/**
 * disk_seal() - make the top an empty one; what was in it stays for good.
 * Return: 0 or -errno with @err filled; the disk is usable either way.
 */
int disk_seal(struct disk *disk, struct error *err);

/**
 * disk_part() - in a process that has just been forked, after disk_seal() in its
 * parent: take a top of its own.
 * Return: 0 or -errno with @err filled; then the disk must not be used.
 */
int disk_part(struct disk *disk, struct error *err);

/** disk_allocated() - bytes that the layers above the base take on the host; one that
 * is shared with forks counts in full. */
uint64_t disk_allocated(const struct disk *disk);
