/*
 * vmctl-names: the programs of a sandbox's network that look into what guests send, `dns`
 * and `proxy`.
 *
 * They are a program of their own, beside vmctl, so that what runs VMs links none of the
 * libraries that these need. `vmctl net` starts both.
 */
#pragma once

#include "util/error.h"
#include "vmctl/jail.h"

#define NAMES_CHANNEL_FD 3 /* to `vmctl net`, see net_channel.h */

/** dns_main() - the DNS proxy. Return: the exit status. */
int dns_main(int argc, char **argv);

/** proxy_main() - the proxy for secrets. Return: the exit status. */
int proxy_main(int argc, char **argv);

/**
 * names_jail() - shut this process in, before it looks at what a guest sends. It keeps its
 * network namespace and what it has open.
 * @name: for standard error.
 * Return: 0 or -errno with @err filled.
 */
int names_jail(const char *name, enum jail_root root, enum jail_calls calls,
	       struct error *err);
