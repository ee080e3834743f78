/*
 * Whom this machine trusts to say who a server is: its certificates of CAs, read once.
 *
 * libcurl would read and parse all of them again for each connection, which takes longer
 * than the connection; so it is told not to verify, and asks here before it sends a
 * request.
 */
#pragma once

#include "util/error.h"

#include <gnutls/x509.h>
#include <stdbool.h>

#define TRUST_FILE "/etc/ssl/certs/ca-certificates.crt"

/** trust_load() - read TRUST_FILE. Return: the list, or NULL with @err filled. */
gnutls_x509_trust_list_t trust_load(struct error *err);

/**
 * trust_verify() - is the other end of @session, a client's, the server of @domain, by what
 * one of @trust signed? NULL trusts nobody.
 * @err: filled if it is not.
 */
bool trust_verify(gnutls_x509_trust_list_t trust, gnutls_session_t session,
		  const char *domain, struct error *err);
