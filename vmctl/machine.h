/*
 * One virtual machine: memory, vCPUs, devices, and what connects them.
 *
 * Theory of operation: vCPU threads handle their accesses to devices by
 * themselves, under the one device lock. The main thread takes it when the
 * agent's socket or the tap is ready. The order of locks is: the device lock, then that of
 * the log. The lock is never held across a KVM_RUN.
 */
#pragma once

#include "util/error.h"
#include "vmctl/conlog.h"
#include "vmctl/disk.h"
#include "vmctl/gmem.h"
#include "vmctl/kvm.h"
#include "vmctl/snapshot.h"
#include "vmctl/uart.h"
#include "vmctl/vcpu.h"
#include "vmctl/virtio_balloon.h"
#include "vmctl/virtio_blk.h"
#include "vmctl/virtio_console.h"
#include "vmctl/virtio_net.h"
#include "vmctl/virtio_rng.h"

#include <pthread.h>

#define MACHINE_MEMORY_MIN_MIB 128
#define MACHINE_WINDOWS	       6

struct machine;

struct machine_config {
	const char *kernel, *initramfs;
	const char *base;  /* read-only image: the first disk */
	const char *upper; /* what the second disk begins as */
	uint64_t memory_mib;
	uint64_t vcpus;
	uint64_t disk_mib; /* of the second disk; no less than @upper has */
	int agent_fd;	   /* non-blocking stream; stays the caller's */

	/* In a vCPU thread: the VM has ended. May be called more than once. */
	void (*dead)(struct machine *m, const char *reason);
	/* Under the device lock: look at console.want_in and want_out anew. */
	void (*watch)(struct virtio_console *con);
	/* Under the device lock: look at net.want_in and tap_fd anew. */
	void (*watch_net)(struct virtio_net *net);
};

struct machine {
	struct gmem mem;
	struct kvm_vm kvm;
	struct vcpus vcpus;
	struct disk base, upper;
	struct conlog log;
	void (*dead)(struct machine *m, const char *reason);

	pthread_mutex_t lock; /* of the devices that follow */
	struct uart uart;
	struct virtio_blk blk[2];
	struct virtio_console console;
	struct virtio_rng rng;
	struct virtio_balloon balloon;
	struct virtio_net net;
	struct virtio_device *window[MACHINE_WINDOWS]; /* by address */
};

/**
 * machine_init() - build the machine and load its kernel; nothing runs yet.
 * @m: zeroed; lives as long as the process.
 *
 * Return: 0 or -errno with @err filled; then the process is to end.
 */
int machine_init(struct machine *m, const struct machine_config *config, struct error *err);

/**
 * machine_open() - open what is not the guest's: the first disk's image and KVM. Afterwards
 * machine_thaw() needs no file by its name; machine_init() does it itself.
 */
int machine_open(struct machine *m, const struct machine_config *config, struct error *err);

/* What a snapshot says of a machine, and its owner has to tell when it is written. */
struct machine_origin {
	const char *template; /* the name of its image */
	const char *group;    /* that it is of, or "" */
	const char *base;     /* the name of the snapshot that it is compared with, or "" */
	int base_fd;	      /* the file of that; -1: there is none */
	int pagemap_fd; /* /proc/PID/pagemap of this process; -1: look at every page */
};

/**
 * machine_freeze() - write a machine that stands still to an empty file.
 * @state:  what KVM knows of it.
 * @fd:	    the file, which is on the disk when this returns 0.
 * @progress: called now and then.
 * @bytes:  set to the length of the file.
 *
 * Return: 0 or -errno with @err filled; the machine can run on either way.
 */
int machine_freeze(struct machine *m, const struct kvm_state *state,
		   const struct machine_origin *origin, int fd,
		   snapshot_progress_fn *progress, uint64_t *bytes, struct error *err);

/** machine_save_memory() - write memory alone, to compare others with. As machine_freeze().
 */
int machine_save_memory(struct machine *m, const struct machine_origin *origin, int fd,
			snapshot_progress_fn *progress, uint64_t *bytes, struct error *err);

/**
 * machine_thaw() - build the machine that a snapshot has, as machine_init() builds a new
 * one; nothing runs yet.
 * @m: as machine_open() left it.
 * @config: kernel, initramfs, the disks and the sizes are not used.
 * @fd:	    the snapshot's file.
 * @base_fd: the file of the one that it was compared with, or -1.
 *
 * Return: 0 or -errno with @err filled; then the process is to end.
 */
int machine_thaw(struct machine *m, const struct machine_config *config, int fd,
		 int base_fd, snapshot_progress_fn *progress, struct error *err);

/** machine_connect() - the devices of a machine with memory and disks, as after power on.
 */
void machine_connect(struct machine *m, const struct machine_config *config);

/** machine_vcpu_ops() - what a machine does for its vCPUs. */
const struct vcpu_ops *machine_vcpu_ops(void);

/** machine_agent_ready() - the agent's socket is ready for what was wanted.
 * Return: 0, or -errno with @err filled when that ends the VM. */
int machine_agent_ready(struct machine *m, struct error *err);

/** machine_net_connect() - as virtio_net_connect(). */
void machine_net_connect(struct machine *m, int tap_fd);

/** machine_net_ready() - as virtio_net_ready(); while nothing stands still. */
int machine_net_ready(struct machine *m, struct error *err);

/**
 * machine_get_state() - what KVM knows of a machine whose vCPUs are parked.
 * @state: NULL when the caller has it already.
 *
 * Return: as machine_seal().
 */
int machine_get_state(struct machine *m, struct kvm_state *state, struct error *err);

/** machine_wake_devices() - the last step of machine_enter(), and of machine_thaw(). */
int machine_wake_devices(struct machine *m, struct error *err);

/**
 * machine_seal() - get a machine whose vCPUs are parked ready for fork(2).
 * @state: receives what KVM knows of it; NULL when the caller has that already.
 *
 * Return: 0, or -errno with @err filled; the machine can run on either way.
 */
int machine_seal(struct machine *m, struct kvm_state *state, struct error *err);

/**
 * machine_part() - in a process that fork(2) has made of a sealed one: give up what
 * belongs to the other. The network interface is not connected any more.
 * @agent_fd: the agent's stream from now on; its source is being watched.
 *
 * Return: 0, or -errno with @err filled; then the process is to end.
 */
int machine_part(struct machine *m, int agent_fd, struct error *err);

/**
 * machine_enter() - after machine_part(), now or later: make a machine of what there
 * is, which does not run yet.
 * @state: as machine_seal() filled it.
 *
 * Return: as machine_part().
 */
int machine_enter(struct machine *m, const struct kvm_state *state, struct error *err);
