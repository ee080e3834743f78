#include "vmctl/proxy/trust.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define CHAIN_MAX 16

gnutls_x509_trust_list_t trust_load(struct error *err)
{
	gnutls_x509_trust_list_t trust;
	int r = gnutls_x509_trust_list_init(&trust, 0);

	if (r == 0)
		r = gnutls_x509_trust_list_add_trust_file(trust, TRUST_FILE, NULL,
							  GNUTLS_X509_FMT_PEM, 0, 0);
	if (r > 0)
		return trust;
	error_say(err, ENOENT, "there are no certificates in " TRUST_FILE ": %s",
		  r < 0 ? gnutls_strerror(r) : "it is empty");
	return NULL;
}

/* Return: how many certificates of the chain are in @chain. */
static unsigned import_chain(gnutls_session_t session, gnutls_x509_crt_t chain[CHAIN_MAX])
{
	unsigned count = 0, imported = 0;
	const gnutls_datum_t *raw = gnutls_certificate_get_peers(session, &count);

	while (raw && imported < count && imported < CHAIN_MAX) {
		if (gnutls_x509_crt_init(&chain[imported]) < 0)
			break;
		if (gnutls_x509_crt_import(chain[imported], &raw[imported],
					   GNUTLS_X509_FMT_DER) < 0) {
			gnutls_x509_crt_deinit(chain[imported]);
			break;
		}
		imported++;
	}
	return imported;
}

static bool say_why(unsigned status, struct error *err)
{
	gnutls_datum_t text = {0};

	gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0);
	error_say(err, EACCES, "its certificate is not to be trusted: %s",
		  text.data ? (const char *)text.data : "it could not be checked");
	gnutls_free(text.data);
	return false;
}

bool trust_verify(gnutls_x509_trust_list_t trust, gnutls_session_t session,
		  const char *domain, struct error *err)
{
	gnutls_typed_vdata_st data[] = {
	    {GNUTLS_DT_DNS_HOSTNAME, (unsigned char *)domain, 0},
	    {GNUTLS_DT_KEY_PURPOSE_OID, (unsigned char *)GNUTLS_KP_TLS_WWW_SERVER, 0}};
	gnutls_x509_crt_t chain[CHAIN_MAX];
	unsigned count = trust ? import_chain(session, chain) : 0, status = UINT_MAX;
	int r = -1;

	if (count)
		r = gnutls_x509_trust_list_verify_crt2(trust, chain, count, data, 2, 0,
						       &status, NULL);
	for (unsigned i = 0; i < count; i++)
		gnutls_x509_crt_deinit(chain[i]);
	if (r == 0 && status == 0)
		return true;
	return say_why(r == 0 ? status : GNUTLS_CERT_INVALID, err);
}
