/*
 * virtio network device (virtio 1.2, 5.1) in front of a tap.
 *
 * Theory of operation
 *
 * What the guest sends goes to the tap in the vCPU thread that notified us, a frame by one
 * writev(2) from the guest's own buffers. What comes from the tap is read by the main
 * thread, at most NET_ROUND frames at a time so that others have their turns, into memory
 * of ours first: a frame may need several of the guest's buffers (VIRTIO_NET_F_MRG_RXBUF),
 * which are small, so that an idle guest holds little memory for them.
 *
 * The header in front of each frame tells the kernel what to do with it (checksums,
 * segments). It is copied once, and only what the driver has negotiated, and what fits the
 * frame, gets to the kernel. A frame with another header, or of a length that no wire
 * takes, is dropped; so is what the tap has no room for, and what the guest has none for.
 *
 * Without a tap the device is disconnected: what the guest sends stays in its queue until
 * a tap comes; of more than half a queue the oldest is dropped, since Linux takes a queue
 * that stays full for a broken device. A fork, and what was frozen, begins so.
 *
 * The tap is read only while the guest has buffers; once these were few, not before a good
 * part of them is back (as virtio_console.h does for the agent's port).
 */
#pragma once

#include "vmctl/virtio.h"

#include <linux/virtio_net.h>
#include <stddef.h>

#define NET_ROUND     64
#define NET_MTU	      1500
#define NET_FRAME_MIN 14    /* an Ethernet header */
#define NET_FRAME_MAX 65550 /* one that the receiver cuts into segments */
#define NET_SEGMENTS  256   /* of one frame */

struct virtio_net {
	struct virtio_device dev;
	struct virtio_net_config config;
	int tap_fd;	    /* the owner's; non-blocking; -1: disconnected */
	int64_t offloads;   /* what the tap was told of the driver; -1: nothing yet */
	uint16_t most_room; /* chains that there ever were to receive into */
	bool rests;	    /* there were few, and not enough are back */
	bool want_in;	    /* the tap is to be polled for frames */

	/* Tells the owner that want_in or tap_fd has changed. */
	void (*watch)(struct virtio_net *net);
};

/* A frame as the tap has it: with the header of virtio. */
struct net_frame {
	struct virtio_net_hdr_v1 header;
	uint8_t bytes[NET_FRAME_MAX];
};

/**
 * virtio_net_init() - a device that is ready for its driver, and disconnected.
 * @watch: called, under the device lock, when the polling of the tap is to change.
 */
void virtio_net_init(struct virtio_net *net, void (*watch)(struct virtio_net *net),
		     const struct gmem *mem, struct virtio_line line);

/**
 * virtio_net_connect() - from now on frames go to and come from a tap.
 * @tap_fd: one of IFF_TAP, IFF_NO_PI and IFF_VNET_HDR with headers of 12 bytes,
 *	    non-blocking; it stays the owner's. -1: disconnect.
 *
 * Nothing moves before virtio_net_ready(). When the tap fails the device disconnects by
 * itself.
 */
void virtio_net_connect(struct virtio_net *net, int tap_fd);

/**
 * virtio_net_ready() - the tap is new, or has frames: move what there is.
 * Return: 0, or -errno with @err filled when that ends the VM.
 */
int virtio_net_ready(struct virtio_net *net, struct error *err);

/** virtio_net_part() - in a process that has just been forked, before virtio_wake(): the
 * tap is the parent's. */
void virtio_net_part(struct virtio_net *net);

/**
 * net_header_sends() - may a frame of the guest's go to the tap, for a driver that
 * negotiated @features? What the kernel has no use for is cleared in @header.
 * @len: bytes of the frame.
 */
bool net_header_sends(struct virtio_net_hdr_v1 *header, size_t len, uint64_t features);

/** net_header_receives() - may the driver be given a frame with that header? As above. */
bool net_header_receives(struct virtio_net_hdr_v1 *header, uint64_t features);

/** net_offloads() - TUN_F_* bits of what a driver with @features may be given. */
unsigned net_offloads(uint64_t features);
