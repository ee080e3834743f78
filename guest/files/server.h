/*
 * The guest's file server: answers requests about files (wire/files.h).
 *
 * It is a process that the agent makes of itself, without an exec, so that whatever a
 * file system does to it, PID 1 goes on.
 */
#pragma once

#include "guest/files/dirty.h"
#include "guest/files/note.h"
#include "guest/files/tree.h"

#include <stdatomic.h>
#include <stdint.h>

#define FILES_SERVER_NAME "pffs-files" /* of the process, as ps shows it */
#define FILES_WATCHES	  8192	       /* watches at a time; the oldest gives way */

/* What outlives a server that dies: in memory that it shares with the agent. */
struct files_shared {
	atomic_uint handles; /* given so far: a number means one file alone */
	atomic_uint watches; /* set so far */
	atomic_int newest;   /* the highest number of one */
	atomic_int recent[FILES_WATCHES];
	struct files_note notes[FILES_NOTES];
	bool links_told; /* the host is told of links that others make */
	int loops;	 /* loop devices that there were from the beginning */
};

struct files_config {
	int fd;	     /* a stream socket: frames of wire/agent.h */
	int root;    /* the directory that paths begin at */
	int inotify; /* its events are the agent's to read */
	struct layers layers;
	struct dirty dirty;
	struct files_shared *shared;
};

/** loops_in() - Return: how many loop devices with a file are in /proc/partitions. */
int loops_in(const char *partitions);

/**
 * files_serve() - serve until the socket's other end closes; the process ends then.
 *
 * Also asked by AGENT_RUN and AGENT_EXIT what a run changes: guest/agent/changes.c.
 *
 * The caller has one thread. The descriptors are taken over. A frame of another epoch
 * than the last one, such as AGENT_WAKE, ends all handles, locks and watches.
 */
__attribute__((noreturn)) void files_serve(const struct files_config *config);
