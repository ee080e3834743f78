/*
 * The QEMU process of the emulated host.
 */
#pragma once

#include "util/error.h"
#include "vmctl/host.h"

#include <sys/types.h>

struct qemu {
	pid_t pid;
	int ports[HOST_PORTS]; /* our ends of the ports, non-blocking */
	int monitor;	       /* our end of QEMU's, which speaks QMP, non-blocking */
	int console;	       /* what QEMU and the host's serial port say */
};

/**
 * qemu_start() - check what is needed and start QEMU.
 * @images:	images directory.
 * @state:	the disk of frozen machines, or NULL.
 * @memory_mib: of the emulated host; 0 for half of this machine's, within limits.
 *
 * Return: 0 with @qemu filled, or -errno with @err, which says what to do.
 */
int qemu_start(struct qemu *qemu, const char *images, const char *state, int memory_mib,
	       struct error *err);

/** qemu_stop() - end QEMU if it runs, reap it, close its descriptors. */
void qemu_stop(struct qemu *qemu);
