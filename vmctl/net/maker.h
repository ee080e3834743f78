/*
 * The process that makes slots, so that nothing else waits while one is made.
 *
 * Theory of operation: making a slot takes some ten milliseconds of the kernel's time. It
 * is done by a fork of `vmctl net` that is in the hub as well, has the same privileges, and
 * no descriptor but its socket. A slot belongs to who has its tap, which keeps its
 * namespace alive; the maker remembers none. Neither outlives the other.
 *
 * It hears {slot}, a number that no slot has, and answers, in order, {slot} with the tap,
 * or {slot, error}.
 */
#pragma once

#include "util/error.h"

/**
 * maker_start() - fork it; the thread is in the hub.
 * Return: our end of its socket, for a struct peer; or -errno with @err.
 */
int maker_start(struct error *err);
