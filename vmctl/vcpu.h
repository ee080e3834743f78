/*
 * The vCPU threads.
 *
 * Theory of operation: each vCPU has a thread that runs the guest and hands its
 * port and memory accesses to the owner. vcpus_park() brings all of them to a
 * stop between two guest instructions: it sets immediate_exit and lets a timer of the
 * thread send it a signal, since a process in its jail may send none. KVM_RUN then
 * completes the access that the thread has just handled, if any, and returns EINTR, and the
 * thread waits. While they are parked, no vCPU thread touches guest memory or a device, and
 * their KVM state can be read.
 */
#pragma once

#include "util/error.h"
#include "vmctl/kvm.h"
#include "vmctl/kvm_state.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define VCPUS_MAX KVM_STATE_VCPUS_MAX

struct vcpus;

struct vcpu {
	struct vcpus *all;
	unsigned index;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	timer_t kick; /* sends the thread a signal; @all has the lock of it */
	bool can_be_kicked;
};

/*
 * What the owner does for its vCPUs, in their threads. An access returns 0, or
 * -errno with @err filled to end the VM: then dead() gets that sentence.
 */
struct vcpu_ops {
	int (*port)(void *opaque, uint16_t port, bool write, void *data, unsigned len,
		    struct error *err);
	int (*mmio)(void *opaque, uint64_t gpa, bool write, void *data, unsigned len,
		    struct error *err);
	int (*reset)(void *opaque, struct error *err); /* a triple fault */
	void (*dead)(void *opaque, const char *reason);
};

struct vcpus {
	const struct vcpu_ops *ops;
	void *opaque;
	unsigned count;
	struct vcpu vcpu[VCPUS_MAX];

	pthread_mutex_t lock; /* of all that follows */
	pthread_cond_t changed;
	bool park, stop;
	unsigned parked, running; /* threads that wait; threads that have not ended */
};

/**
 * vcpus_init() - make @count vCPUs; the first one will begin at @entry.
 * Return: 0 or -errno with @err filled.
 */
int vcpus_init(struct vcpus *all, struct kvm_vm *kvm, unsigned count, uint64_t entry,
	       const struct vcpu_ops *ops, void *opaque, struct error *err);

/** vcpus_prepare() - @count vCPUs that vcpus_restore() will make. Return: 0 or -EINVAL. */
int vcpus_prepare(struct vcpus *all, unsigned count, const struct vcpu_ops *ops,
		  void *opaque, struct error *err);

/** vcpus_get_state() - read the state of parked vCPUs and their VM. */
int vcpus_get_state(const struct vcpus *all, const struct kvm_vm *kvm,
		    struct kvm_state *state, struct error *err);

/**
 * vcpus_abandon() - in a process that has just been forked, which has no thread but
 * the one that called fork(2): close the vCPUs that the other process runs on.
 */
void vcpus_abandon(struct vcpus *all);

/**
 * vcpus_restore() - after vcpus_abandon() or vcpus_prepare(): make the vCPUs anew, in a new
 * VM. Return: 0 or -errno with @err filled.
 */
int vcpus_restore(struct vcpus *all, const struct kvm_vm *kvm,
		  const struct kvm_state *state, struct error *err);

/** vcpus_start() - start the threads. Return: 0 or -errno with @err filled. */
int vcpus_start(struct vcpus *all, struct error *err);

/** vcpus_park() - wait until every vCPU that still runs is parked. */
void vcpus_park(struct vcpus *all);

/** vcpus_resume() - let parked vCPUs run on. */
void vcpus_resume(struct vcpus *all);

/** vcpus_stop() - end the threads and wait for them. Not from one of them. */
void vcpus_stop(struct vcpus *all);
