/*
 * Network namespaces of the thread.
 */
#pragma once

#include "util/error.h"

/** netns_here() - a descriptor of the thread's network namespace, or -errno with @err. */
int netns_here(struct error *err);

/** netns_new() - the thread goes into a new one. Return: 0 or -errno with @err. */
int netns_new(struct error *err);

/** netns_enter() - the thread goes into the one of @fd. Return: 0 or -errno with @err. */
int netns_enter(int fd, struct error *err);

/**
 * netns_set() - set a value below /proc/sys/net, of the thread's namespace.
 * Return: 0, or -errno with @err: -ENOENT also where the kernel lacks it.
 */
int netns_set(const char *key, const char *value, struct error *err);

/** netns_quiet() - links that come address nothing by themselves and take no advice. */
void netns_quiet(void);

/** netns_forward() - pass packets on, IPv4 and, where there is any, IPv6. */
int netns_forward(struct error *err);

/**
 * netns_forget_soon() - connections of TCP that are over are not remembered for minutes.
 * Once there are rules that look at connections: the kernel has no such setting before.
 */
void netns_forget_soon(void);
