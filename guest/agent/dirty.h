/*
 * Have the kernel note which inodes of the upper layer change (guest/files/dirty.h).
 */
#pragma once

#include "guest/files/dirty.h"

/**
 * dirty_init() - begin to, if the kernel can. For PID 1: it stays in the kernel.
 * @upper: a directory of the layer's file system.
 * Return: the maps, or -1 for both.
 */
struct dirty dirty_init(int upper);
