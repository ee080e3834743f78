/*
 * The host's CA, by which guests know the proxy for secrets.
 *
 * Theory of operation: it is made once, and kept in a file of the state directory that its
 * owner alone can read, key and certificate one after the other as PEM. vmctl is told both,
 * and signs certificates of domains with it; guests get the certificate. So frozen
 * sandboxes, and those of another mount of this host, know it as well. Without a state
 * directory it lasts as long as this process.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>

#define CA_FILE	     "ca.pem"
#define CA_YEARS     10
#define CA_BYTES_MAX (16u << 10)

struct ca {
	char *certificate, *key; /* PEM; NULL: there is none */
};

/**
 * ca_open() - have the CA that is in @dir, or make one there.
 * @dir: a directory; or NULL: make one that is not kept.
 * @only: nobody else uses @dir: what cannot be used there is made anew.
 * @ca: to be given to ca_fini(), also after an error.
 * Return: 0 or -errno with @err filled.
 */
int ca_open(struct ca *ca, const char *dir, bool only, struct error *err);

/** ca_fini() - forget it; the key is overwritten. */
void ca_fini(struct ca *ca);
