/*
 * The network of a guest (docs/network.md): one interface, whose addresses are the same in
 * all of them.
 *
 * Theory of operation
 *
 * Addresses, routes and the gateway's hardware address are set once, when the guest boots,
 * so that a fork finds them as they are to be. The gateway is known for good and nobody
 * advertises anything: an idle guest has nothing to ask, and sends nothing
 * after its boot. A frame, or a socket made for nothing, is memory of each fork's own.
 *
 * What a fork must not go on with are its parent's TCP connections: each machine is behind
 * an address of its own. network_cut() ends them, before the fork is reported, and leaves
 * alone what listens, and what has both ends in this machine.
 */
#pragma once

#define NETWORK_DEVICE	   "eth0"
#define NETWORK_NAMESERVER "198.19.0.1"

/** network_up() - bring up the loopback and the network interface; failures are logged. */
void network_up(void);

/**
 * network_cut() - end all TCP connections, and attempts at one, that go out by the network
 * interface: the programs that have them get ECONNABORTED.
 *
 * The resets that the kernel sends then are of connections that the network of this
 * machine has never seen, and are dropped there.
 */
void network_cut(void);
