/*
 * What vmproc.c and vmproc_make.c share.
 */
#pragma once

#include "vmctl/vmproc.h"

/* A log of 64 KiB, when JSON has escaped every byte of it, and some more. */
#define VMPROC_MESSAGE_MAX (512u << 10)

/** vmproc_set_pid() - its process is known. */
void vmproc_set_pid(struct vmproc *vm, pid_t pid);

/** vmproc_watch_exit() - be told of the end of a process that is not our child. */
int vmproc_watch_exit(struct vmproc *vm);

/** vmproc_watch_control() - take what the process says. */
int vmproc_watch_control(struct vmproc *vm);

/** vmproc_on_grace() - a VM that has to go has had its time. */
void vmproc_on_grace(struct loop_timer *timer);
