/*
 * A slot: the network namespace that one VM is connected to.
 *
 * Theory of operation
 *
 *	tap0 (198.18.0.1) - filter of frames - NAT to the slot's address - up - hub's sN
 *
 * All slots are the same towards the guest. What a guest may say at all is decided where
 * its frame arrives, by rules of the netdev family: only its own MAC and addresses, ARP
 * for its gateway, IPv6 without headers in between, no VLAN. Then conntrack, which puts
 * fragments together first, lets TCP begin with SYN alone; anything else that belongs to
 * no connection, such as what a fork's copy of its parent's sends, is answered with a
 * reset.
 *
 * Connections are bounded in number and, since those that are over are remembered for a
 * while and not counted, in how fast new ones come.
 *
 * The only ways out of the namespace are the tap and the link to the hub. Nothing in it
 * listens. A slot is used for one VM and then destroyed, with its connections and whatever
 * waits in its tap: nothing is left that could be another's.
 */
#pragma once

#include "util/error.h"
#include "vmctl/net/rt.h"

#define SLOT_TAP_HEADER 12   /* of a frame: struct virtio_net_hdr_v1 */
#define SLOT_FLOWS_MAX	1024 /* connections that are open */
#define SLOT_NEW_RATE	100  /* new ones in a second, after SLOT_FLOWS_MAX at once */

struct slot_made {
	int tap; /* connects a VM to it; non-blocking. It keeps the namespace alive */
};

/**
 * slot_make() - make slot @number. The thread is in the hub, and there again afterwards.
 * @hub_fd: the hub's namespace.
 * @hub:    its links.
 *
 * Return: 0 with @made filled, or -errno with @err; then nothing of it is left.
 */
int slot_make(unsigned number, int hub_fd, struct rt *hub, struct slot_made *made,
	      struct error *err);

/** slot_destroy() - close what is in @made. With the last descriptor of the tap the slot's
 * namespace ends, and its link to the hub, soon. */
void slot_destroy(struct slot_made *made);
