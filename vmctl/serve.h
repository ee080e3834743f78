/*
 * `vmctl serve`: its options, and the choice of the engine.
 */
#pragma once

#include "util/error.h"

#define SOCKET_DEFAULT "/run/pffs/vmctl.sock"

struct serve_options {
	const char *socket, *images, *engine, *vm_program;
	const char *uplink;  /* as struct broker_config has it */
	const char *state;   /* directory for frozen machines, or NULL */
	int host_memory_mib; /* of the emulated host; 0: choose */
	int ports; /* descriptors from SPAWN_FIRST_FD on that are clients; the next is the
		      line */
	unsigned deadline_ms; /* as struct broker_config has it */
};

/** serve_main() - the subcommand. Return: an exit status. */
int serve_main(int argc, char **argv);

/**
 * serve_socket_path() - @given, else $PFFS_VMCTL_SOCKET, else SOCKET_DEFAULT.
 */
const char *serve_socket_path(const char *given);
