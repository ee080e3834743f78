/*
 * From the kernel's hand-over to a root file system that programs can live in.
 */
#pragma once

#include "guest/files/tree.h"
#include "util/error.h"

#define BOOT_RUN_DIR  "/run/pffs"
#define BOOT_REPL     BOOT_RUN_DIR "/repl.py"
#define BOOT_IDENTITY BOOT_RUN_DIR "/etc"

/**
 * boot_system() - load modules, mount everything, switch to the new root.
 * Return: 0, or -errno with @err filled; the guest cannot go on then.
 */
int boot_system(struct error *err);

/**
 * boot_open_root() - the root file system alone: nothing that is mounted on it is seen
 * through it. Return: fd, or -1.
 */
int boot_open_root(void);

/** boot_layers() - the layers of that, for the caller to take over; -1 where one is not. */
struct layers boot_layers(void);

/** boot_open_port() - open the virtio port of the agent. Return: fd, or -errno with @err.
 */
int boot_open_port(struct error *err);
