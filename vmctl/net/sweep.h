/*
 * What the hub remembers of connections of slots that are no more.
 *
 * The kernel would keep an open one for days, and has room for so many. So now and then,
 * when slots have gone, all connections are looked through. It costs time for each that
 * there is, so a bounded number goes at once.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>

#define SWEEP_MOST 2048 /* connections that are forgotten at once */

/**
 * sweep() - forget the connections of slots that are not used.
 * @used: tells of a slot's number, for @data.
 * Return: how many were; with SWEEP_MOST there may be more; or -errno with @err.
 */
int sweep(bool (*used)(void *data, unsigned number), void *data, struct error *err);
