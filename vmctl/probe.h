/*
 * `vmctl probe`: what KVM can do on this machine, by measurement.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct probe {
	const char *cpu_flag; /* "vmx", "svm", or NULL */
	const char *module;   /* "kvm_intel", "kvm_amd", "kvm", or NULL */
	bool node;	      /* /dev/kvm exists */
	bool access;	      /* and we may open it */
	int open_errno;	      /* why not */
	int api_version;      /* 0 when unknown */
	int create_errno;     /* why there is no VM; 0 when there was one */
	int64_t create_usec;  /* how long KVM_CREATE_VM took; -1 when unknown */
	int64_t loop_ps;      /* one round of a ring-0 loop, in ps; -1: no end */
	bool int3;	      /* the guest handled a breakpoint by itself */
	bool measured;	      /* the measurement came to its end in time */
	char qemu[256];	      /* the path of QEMU, or empty */

	const char *engine; /* "kvm" or "emulated" */
	bool usable;	    /* the engine can run */
	char why[256], advice[256];
};

/** probe_run() - measure and judge; takes at most about three seconds. */
void probe_run(struct probe *probe);

/** probe_main() - the subcommand. Return: 0 when an engine is usable, else 1 or 2. */
int probe_main(int argc, char **argv);
