/*
 * The emulated host: a machine of QEMU's making whose CPU has svm, in which the
 * same vmctl serves the same clients.
 *
 * Theory of operation
 *
 * The outer side (host.c) starts QEMU and relays clients to it (host_relay.h).
 * QEMU holds one end of a socket pair for each of HOST_PORTS virtio-serial ports,
 * named HOST_PORT_NAME and a number, and shows the templates and the upper disk
 * as read-only virtio-blk disks. A disk's serial number has room for 20 bytes, so
 * it is an index: "t0" is the first name of HOST_TEMPLATES on the kernel's command
 * line, and so on; HOST_UPPER is the upper disk.
 *
 * The inner side (host_init.c) is PID 1 there, and runs the broker with the ports
 * as clients. Whichever side ends, the other one sees it: the end of QEMU ends
 * the outer vmctl, and the end of the outer vmctl hangs up the ports.
 */
#pragma once

#include "util/error.h"

#define HOST_PORTS	   4
#define HOST_PORT_NAME	   "pffs.link."
#define HOST_TEMPLATES	   "pffs.templates="
#define HOST_TEMPLATES_MAX 24 /* slots on QEMU's PCI bus, and room for names */
#define HOST_UPPER	   "upper"

struct serve_options;

/**
 * host_serve() - the outer side: start the emulated host and relay the clients of
 * @listen_fd (taken over) to the broker in it, until SIGTERM or its end.
 *
 * Return: 0 after SIGTERM or SIGINT, or -errno with @err filled.
 */
int host_serve(const struct serve_options *options, int listen_fd, struct error *err);

/** host_init_main() - the inner side: PID 1 of the emulated host. */
int host_init_main(int argc, char **argv);
