/*
 * Where taps come from.
 *
 * The host's /dev/net/tun may be root's alone, and `vmctl net` is another user when it
 * makes taps. So as long as it is root it makes a node of its own, in a file system that is
 * mounted nowhere.
 */
#pragma once

#include "util/error.h"

/** tun_share() - of root: from now on who we become can make taps, too. Return: 0 or
 * -errno with @err filled; then only who may open the host's can. */
int tun_share(struct error *err);

/** tun_open() - for one tap, of the namespace that the thread is in. Return: a descriptor,
 * or -errno with @err filled. */
int tun_open(struct error *err);
