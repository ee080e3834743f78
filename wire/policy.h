/*
 * The policy of a sandbox's network: what may leave it, and what is added to what leaves.
 *
 * Theory of operation
 *
 * pffs makes a policy of what a user writes into net/, vmctl gets it over the link as JSON
 * and puts it into force. Both read each line with the same code, and pffs prints it in its
 * canonical form, so that the two cannot take a line for different things. docs/network.md
 * says what the lines mean.
 *
 * A policy is shared by counting, since forks have their parent's, and must not be changed
 * once there is a second reference: who wants another one takes a copy.
 *
 * All of it is bounded, by count and by bytes, so that as JSON it is one frame of the link
 * and one message of a SOCK_SEQPACKET pair.
 */
#pragma once

#include "util/error.h"
#include "wire/policy_entry.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define POLICY_ENTRIES_MAX	1024
#define POLICY_ENTRIES_TEXT_MAX (64u << 10) /* bytes of all entries, a line each */
#define POLICY_SECRETS_MAX	64
#define POLICY_SECRETS_TEXT_MAX (32u << 10)  /* bytes of all secrets, a line each */
#define POLICY_SECRET_LINE_MAX	4096	     /* bytes of a line of net/secrets */
#define POLICY_HEADER_MAX	128	     /* bytes of a header's name */
#define POLICY_JSON_MAX		(160u << 10) /* bytes of a policy as JSON */

enum policy_egress {
	POLICY_ON,
	POLICY_OFF,
	POLICY_ALLOW,
};

struct policy_secret {
	char domain[POLICY_NAME_MAX + 1];   /* canonical */
	char header[POLICY_HEADER_MAX];	    /* as written; a token of RFC 9110 */
	char value[POLICY_SECRET_LINE_MAX]; /* printable ASCII; "" where it is not told */
};

struct policy {
	unsigned references;
	enum policy_egress egress;
	struct policy_entry *entries;
	size_t entry_count;
	size_t entry_text; /* bytes of them, a line each */
	struct policy_secret *secrets;
	size_t secret_count;
	size_t secret_text;
};

/** policy_new() - on, without entries and secrets. Return: NULL without memory. */
struct policy *policy_new(void);

/** policy_copy() - one that may be changed. Return: likewise. */
struct policy *policy_copy(const struct policy *policy);

/** policy_ref() - share it. Return: @policy. */
struct policy *policy_ref(struct policy *policy);

/** policy_unref() - let go of it; NULL is none. The last one overwrites the secrets. */
void policy_unref(struct policy *policy);

/** policy_egress_name() - "on", "off" or "allow". */
const char *policy_egress_name(enum policy_egress egress);

/** policy_egress_parse() - Return: 0, or -EINVAL with @err. */
int policy_egress_parse(const char *text, enum policy_egress *egress, struct error *err);

/**
 * policy_allow_line() - add what a line of net/allow says: an entry, or nothing where it is
 * empty or a comment. One that is there already is not added again.
 * @len: bytes of @line, which has no newline.
 *
 * Return: 0, -EINVAL or, above the bounds, -EFBIG, with @err; -ENOMEM.
 */
int policy_allow_line(struct policy *policy, const char *line, size_t len,
		      struct error *err);

/** policy_allow_text() - likewise, all lines of a text. @policy may have some on error. */
int policy_allow_text(struct policy *policy, const char *text, size_t len,
		      struct error *err);

/**
 * policy_secret_line() - add what a line of net/secrets says: DOMAIN HEADER: VALUE. One of
 * the same domain and header is replaced. A value may have a '#'; a comment is a line of
 * its own.
 *
 * Return: as policy_allow_line(). @err never has the value.
 */
int policy_secret_line(struct policy *policy, const char *line, size_t len,
		       struct error *err);

/** policy_secret_text() - likewise, all lines of a text. @policy may have some on error. */
int policy_secret_text(struct policy *policy, const char *text, size_t len,
		       struct error *err);

/** policy_clear_allow() - no entries. */
void policy_clear_allow(struct policy *policy);

/** policy_clear_secrets() - none, and overwritten. */
void policy_clear_secrets(struct policy *policy);

/** policy_covers() - does an entry of @policy cover each port of @entry, and where it
 * leads? */
bool policy_covers(const struct policy *policy, const struct policy_entry *entry);

/**
 * policy_within() - does @inner let through nothing that @outer does not?
 *
 * Entries open what is closed as well, so of a range that touches a closed one @outer needs
 * an entry in any mode. Secrets do not count.
 *
 * Return: 0, or -EPERM with @err, which names what is looser.
 */
int policy_within(const struct policy *inner, const struct policy *outer,
		  struct error *err);

/** policy_allows_name() - may @name, which is canonical, be asked for? */
bool policy_allows_name(const struct policy *policy, const char *name);

/** policy_has_secret() - is there a secret of @name, which is canonical? */
bool policy_has_secret(const struct policy *policy, const char *name);

/**
 * policy_json() - as the link has it:
 * {"egress": .., "allow": [ENTRY, ..], "secrets": [{"domain", "header", "value"}, ..]}.
 * @values: with the values of the secrets.
 *
 * Return: the object, which is the caller's, or NULL without memory.
 */
json_t *policy_json(const struct policy *policy, bool values);

/**
 * policy_from_json() - Return: a policy of such an object, or NULL with @err when it is
 * malformed, too large, or there is no memory. "value" may be missing.
 */
struct policy *policy_from_json(const json_t *object, struct error *err);
