#include "pffs/core/net/ca.h"

#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define DAY	   (24 * (time_t)3600)
#define KEY_ID_MAX 64

static void cleanup_certificate_fn(gnutls_x509_crt_t *certificate)
{
	if (*certificate)
		gnutls_x509_crt_deinit(*certificate);
}

static void cleanup_key_fn(gnutls_x509_privkey_t *key)
{
	if (*key)
		gnutls_x509_privkey_deinit(*key);
}

#define cleanup_certificate __attribute__((cleanup(cleanup_certificate_fn)))
#define cleanup_key	    __attribute__((cleanup(cleanup_key_fn)))

static int describe(gnutls_x509_crt_t certificate)
{
	time_t now = time(NULL);
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
		r = gnutls_x509_crt_set_expiration_time(certificate,
							now + (time_t)CA_YEARS * 365 * DAY);
	if (r == 0)
		r = gnutls_x509_crt_set_dn(certificate,
					   "CN=pffs: proxy for secrets of this host", NULL);
	return r;
}

static int permit(gnutls_x509_crt_t certificate, gnutls_x509_privkey_t key)
{
	uint8_t id[KEY_ID_MAX];
	size_t len = sizeof(id);
	int r = gnutls_x509_crt_set_basic_constraints(certificate, 1, 0);

	if (r == 0)
		r = gnutls_x509_crt_set_key_usage(certificate, GNUTLS_KEY_KEY_CERT_SIGN);
	if (r == 0)
		r = gnutls_x509_crt_set_key(certificate, key);
	if (r == 0)
		r = gnutls_x509_crt_get_key_id(certificate, 0, id, &len);
	if (r == 0)
		r = gnutls_x509_crt_set_subject_key_id(certificate, id, len);
	return r;
}

/* Return: a string to free(), or NULL. */
static char *take_text(int r, const gnutls_datum_t *pem)
{
	char *text = NULL;

	if (r == 0)
		text = strndup((const char *)pem->data, pem->size);
	if (r == 0)
		explicit_bzero(pem->data, pem->size);
	gnutls_free(pem->data);
	return text;
}

static int print(struct ca *ca, gnutls_x509_crt_t certificate, gnutls_x509_privkey_t key)
{
	gnutls_datum_t pem = {0};
	int r = gnutls_x509_crt_export2(certificate, GNUTLS_X509_FMT_PEM, &pem);

	ca->certificate = take_text(r, &pem);
	pem = (gnutls_datum_t){0};
	r = gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, NULL,
					      GNUTLS_PKCS_PLAIN, &pem);
	ca->key = take_text(r, &pem);
	return ca->certificate && ca->key ? 0 : GNUTLS_E_MEMORY_ERROR;
}

static int make(struct ca *ca, struct error *err)
{
	cleanup_certificate gnutls_x509_crt_t certificate = NULL;
	cleanup_key gnutls_x509_privkey_t key = NULL;
	int r = gnutls_x509_crt_init(&certificate);

	if (r == 0)
		r = gnutls_x509_privkey_init(&key);
	if (r == 0)
		r = gnutls_x509_privkey_generate(
		    key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1),
		    0);
	if (r == 0)
		r = describe(certificate);
	if (r == 0)
		r = permit(certificate, key);
	if (r == 0)
		r = gnutls_x509_crt_sign2(certificate, certificate, key, GNUTLS_DIG_SHA256,
					  0);
	if (r == 0)
		r = print(ca, certificate, key);
	return r == 0 ? 0 : error_say(err, EIO, "cannot make a CA: %s", gnutls_strerror(r));
}

/* Return: whether @ca can be used, now and for a while. */
static bool is_good(const struct ca *ca)
{
	cleanup_certificate gnutls_x509_crt_t certificate = NULL;
	cleanup_key gnutls_x509_privkey_t key = NULL;
	gnutls_datum_t pem[2] = {
	    {(unsigned char *)ca->certificate, (unsigned)strlen(ca->certificate)},
	    {(unsigned char *)ca->key, (unsigned)strlen(ca->key)}};

	return gnutls_x509_crt_init(&certificate) == 0 &&
	       gnutls_x509_privkey_init(&key) == 0 &&
	       gnutls_x509_crt_import(certificate, &pem[0], GNUTLS_X509_FMT_PEM) == 0 &&
	       gnutls_x509_privkey_import(key, &pem[1], GNUTLS_X509_FMT_PEM) == 0 &&
	       gnutls_x509_crt_get_expiration_time(certificate) > time(NULL) + 30 * DAY;
}

/* Return: 0, or -ENOENT: there is none; -EBADMSG: none that can be used; or -errno. */
static int load(struct ca *ca, const char *path, struct error *err)
{
	static const char mark[] = "-----BEGIN CERTIFICATE-----";
	size_t len;
	cleanup_free char *text = io_read_file(path, CA_BYTES_MAX, &len, err);
	const char *certificate = text ? strstr(text, mark) : NULL;

	if (!text)
		return err->code;
	if (certificate) {
		ca->key = strndup(text, (size_t)(certificate - text));
		ca->certificate = strdup(certificate);
	}
	explicit_bzero(text, len);
	if (ca->key && ca->certificate && is_good(ca))
		return 0;
	ca_fini(ca);
	return error_say(err, EBADMSG, "%s is no CA that can be used", path);
}

static int write_pem(int fd, const struct ca *ca)
{
	int r = fchmod(fd, 0600) < 0 ? -errno : 0;

	if (r == 0)
		r = io_write_all(fd, ca->key, strlen(ca->key));
	if (r == 0)
		r = io_write_all(fd, ca->certificate, strlen(ca->certificate));
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	return r;
}

/* Nobody ever sees a part of it; who comes first is the one. */
static int keep(const struct ca *ca, const char *path, struct error *err)
{
	cleanup_free char *temporary = NULL;
	cleanup_close int fd = -1;
	int r;

	if (asprintf(&temporary, "%s.XXXXXX", path) < 0)
		return error_set(err, ENOMEM, "cannot keep the CA");
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return error_set(err, errno, "cannot make %s", temporary);
	r = write_pem(fd, ca);
	if (r == 0 && link(temporary, path) < 0)
		r = -errno;
	unlink(temporary);
	return r < 0 ? error_set(err, -r, "cannot keep the CA in %s", path) : 0;
}

int ca_open(struct ca *ca, const char *dir, bool only, struct error *err)
{
	cleanup_free char *path = NULL;
	int r;

	*ca = (struct ca){0};
	if (!dir)
		return make(ca, err);
	if (asprintf(&path, "%s/" CA_FILE, dir) < 0)
		return error_set(err, ENOMEM, "cannot find the CA");
	r = load(ca, path, err);
	if (r == -EBADMSG && only)
		r = unlink(path) < 0 ? -errno : -ENOENT;
	if (r != -ENOENT)
		return r;
	r = make(ca, err);
	if (r == 0)
		r = keep(ca, path, err);
	if (r != -EEXIST)
		return r;
	ca_fini(ca);
	return load(ca, path, err);
}

void ca_fini(struct ca *ca)
{
	if (ca->key)
		explicit_bzero(ca->key, strlen(ca->key));
	free(ca->key);
	free(ca->certificate);
	*ca = (struct ca){0};
}
