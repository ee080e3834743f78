/*
 * What is known of a VM, in memory that outlives the broker.
 *
 * Theory of operation: the memory is a file without a name, of which the keeper (keep.h)
 * has a descriptor beside those of the VM's sockets. The broker has it mapped and keeps
 * nothing of it anywhere else, so that a broker that finds it knows what the former one
 * knew, to the very instruction at which that was killed. It is trusted: nobody but brokers
 * of one user ever has it.
 */
#pragma once

#include "util/error.h"
#include "wire/link.h"

#include "vmctl/ring.h"

#include <stdbool.h>
#include <stdint.h>

#define KEPT_NAME_MAX  128
#define KEPT_IMAGE_MAX 64
#define KEPT_REASON    320

/* Towards the client, and towards the VM: its former owners' and its owner's window. */
#define KEPT_FROM_VM LINK_WINDOW
#define KEPT_TO_VM   ((size_t)2 * LINK_WINDOW)

/* See channel.h. */
struct channel_state {
	struct ring_state from_vm, to_vm;
	uint64_t consumed; /* bytes ever taken from the socket */
	bool writing;	   /* a write to the socket may not be counted yet */
};

struct vm_facts {
	uint32_t id;
	uint32_t parent; /* the VM it was forked from, or 0 */
	int32_t pid;	 /* 0 while it is not known */
	int32_t memory_mib, vcpus;
	int32_t cpu_percent; /* 0: no limit */
	int32_t group_of;    /* the broker that made a cgroup for it, or 0 */
	int32_t errnum;	     /* what the process said with its reason, or 0 */
	uint64_t pid_ns;     /* the inode of its namespace of pids, or 0 */
	uint64_t last_seq;   /* of the questions to the process */
	bool seen;	     /* clients know it */
	bool started;	     /* its guest runs */
	bool dead;	     /* reaped */
	bool destroying;     /* to be freed when it is dead */
	bool parked;	     /* it stands still until it is told to resume */
	bool policy;	     /* `vmctl net` has a policy of its network */
	bool connected;	     /* it has a tap */
	char name[KEPT_NAME_MAX + 1], template[KEPT_NAME_MAX + 1];
	char group[KEPT_NAME_MAX + 1];	   /* whose it is, in its client's words */
	char base[KEPT_IMAGE_MAX + 1];	   /* the snapshot that it has memory of */
	char freezing[KEPT_IMAGE_MAX + 1]; /* the snapshot that is being made of it */
	char reason[KEPT_REASON];	   /* of its end; empty while there is none */
};

struct kept {
	uint32_t version, size; /* of what wrote it */
	struct vm_facts facts;
	struct channel_state channel;
};

/** kept_new() - new memory, all zeros. @fd: set to its file. Return: NULL with @err. */
struct kept *kept_new(int *fd, struct error *err);

/** kept_map() - the memory that another broker has made. Return: NULL with @err: also when
 * that was of another version. */
struct kept *kept_map(int fd, struct error *err);

/** kept_free() - let go of the memory. */
void kept_free(struct kept *kept);

/** kept_from_vm() - the queue of bytes that the VM has said. */
struct ring kept_from_vm(struct kept *kept);

/** kept_to_vm() - the queue of bytes for the VM. */
struct ring kept_to_vm(struct kept *kept);
