/*
 * A bound for a DNS proxy that was taken over: to connect by TCP to resolvers' ports alone.
 */
#pragma once

#include "util/error.h"

#include <stdint.h>

/**
 * port_confine() - from now on this process connects by TCP to @port and no other, and
 * binds to none (Landlock, Linux 6.7). UDP is not the kernel's to confine so.
 * Return: 1; 0 if this kernel has no such thing; or -errno with @err filled.
 */
int port_confine(uint16_t port, struct error *err);
