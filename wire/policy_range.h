/*
 * Ranges of addresses: what an entry of a policy names, and what is closed.
 *
 * IPv4 that is written as IPv6 (::ffff:192.0.2.1) is IPv4 here, so that one address has one
 * form.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of a range as text: an IPv6 address, "/128" and the NUL. */
#define POLICY_RANGE_TEXT 52

struct policy_range {
	uint8_t address[16]; /* IPv4 in the first four; bits behind the prefix are zero */
	uint8_t prefix;	     /* bits: 0 to 32, or to 128 */
	bool six;	     /* IPv6 */
};

/* Closed, unless a range of a policy covers the address, or for good. */
struct policy_closed {
	const char *text;
	bool for_good;
};

/** policy_closed - the closed ranges, ended by one whose text is NULL. */
extern const struct policy_closed policy_closed[];

/**
 * policy_range_parse() - an address, or an address, a slash and a prefix.
 * Return: 0, or -EINVAL with @err, which says what would be right.
 */
int policy_range_parse(const char *text, struct policy_range *range, struct error *err);

/** policy_range_print() - in its canonical form; a single address has no prefix. */
void policy_range_print(const struct policy_range *range, char to[POLICY_RANGE_TEXT]);

/** policy_range_of() - the single address whose 4 or, of IPv6, 16 bytes are at @address. */
struct policy_range policy_range_of(const void *address, bool six);

/** policy_range_has() - is all of @inner in @outer? */
bool policy_range_has(const struct policy_range *outer, const struct policy_range *inner);

/** policy_range_for_good() - is all of @range in one that is closed for good? */
bool policy_range_for_good(const struct policy_range *range);

/** policy_range_touches_closed() - is some of @range in one that is closed? */
bool policy_range_touches_closed(const struct policy_range *range);
