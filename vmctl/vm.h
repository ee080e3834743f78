/*
 * The process of one VM: `vmctl vm`, started by the broker.
 *
 * Descriptor 3 is the control socket (SOCK_SEQPACKET, one JSON object in each
 * message), descriptor 4 the agent's stream (SOCK_STREAM). The first message
 * from the broker is
 *
 *	{"op":"start","name":,"kernel":,"initramfs":,"base":,"upper":,
 *	 "memory_mib":,"vcpus":,"disk_mib":,"user":}
 *
 * or, for a machine that was frozen, whose snapshot is "file", and "other" the one that
 * that was compared with, if any,
 *
 *	{"op":"start","name":,"base":,"file":,"other":,"user":}
 *
 * The process opens all that this names, and then shuts itself into its jail (jail.h),
 * where it is "user". The answer is {"event":"started"} once the guest runs. After that it
 * is asked, each time with a "seq", which the answer has, too:
 *
 *	log	{"log":TEXT}
 *	stat	with /proc/PID/smaps_rollup of the process; {"cpu_usec":,"memory_bytes":,
 *		"memory_private":,"memory_shared":,"disk_bytes":}
 *	agent	{"agent_in":}, the number of bytes that were ever sent on descriptor 4
 *	park, resume	{}
 *	fork, freeze, save	as vm_fork.h says
 *	tap	as vm_tap.h says
 *
 * A fork says {"event":"started"} on its own control socket. Its parent waits for its end
 * late, as init does (init.h). A message is VM_MESSAGE_MAX bytes at most. The end of
 * descriptor 3, which is not that of the broker (keep.h), ends the process at once. A
 * process that ends by itself says
 * {"event":"dead","reason":SENTENCE,"log":TEXT,"errno":} first.
 */
#pragma once

/* Of a log of 64 KiB JSON may escape every byte by a second one. */
#define VM_MESSAGE_MAX (132u << 10)

#define VM_CONTROL_FD 3
#define VM_AGENT_FD   4

/** vm_main() - run one VM to its end. Return: the process's exit status. */
int vm_main(int argc, char **argv);
