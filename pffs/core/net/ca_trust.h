/*
 * The host's CA in the trust store of a guest.
 *
 * Theory of operation: its certificate is appended to the file that the programs of Debian
 * look into, unless it is there already. Forks have it with their parent's disk; but one
 * that is made meanwhile is given it, too, and so is a sandbox that gets another machine
 * by a merge, which may be older than its first secret. Whatever a guest has made of that
 * file, it is its own programs that do not trust then.
 */
#pragma once

#include "pffs/core/sandbox.h"

#define CA_TRUST_FILE "etc/ssl/certs/ca-certificates.crt"
#define CA_TRUST_MAX  (4u << 20) /* bytes of that file */

struct ca_trust;

/** ca_trust_fn - it is there, or @err says why not. */
typedef void ca_trust_fn(void *ctx, const struct error *err);

/**
 * ca_trust_begin() - have the programs of @sb trust a CA.
 * @certificate: PEM.
 * @done: called once, later.
 * Return: what ca_trust_cancel() takes until then, or NULL without memory.
 */
struct ca_trust *ca_trust_begin(struct sandbox *sb, const char *certificate,
				ca_trust_fn *done, void *ctx);

/** ca_trust_cancel() - nobody wants to know any more: @done is not called, and it may be
 * there or not. */
void ca_trust_cancel(struct ca_trust *trust);
