/*
 * Which system calls a process may make (seccomp(2), by libseccomp).
 *
 * Theory of operation
 *
 * What is allowed is said beside the code that needs it, in comments
 *
 *	#syscalls:PROFILE ENTRY...
 *
 * from which support/syscalls makes the lists of all profiles. Calls that do different
 *things by an argument, as ioctl(2) does, are allowed with the arguments that are used.
 *Everything else kills the process, by SIGSYS: nobody makes such a call but who has been
 *taken over.
 *
 * A thread has all filters that were installed in it, and what it makes inherits them. So
 *the first one, of the process, is what a VM needs to be forked and frozen; and each vCPU
 *thread puts on top the stricter one of what a guest can make its devices do. That one ends
 *with the thread, and filters do not pile up from fork to fork. Both are compiled once,
 * before the first is installed.
 *
 * Families share a namespace of pids, so there is no call by which a process can signal
 * another one, look at it, or get at its descriptors.
 *
 * A build with sanitizers makes calls of its own, of which those that were seen are
 *allowed.
 */
#pragma once

#include "util/error.h"

enum jail_calls {
	JAIL_CALLS_ANY, /* no filter */
	JAIL_CALLS_VM,	/* and for its threads that of vCPUs */
	JAIL_CALLS_INIT,
	JAIL_CALLS_DNS,
	JAIL_CALLS_RESOLV,
	JAIL_CALLS_PROXY,
};

/**
 * jail_calls_enter() - install the filter of a process that has one thread.
 * Return: 0 or -errno with @err filled.
 */
int jail_calls_enter(enum jail_calls calls, struct error *err);

/**
 * jail_calls_enter_vcpu() - in a new thread: be a vCPU alone from now on. No-op in a
 * process without a filter. Return: 0 or -errno with @err filled.
 */
int jail_calls_enter_vcpu(struct error *err);
