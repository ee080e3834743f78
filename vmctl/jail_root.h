/*
 * The root directory of a jail (jail.h).
 */
#pragma once

#include "vmctl/jail.h"

#include <stdbool.h>

/**
 * jail_root_prepare() - before anything is given up: make what the root needs.
 * Return: 0 or -errno with @err filled.
 */
int jail_root_prepare(enum jail_root root, struct error *err);

/**
 * jail_root_enter() - be in it.
 * @private: the process has a namespace of mounts for itself; without one, all that is done
 *	is what chroot(2) allows.
 *
 * Return: 0 or -errno with @err filled.
 */
int jail_root_enter(enum jail_root root, bool private, struct error *err);
