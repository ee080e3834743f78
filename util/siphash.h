/*
 * SipHash-2-4 (Aumasson and Bernstein, 2012): a hash whose key others do not know, for
 * tables of what they choose.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

uint64_t siphash(const uint64_t key[2], const void *data, size_t len);

/**
 * siphash_secret() - by a random key that is this process's.
 * @start: tells equal data in different places apart.
 */
uint64_t siphash_secret(uint64_t start, const void *data, size_t len);
