/*
 * Landlock: what pffs can open while it serves, whoever runs it.
 *
 * Theory of operation: all that pffs needs is open when confine() is called, but for the
 * sandboxes of its state directory, the images, and what the C library reads of the system
 * (locales, time zone, conversions). From then on nothing else can be opened, written, made
 * or removed, by it or by what it forks; with newer kernels it can neither connect to, nor
 * listen at, a TCP port, nor signal or reach by an abstract socket what it has not
 * started. Where the kernel has no Landlock the account (account.h) is all there is.
 */
#pragma once

#include "util/error.h"

/** confine_version() - the version of Landlock's ABI that the kernel has; 0: none. */
unsigned confine_version(void);

/**
 * confine() - for this process, which has one thread, and what it forks from now on. After
 * account_enter().
 * @writable, @readable: descriptors of directories (O_PATH), or -1.
 *
 * Return: the version of the ABI that is used, 0 when the kernel has none; or -errno with
 * @err filled.
 */
int confine(int writable, int readable, struct error *err);
