#include "vmctl/proxy/leaf.h"

#include "util/cleanup.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>

#define DAY	   (24 * (time_t)3600)
#define KEY_ID_MAX 64

static int failed(struct error *err, int r, const char *what)
{
	return error_say(err, EIO, "cannot %s: %s", what, gnutls_strerror(r));
}

int leaves_init(struct leaves *leaves, struct error *err)
{
	int r;

	*leaves = (struct leaves){0};
	list_init(&leaves->list);
	r = gnutls_x509_privkey_init(&leaves->key);
	if (r == 0)
		r = gnutls_x509_privkey_generate(
		    leaves->key, GNUTLS_PK_ECDSA,
		    GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
	if (r == 0)
		r = gnutls_privkey_init(&leaves->private_key);
	if (r == 0)
		r = gnutls_privkey_import_x509(leaves->private_key, leaves->key, 0);
	return r == 0 ? 0 : failed(err, r, "make a key");
}

static void drop(struct leaf *leaf)
{
	list_del(&leaf->link);
	gnutls_pcert_deinit(&leaf->certificate);
	free(leaf);
}

/* Nobody finds it any more, and it goes with its last user. */
static void retire(struct leaves *leaves, struct leaf *leaf)
{
	leaves->count--;
	list_del(&leaf->link);
	if (!leaf->users)
		drop(leaf);
}

static void retire_all(struct leaves *leaves)
{
	while (!list_empty(&leaves->list))
		retire(leaves, container_of(leaves->list.next, struct leaf, link));
}

static int import(const char *text, gnutls_x509_crt_t certificate,
		  gnutls_x509_privkey_t key)
{
	gnutls_datum_t pem = {(unsigned char *)text, (unsigned)strlen(text)};

	return certificate ? gnutls_x509_crt_import(certificate, &pem, GNUTLS_X509_FMT_PEM)
			   : gnutls_x509_privkey_import(key, &pem, GNUTLS_X509_FMT_PEM);
}

int leaves_ca(struct leaves *leaves, const char *certificate, const char *key,
	      struct error *err)
{
	gnutls_x509_crt_t ca = NULL;
	gnutls_x509_privkey_t ca_key = NULL;
	int r = gnutls_x509_crt_init(&ca);

	if (r == 0)
		r = gnutls_x509_privkey_init(&ca_key);
	if (r == 0)
		r = import(certificate, ca, NULL);
	if (r == 0)
		r = import(key, NULL, ca_key);
	if (r == 0) {
		gnutls_x509_crt_t former = leaves->ca;
		gnutls_x509_privkey_t former_key = leaves->ca_key;

		retire_all(leaves);
		leaves->ca = ca;
		leaves->ca_key = ca_key;
		ca = former;
		ca_key = former_key;
	}
	if (ca)
		gnutls_x509_crt_deinit(ca);
	if (ca_key)
		gnutls_x509_privkey_deinit(ca_key);
	return r == 0 ? 0 : error_say(err, EINVAL, "the CA: %s", gnutls_strerror(r));
}

static int describe(gnutls_x509_crt_t certificate, const char *domain, time_t now)
{
	uint8_t serial[16];
	int r = gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof(serial));

	serial[0] &= 0x7f; /* RFC 5280, 4.1.2.2: positive */
	if (r == 0)
		r = gnutls_x509_crt_set_version(certificate, 3);
	if (r == 0)
		r = gnutls_x509_crt_set_serial(certificate, serial, sizeof(serial));
	if (r == 0)
		r = gnutls_x509_crt_set_activation_time(certificate, now - DAY);
	if (r == 0)
		r = gnutls_x509_crt_set_expiration_time(certificate, now + LEAF_DAYS * DAY);
	if (r == 0)
		r = gnutls_x509_crt_set_dn(certificate, "CN=pffs proxy for secrets", NULL);
	if (r == 0)
		r = gnutls_x509_crt_set_subject_alt_name(certificate, GNUTLS_SAN_DNSNAME,
							 domain, (unsigned)strlen(domain),
							 GNUTLS_FSAN_SET);
	return r;
}

static int limit_use(gnutls_x509_crt_t certificate, gnutls_x509_crt_t ca)
{
	uint8_t id[KEY_ID_MAX];
	size_t len = sizeof(id);
	int r = gnutls_x509_crt_set_basic_constraints(certificate, 0, -1);

	if (r == 0)
		r = gnutls_x509_crt_set_key_usage(certificate,
						  GNUTLS_KEY_DIGITAL_SIGNATURE);
	if (r == 0)
		r = gnutls_x509_crt_set_key_purpose_oid(certificate,
							GNUTLS_KP_TLS_WWW_SERVER, 0);
	if (r == 0 && gnutls_x509_crt_get_subject_key_id(ca, id, &len, NULL) == 0)
		r = gnutls_x509_crt_set_authority_key_id(certificate, id, len);
	return r;
}

static int sign(const struct leaves *leaves, struct leaf *leaf)
{
	gnutls_x509_crt_t certificate;
	int r = gnutls_x509_crt_init(&certificate);

	if (r < 0)
		return r;
	r = describe(certificate, leaf->domain, leaf->made);
	if (r == 0)
		r = limit_use(certificate, leaves->ca);
	if (r == 0)
		r = gnutls_x509_crt_set_key(certificate, leaves->key);
	if (r == 0)
		r = gnutls_x509_crt_sign2(certificate, leaves->ca, leaves->ca_key,
					  GNUTLS_DIG_SHA256, 0);
	if (r == 0)
		r = gnutls_pcert_import_x509(&leaf->certificate, certificate, 0);
	gnutls_x509_crt_deinit(certificate);
	return r;
}

static struct leaf *make(struct leaves *leaves, const char *domain)
{
	struct leaf *leaf = calloc(1, sizeof(*leaf));

	if (!leaf)
		return NULL;
	strcpy(leaf->domain, domain);
	leaf->made = time(NULL);
	list_init(&leaf->link);
	if (sign(leaves, leaf) < 0) {
		free(leaf);
		return NULL;
	}
	if (leaves->count == LEAVES_MAX)
		retire(leaves, container_of(leaves->list.next, struct leaf, link));
	leaves->count++;
	return leaf;
}

static struct leaf *find(struct leaves *leaves, const char *domain)
{
	time_t now = time(NULL);
	struct leaf *leaf;

	list_for_each (leaf, &leaves->list, struct leaf, link) {
		if (strcmp(leaf->domain, domain) != 0)
			continue;
		if (now >= leaf->made && now - leaf->made < LEAF_DAYS / 2 * DAY)
			return leaf;
		retire(leaves, leaf);
	}
	return NULL;
}

struct leaf *leaf_take(struct leaves *leaves, const char *domain)
{
	struct leaf *leaf;

	if (!leaves->ca)
		return NULL;
	leaf = find(leaves, domain);
	if (!leaf)
		leaf = make(leaves, domain);
	if (!leaf)
		return NULL;
	list_del(&leaf->link);
	list_add_before(&leaves->list, &leaf->link);
	leaf->users++;
	return leaf;
}

void leaf_give(struct leaf *leaf)
{
	/* One that is on no list is found by nobody. */
	if (leaf && !--leaf->users && list_empty(&leaf->link))
		drop(leaf);
}
