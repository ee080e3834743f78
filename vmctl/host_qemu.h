/*
 * The QEMU process of the emulated host.
 *
 * Theory of operation
 *
 * QEMU is started once, and outlives a vmctl that is killed; the next one finds it by its
 * sockets (host_dir.h) and is no parent of it. So its end is told by a pidfd in either
 * case.
 *
 * It listens on sockets that it is given, so that they take connections before it has
 * come so far, and accepts one at a time on each: ours, since we have the directory.
 */
#pragma once

#include "util/error.h"
#include "vmctl/host.h"
#include "vmctl/host_dir.h"

#include <sys/types.h>

struct qemu {
	pid_t pid;
	int pidfd;
	int ports[HOST_PORTS]; /* our ends of the ports, non-blocking */
	int line;	       /* likewise, of the line */
	int monitor;	       /* our end of QEMU's, which speaks QMP, non-blocking */
	int console;	       /* what QEMU and the host's serial port say */
};

struct qemu_options {
	const char *images; /* directory */
	const char *state;  /* the disk of frozen machines, or NULL */
	int memory_mib; /* of the emulated host; 0 for half of this machine's, in limits */
};

/** qemu_init() - there is no QEMU yet; qemu_stop() is right from then on. */
void qemu_init(struct qemu *qemu);

/**
 * qemu_find() - take up the QEMU that a killed vmctl has left in @dir.
 *
 * One that cannot be taken up, as it is not known what it has, is ended. One that we are
 * not able to take up now, or that is of other images (-EBUSY), goes on, with its machines.
 *
 * Return: 1 with @qemu filled; 0 when there is none, and @dir is empty; or -errno with @err
 * filled, and @dir as it was.
 */
int qemu_find(struct qemu *qemu, const struct host_dir *dir,
	      const struct qemu_options *options, struct error *err);

/**
 * qemu_start() - check what is needed and start QEMU.
 * @dir: empty.
 *
 * Return: 0 with @qemu filled, or -errno with @err, which says what to do.
 */
int qemu_start(struct qemu *qemu, const struct host_dir *dir,
	       const struct qemu_options *options, struct error *err);

/** qemu_leave() - close its descriptors; the next vmctl may take it up. */
void qemu_leave(struct qemu *qemu);

/** qemu_stop() - end QEMU if it runs, reap it, close its descriptors. */
void qemu_stop(struct qemu *qemu);

/* Between host_qemu.c and host_find.c. */

#define QEMU_SOCKETS (HOST_PORTS + 2) /* the ports, the line, the monitor */
#define CONSOLE	     "console"	      /* the FIFO */

/** qemu_socket() - the name of a socket in the directory. @name: of 16 bytes. */
void qemu_socket(int number, char *name);

/** qemu_join() - connect to all sockets. Return: 0 or -errno with @err filled. */
int qemu_join(struct qemu *qemu, const struct host_dir *dir, struct error *err);

/** qemu_note() - write down how QEMU is started. Return: 0 or -errno with @err filled. */
int qemu_note(const struct host_dir *dir, const struct qemu_options *options,
	      struct error *err);
