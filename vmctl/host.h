/*
 * The emulated host: a machine of QEMU's making whose CPU has svm, in which the
 * same vmctl serves the same clients.
 *
 * Theory of operation
 *
 * The outer side (host.c) starts QEMU and relays clients to it (host_relay.h).
 * QEMU listens on a socket for each of HOST_PORTS virtio-serial ports, named HOST_PORT_NAME
 * and a number, and for one more, the line (host_line.h); it shows the upper disk and the
 * templates as read-only SCSI disks, whose units are numbered; host_disks.h tells how
 * templates come and go.
 *
 * The inner side (host_init.c) is PID 1 there, links the disks into an images
 * directory (host_links.h), and runs the broker with the ports as clients.
 *
 * The end of QEMU ends the outer vmctl, which ends QEMU when it is told to end. When it is
 * killed QEMU goes on, and so do all machines in it. The next vmctl with the same socket
 * finds it (host_dir.h) and takes its place; the sessions of clients are over then, and
 * what belonged to them is as if they had been killed.
 */
#pragma once

#include "util/error.h"

#define HOST_PORTS	4
#define HOST_PORT_NAME	"pffs.link."
#define HOST_LINE_NAME	"pffs.line"
#define HOST_RESOLVER	"198.18.255.3" /* QEMU's, inside */
#define HOST_SCSI	"scsi"	       /* QEMU's id of the controller of the disks */
#define HOST_UPPER_UNIT 0	       /* the upper disk; the templates follow */

struct serve_options;

/**
 * host_serve() - the outer side: start the emulated host and relay the clients of
 * @listen_fd (the caller's) to the broker in it, until SIGTERM or its end.
 *
 * Return: 0 after SIGTERM or SIGINT, or -errno with @err filled.
 */
int host_serve(const struct serve_options *options, int listen_fd, struct error *err);

/** host_init_main() - the inner side: PID 1 of the emulated host. */
int host_init_main(int argc, char **argv);
