/*
 * The emulated host: a machine of QEMU's making whose CPU has svm, in which the
 * same vmctl serves the same clients.
 */
#pragma once

#include "util/error.h"

struct serve_options;

/**
 * host_serve() - the outer side: start the emulated host and relay the clients of
 * @listen_fd (taken over) to the broker in it, until SIGTERM or its end.
 *
 * Return: 0 after SIGTERM or SIGINT, or -errno with @err filled.
 */
int host_serve(const struct serve_options *options, int listen_fd, struct error *err);

/** host_init_main() - the inner side: PID 1 of the emulated host. Never returns. */
int host_init_main(int argc, char **argv);
