/*
 * An entry of net/allow: where to, and to which ports.
 *
 * It is a domain, a wildcard or a range of addresses, then, if not all ports are meant, a
 * colon and ports: `example.com:443`, `*.pypi.org:80,443`, `[2001:db8::/32]:8000-8010`.
 * As text it is read in many forms and printed in one: lower case, the range as short as it
 * can be, ports in order and without overlap.
 */
#pragma once

#include "util/error.h"
#include "wire/policy_range.h"

#include <stdbool.h>
#include <stdint.h>

#define POLICY_LINE_MAX	 1024 /* bytes of a line of net/allow, and an entry as text */
#define POLICY_NAME_MAX	 253  /* bytes of a name, RFC 1035 without the last dot */
#define POLICY_PORTS_MAX 16   /* ranges of ports in an entry */

enum policy_kind {
	POLICY_NAME,  /* that name alone */
	POLICY_BELOW, /* any name below it */
	POLICY_RANGE,
};

struct policy_ports {
	uint16_t low, high; /* both meant; never 0 */
};

struct policy_entry {
	enum policy_kind kind;
	char name[POLICY_NAME_MAX + 1]; /* lower case, without "*."; "" of a range */
	struct policy_range range;
	struct policy_ports ports[POLICY_PORTS_MAX]; /* ascending, none touches the next */
	unsigned port_count;			     /* 0: all ports */
};

/**
 * policy_entry_parse() - an entry of its text, without space or comment.
 * Return: 0, or -EINVAL with @err; also for a range that is closed for good.
 */
int policy_entry_parse(const char *text, struct policy_entry *entry, struct error *err);

/** policy_entry_print() - in its canonical form. */
void policy_entry_print(const struct policy_entry *entry, char to[POLICY_LINE_MAX]);

/**
 * policy_name_parse() - a domain name to its canonical form: lower case, no last dot.
 * Return: 0, or -EINVAL with @err.
 */
int policy_name_parse(const char *text, char to[POLICY_NAME_MAX + 1], struct error *err);

/** policy_entry_names() - does @entry, if not a range, cover @name? Canonical it has to be.
 */
bool policy_entry_names(const struct policy_entry *entry, const char *name);

/** policy_entry_ports() - does it cover all of @ports? */
bool policy_entry_ports(const struct policy_entry *entry, struct policy_ports ports);

/** policy_entry_same() - do both mean the same? */
bool policy_entry_same(const struct policy_entry *a, const struct policy_entry *b);

/** policy_entry_to() - does @outer cover all that @inner does, ports aside? */
bool policy_entry_to(const struct policy_entry *outer, const struct policy_entry *inner);
