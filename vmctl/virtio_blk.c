#include "vmctl/virtio_blk.h"

#include "util/list.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <string.h>

#define QUEUE_SIZE   256
#define SEGMENTS_MAX 32 /* ranges in one discard or write zeroes */

/* One data transfer. Return: its status. */
static uint8_t transfer(struct disk *disk, bool write, uint64_t sector,
			struct iov_cursor *data, uint32_t len)
{
	int r;

	if (sector > UINT64_MAX / DISK_SECTOR || len % DISK_SECTOR)
		return VIRTIO_BLK_S_IOERR;
	r = write ? disk_write(disk, sector * DISK_SECTOR, data, len)
		  : disk_read(disk, sector * DISK_SECTOR, data, len);
	return r < 0 ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
}

/* Discard and write zeroes, which are one to a disk. Return: the status. */
static uint8_t zero_ranges(struct disk *disk, struct iov_cursor *data, uint32_t len)
{
	struct virtio_blk_discard_write_zeroes range;

	if (len % sizeof(range) || len / sizeof(range) > SEGMENTS_MAX)
		return VIRTIO_BLK_S_IOERR;
	for (uint32_t at = 0; at < len; at += sizeof(range)) {
		iov_read(data, &range, sizeof(range));
		if (range.flags & ~VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP)
			return VIRTIO_BLK_S_UNSUPP;
		if (range.sector > UINT64_MAX / DISK_SECTOR ||
		    disk_zero(disk, range.sector * DISK_SECTOR,
			      (uint64_t)range.num_sectors * DISK_SECTOR) < 0)
			return VIRTIO_BLK_S_IOERR;
	}
	return VIRTIO_BLK_S_OK;
}

static uint8_t say_id(const struct disk *disk, struct iov_cursor *data)
{
	char id[VIRTIO_BLK_ID_BYTES] = {0};

	strncpy(id, disk_read_only(disk) ? "pffs-base" : "pffs-upper", sizeof(id) - 1);
	iov_write(data, id, sizeof(id));
	return VIRTIO_BLK_S_OK;
}

/*
 * Do the request in @chain.
 * Return: bytes written to the guest, or -EPROTO when it is no request.
 */
static int64_t handle(struct virtio_blk *blk, const struct vchain *chain, struct error *err)
{
	struct virtio_blk_outhdr header;
	struct iov_cursor out = vchain_out(chain), in = vchain_in(chain), end = in;
	uint32_t out_len, in_len, written = 0;
	uint8_t status;

	if (iov_read(&out, &header, sizeof(header)) != sizeof(header) || !chain->in)
		return error_say(err, EPROTO,
				 "a request lacks its header or its status byte");
	out_len = chain->out - (uint32_t)sizeof(header);
	in_len = chain->in - 1;
	switch (header.type) {
	case VIRTIO_BLK_T_IN:
		status = transfer(blk->disk, false, header.sector, &in, in_len);
		written = in_len;
		break;
	case VIRTIO_BLK_T_OUT:
		status = transfer(blk->disk, true, header.sector, &out, out_len);
		break;
	case VIRTIO_BLK_T_FLUSH:
		status = VIRTIO_BLK_S_OK; /* not offered, and harmless */
		break;
	case VIRTIO_BLK_T_GET_ID:
		written = VIRTIO_BLK_ID_BYTES;
		status = in_len < written ? VIRTIO_BLK_S_IOERR : say_id(blk->disk, &in);
		break;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		status = zero_ranges(blk->disk, &out, out_len);
		break;
	default:
		status = VIRTIO_BLK_S_UNSUPP;
	}
	iov_skip(&end, in_len);
	iov_write(&end, &status, sizeof(status));
	return status == VIRTIO_BLK_S_OK ? (int64_t)written + 1 : 1;
}

static int blk_notify(struct virtio_device *dev, unsigned queue, struct error *err)
{
	struct virtio_blk *blk = container_of(dev, struct virtio_blk, dev);
	struct virtqueue *vq = &dev->queues[queue];
	int pending = virtqueue_pending(vq, dev->mem, err);
	struct vchain chain;

	if (pending <= 0)
		return pending;
	for (int i = 0; i < pending; i++) {
		int r = virtqueue_peek(vq, dev->mem, &chain, err);
		int64_t written;

		if (r < 0)
			return r;
		written = handle(blk, &chain, err);
		if (written < 0)
			return (int)written;
		virtqueue_done(vq, dev->mem, &chain, (uint32_t)written);
	}
	virtio_used(dev, vq);
	return 0;
}

static const struct virtio_ops blk_ops = {
    .name = "virtio-blk",
    .id = VIRTIO_ID_BLOCK,
    .queues = 1,
    .queue_size = QUEUE_SIZE,
    .notify = blk_notify,
};

void virtio_blk_init(struct virtio_blk *blk, struct disk *disk, const struct gmem *mem,
		     struct virtio_line line)
{
	/* Without VIRTIO_BLK_F_FLUSH a write is as safe as it gets when it is
	 * done, which is true (see disk_write()) and spares the guest the exits. */
	uint64_t features = 1ull << VIRTIO_BLK_F_SEG_MAX;

	if (disk_read_only(disk))
		features |= 1ull << VIRTIO_BLK_F_RO;
	else
		features |= 1ull << VIRTIO_BLK_F_DISCARD | 1ull
							       << VIRTIO_BLK_F_WRITE_ZEROES;
	blk->disk = disk;
	blk->config = (struct virtio_blk_config){
	    .capacity = disk->size / DISK_SECTOR,
	    .seg_max = QUEUE_SIZE - 2,
	    .max_discard_sectors = UINT32_MAX,
	    .max_discard_seg = SEGMENTS_MAX,
	    .discard_sector_alignment = DISK_CLUSTER / DISK_SECTOR,
	    .max_write_zeroes_sectors = UINT32_MAX,
	    .max_write_zeroes_seg = SEGMENTS_MAX,
	    .write_zeroes_may_unmap = 1,
	};
	virtio_init(&blk->dev, &blk_ops, mem, line, features, &blk->config,
		    sizeof(blk->config));
}
