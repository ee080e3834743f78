/*
 * What is in front of a frame: struct virtio_net_hdr_v1 (virtio 1.2, 5.1.6). On x86 the
 * tap's header has the same bytes.
 */
#include "vmctl/virtio_net.h"

#include <linux/if_tun.h>

static bool has(uint64_t features, unsigned bit)
{
	return features & 1ull << bit;
}

/* The two bytes of a checksum, and where it begins, are in the frame. */
static bool checksum_fits(const struct virtio_net_hdr_v1 *header, size_t len)
{
	size_t start = header->csum_start;

	return start >= NET_FRAME_MIN && start + header->csum_offset + 2u <= len;
}

/* Headers as they are, and between 1 and NET_SEGMENTS segments that a wire takes. */
static bool segments_fit(const struct virtio_net_hdr_v1 *header, size_t len)
{
	size_t size = header->gso_size;

	return header->hdr_len >= NET_FRAME_MIN && header->hdr_len <= len && size &&
	       size <= NET_MTU && len / size < NET_SEGMENTS;
}

static bool is_segmented(uint8_t type, uint64_t features, unsigned v4, unsigned v6)
{
	return (type == VIRTIO_NET_HDR_GSO_TCPV4 && has(features, v4)) ||
	       (type == VIRTIO_NET_HDR_GSO_TCPV6 && has(features, v6));
}

/* A length that is not that of segments is nothing to the kernel. */
static void clear_segments(struct virtio_net_hdr_v1 *header)
{
	header->hdr_len = 0;
	header->gso_size = 0;
}

bool net_header_sends(struct virtio_net_hdr_v1 *header, size_t len, uint64_t features)
{
	bool sums = header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;

	header->num_buffers = 0;
	if (len < NET_FRAME_MIN || len > NET_FRAME_MAX ||
	    header->flags & ~VIRTIO_NET_HDR_F_NEEDS_CSUM)
		return false;
	if (sums && (!has(features, VIRTIO_NET_F_CSUM) || !checksum_fits(header, len)))
		return false;
	if (header->gso_type == VIRTIO_NET_HDR_GSO_NONE) {
		clear_segments(header);
		return len <= NET_FRAME_MIN + NET_MTU;
	}
	return sums && segments_fit(header, len) &&
	       is_segmented(header->gso_type, features, VIRTIO_NET_F_HOST_TSO4,
			    VIRTIO_NET_F_HOST_TSO6);
}

bool net_header_receives(struct virtio_net_hdr_v1 *header, uint64_t features)
{
	bool sums = has(features, VIRTIO_NET_F_GUEST_CSUM);

	if (header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM && !sums)
		return false;
	header->flags &=
	    sums ? VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID : 0;
	return header->gso_type == VIRTIO_NET_HDR_GSO_NONE ||
	       is_segmented(header->gso_type, features, VIRTIO_NET_F_GUEST_TSO4,
			    VIRTIO_NET_F_GUEST_TSO6);
}

/* The kernel takes the others only together with TUN_F_CSUM. */
unsigned net_offloads(uint64_t features)
{
	if (!has(features, VIRTIO_NET_F_GUEST_CSUM))
		return 0;
	return TUN_F_CSUM | (has(features, VIRTIO_NET_F_GUEST_TSO4) ? TUN_F_TSO4 : 0u) |
	       (has(features, VIRTIO_NET_F_GUEST_TSO6) ? TUN_F_TSO6 : 0u);
}
