/*
 * Certificates of domains, signed by the host's CA.
 *
 * Each is made when it is first needed, for a domain that a policy has a secret of: a guest
 * cannot have others made. All have one key, which is this process's alone. They are
 * kept, LEAVES_MAX of them, and renewed when less than half of their life is left; a
 * connection holds the one that it uses.
 */
#pragma once

#include "util/error.h"
#include "util/list.h"
#include "wire/policy_entry.h"

#include <gnutls/abstract.h>
#include <stdint.h>
#include <time.h>

#define LEAVES_MAX 1024
#define LEAF_DAYS  30

struct leaf {
	struct link link;
	char domain[POLICY_NAME_MAX + 1];
	gnutls_pcert_st certificate;
	time_t made;
	unsigned users;
};

struct leaves {
	struct link list; /* the one used last at the end */
	unsigned count;
	gnutls_x509_crt_t ca; /* NULL: there is none yet */
	gnutls_x509_privkey_t ca_key;
	gnutls_x509_privkey_t key; /* of all leaves */
	gnutls_privkey_t private_key;
};

/** leaves_init() - before the first. Return: 0 or -EIO with @err filled. */
int leaves_init(struct leaves *leaves, struct error *err);

/**
 * leaves_ca() - sign with this CA from now on; those of another one are not used any more.
 * @certificate: and @key: PEM.
 * Return: 0, or -EINVAL with @err filled: it is as before.
 */
int leaves_ca(struct leaves *leaves, const char *certificate, const char *key,
	      struct error *err);

/** leaf_take() - the certificate of @domain, canonical, to be given to leaf_give(). Return:
 * NULL without a CA or memory. */
struct leaf *leaf_take(struct leaves *leaves, const char *domain);

/** leaf_give() - it is not used any more. NULL is none. */
void leaf_give(struct leaf *leaf);
