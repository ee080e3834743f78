/*
 * A vmctl of pffs's own, as the guard has it (guard.h): how it is started, known again by
 * the next pffs, and ended.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <sys/types.h>

struct own_vmctl_options {
	const char *socket, *images, *engine, *uplink;
	const char *machines; /* where it keeps frozen machines; NULL: nowhere */
	const char *pid_file; /* says which process it is; NULL: nothing does */
};

struct own_vmctl {
	const struct own_vmctl_options *options;
	pid_t pid;  /* 0 while there is none */
	int handle; /* of pidfd_open(2): its number may be another process's by now */
	bool noted; /* the file says that it is ours */
};

/**
 * own_vmctl_start() - start it as a child of the caller's parent, who reaps it.
 * Return: its process id, or -errno with @err filled.
 */
pid_t own_vmctl_start(struct own_vmctl *vmctl, struct error *err);

/**
 * own_vmctl_adopt() - is process @peer the vmctl of a pffs that was killed? Then it is
 * ours. Return: @peer, or 0.
 */
pid_t own_vmctl_adopt(struct own_vmctl *vmctl, pid_t peer);

/** own_vmctl_note() - have the next pffs know it again. */
void own_vmctl_note(struct own_vmctl *vmctl);

/** own_vmctl_end() - end it, which ends its machines. No-op when there is none. */
void own_vmctl_end(struct own_vmctl *vmctl);
