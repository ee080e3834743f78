/*
 * The broker's side of `vmctl net` (net/net.h), the process that has the network of VMs.
 *
 * Theory of operation
 *
 * It is started when a client first asks for a network or for a policy. A VM is connected
 * when it runs and has a policy: the broker asks for a slot, and what comes is one
 * descriptor, a tap, which is passed on to the VM's process. Nobody waits for that; what
 * the guest sends until then waits in its queue. A fork has its parent's policy before it
 * runs.
 *
 * The keeper has a descriptor of the socket. So the process outlives a broker that is
 * killed, with all connections; the next one asks for every VM's slot again and gets the
 * same. Should the process end, its VMs lose their taps, another one is started, and told
 * all policies that this broker knows; its VMs get new slots. The newest policy of each
 * that the former had not answered the new one answers. It ends by itself when a program of
 * it ends. One that does so soon after its start is waited for longer each time.
 */
#pragma once

#include "util/error.h"
#include "util/loop.h"
#include "vmctl/net/peer.h"

#include <jansson.h>

struct broker;
struct request;
struct vmproc;

struct netproc {
	struct peer peer;	 /* its fd is -1 while there is no process */
	struct loop_timer again; /* armed until another one is started */
	uint64_t again_ms;	 /* for how long, the next time */
	uint64_t started_ns;	 /* CLOCK_MONOTONIC */
	json_t *network;	 /* what a client last said of the host, or NULL */
	int slots, slots_free;	 /* as the process last told; 0 without one */
	int descriptors;	 /* likewise: that it has open */
	char uplink[8];		 /* kernel, user or none */
	char why[320];		 /* a sentence about that */
	char link[32];		 /* in the host's namespace, as uplink_print(); "" */
};

/** netproc_init() - there is none yet. */
void netproc_init(struct broker *broker);

/** netproc_adopt() - take up that of a former broker. @fd: its socket, the broker's now. */
void netproc_adopt(struct broker *broker, int fd);

/** netproc_go_on() - all VMs of a former broker have been taken up: connect them anew. */
void netproc_go_on(struct broker *broker);

/** netproc_close() - end it; the broker is about to end, and has no VMs. */
void netproc_close(struct broker *broker);

/** netproc_network() - what a client says of the host. Return: 0 or -errno with @err. */
int netproc_network(struct broker *broker, const json_t *fields, struct error *err);

/**
 * netproc_policy() - @vm has this policy from now on.
 * @request: answered when it is in force.
 * Return: 0 or -errno with @err; then @request is the caller's yet.
 */
int netproc_policy(struct vmproc *vm, json_t *policy, struct request *request,
		   struct error *err);

/** netproc_inherit() - a fork has its parent's policy, if that has one. */
void netproc_inherit(struct vmproc *vm, const struct vmproc *parent);

/** netproc_look() - connect @vm, if it runs, has a policy and is not. */
void netproc_look(struct vmproc *vm);

/** netproc_tell() - the owner of its channel hears whether @vm is connected. */
void netproc_tell(const struct vmproc *vm);

/** netproc_gone() - @vm is dead: its slot is destroyed. */
void netproc_gone(struct vmproc *vm);
