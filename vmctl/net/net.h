/*
 * `vmctl net`: the process that has the network of a broker's VMs.
 *
 * Theory of operation
 *
 * One process, in a user and a network namespace of its own, the hub (hub.h), has slots
 * (slot.h) made ahead of time (maker.h), keeps the policies of all VMs, and puts them into
 * force (rules.h, known.h). It has no privilege outside. The broker asks it over descriptor
 * NET_BROKER_FD, a SOCK_SEQPACKET of JSON objects, and takes nothing else from the network:
 *
 *	network {dns?, ca?, closed?}	what is the host's
 *	policy {vm, policy, seq}	of a VM; answered {"event":"policy", vm, seq} when
 *it is in force, or with errno and error inherit {vm, parent, parked?}	a fork has its
 *parent's policy; unless it is parked it will take a slot soon take {vm}
 *answered {"event":"slot", vm} with the slot's tap, as soon as there is one, and not before
 *the VM's policy is in force. Asked again, the same one is given again uplink
 *answered by that event, below gone {vm}			its slot is destroyed, its
 *policy forgotten
 *
 * and is told {"event":"uplink", uplink, uplink_why, link}, {"event":"net", vm,
 * records}, and how many slots there are: {"event":"slots", slots, slots_free,
 * net_descriptors}. So nothing is kept in the broker but who has a policy, and one that
 * takes over after another was killed asks for all slots again. The process ends with the
 * last holder of the other end of that descriptor: the keeper has it, too.
 *
 * What comes together is put into force together: all that the broker has said, then one
 * transaction, then the answers, when `dns` and `proxy` have taken what they were told. A
 * slot that is ruled ahead does not wait for the transaction (pool.c).
 */
#pragma once

#define NET_BROKER_FD 3

/** net_exec() - in vmctl: become `vmctl-net`, with the same arguments. Return: the exit
 * status, if that cannot be. */
int net_exec(int argc, char **argv);
