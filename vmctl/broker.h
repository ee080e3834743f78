/*
 * The broker: it owns the VM processes of one machine and serves them to
 * clients over the link protocol (wire/link.h, docs/protocols.md).
 *
 * Theory of operation
 *
 * One thread, one event loop. A client (client.h) is a stream of frames: a
 * connection to the listening socket, or, inside the emulated host, a
 * virtio-serial port that never closes. A VM (vmproc.h) is a child process with
 * a control socket and an agent socket. A channel (channel.h) carries bytes
 * between a VM's agent socket and the one client that owns it: the client that
 * created or last attached the VM. Requests on channel 0 are answered by ops.h.
 *
 * Children are reaped on SIGCHLD, whoever they are, so that the broker can be
 * PID 1. On SIGTERM or SIGINT every VM is ended, and broker_run() returns when
 * the last of them has been reaped. A broker that is killed instead leaves its VMs to the
 * next one (keep.h).
 */
#pragma once

#include "util/error.h"
#include "util/list.h"
#include "util/loop.h"
#include "vmctl/keeper.h"
#include "vmctl/netproc.h"
#include "vmctl/store.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define BROKER_BUCKETS	   256
#define BROKER_DEADLINE_MS 10000

struct links;
struct vmproc;

struct broker_config {
	const char *state;	/* directory of frozen machines, or NULL */
	const char *images;	/* directory of kernel, initramfs, templates */
	const char *keeper;	/* path of the keeper's socket, or NULL (keeper.h) */
	const char *uplink;	/* "kernel", "user", "none" or "auto"; NULL: "auto" */
	const char *engine;	/* "kvm" or "emulated", as `stat` reports it */
	const char *vm_program; /* what to execute as `vmctl vm` */
	unsigned deadline_ms;	/* for an answer of a VM process; 0: BROKER_DEADLINE_MS */
	struct links *links;	/* to the disks that the templates are; NULL: files */
};

struct broker {
	struct broker_config config;
	struct store store;
	struct loop loop;
	struct keeper keeper;
	struct netproc net;
	struct link clients; /* struct client, by its link */
	struct link vms;     /* struct vmproc, by its link, in order of id */
	struct link buckets[BROKER_BUCKETS]; /* struct vmproc, by its bucket: by id */
	struct link pids[BROKER_BUCKETS];    /* struct vmproc, by its pid_bucket */
	uint32_t vm_count, last_id;
	uint64_t started_ns;
	struct loop_source listener, signals;
	int signal_fd;
	bool stopping;
	bool limits_cpu;	 /* cgroup.h */
	struct link left_groups; /* likewise */
};

/**
 * broker_init() - make a broker without clients.
 * @config: copied; its strings stay the caller's and must outlive the broker.
 *
 * Blocks SIGTERM, SIGINT and SIGCHLD and takes them from a descriptor. Takes up the VMs
 * that a former broker has left.
 *
 * Return: 0 or -errno with @err filled.
 */
int broker_init(struct broker *broker, const struct broker_config *config,
		struct error *err);

/** broker_listen() - serve connections to @fd, which stays the caller's. */
int broker_listen(struct broker *broker, int fd, struct error *err);

/** broker_run() - serve until broker_stop() has ended every VM. */
int broker_run(struct broker *broker, struct error *err);

/** broker_stop() - begin to end: no new clients, every VM destroyed. */
void broker_stop(struct broker *broker);

/** broker_fini() - drop the clients and close what is open. */
void broker_fini(struct broker *broker);

/** broker_find() - the VM with @id that is not being destroyed, or NULL. */
struct vmproc *broker_find(struct broker *broker, uint32_t id);

/** broker_find_any() - the VM with @id, or NULL. */
struct vmproc *broker_find_any(struct broker *broker, uint32_t id);

/** broker_find_pid() - the VM whose process @pid is and has not ended, or NULL. */
struct vmproc *broker_find_pid(struct broker *broker, pid_t pid);

/** broker_vm_gone() - a VM has been freed; called by vmproc.c alone. */
void broker_vm_gone(struct broker *broker);
