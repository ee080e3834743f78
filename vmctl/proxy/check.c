/* Whether the head of a request is one that is passed on, and what of it is. */
#include "vmctl/proxy/exchange.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MALFORMED "pffs: the request is malformed\n"

static enum MHD_Result add(void *cls, enum MHD_ValueKind kind, const char *name,
			   const char *value)
{
	struct exchange *exchange = cls;
	int r = fields_add(&exchange->fields, name, strlen(name), value ? value : "",
			   value ? strlen(value) : 0);

	(void)kind;
	if (r == 0)
		return MHD_YES;
	if (r == -EINVAL)
		exchange_say(exchange, MHD_HTTP_BAD_REQUEST, MALFORMED);
	else
		exchange_say(exchange, MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE,
			     "pffs: a request has at most %u header fields, of %u KiB in "
			     "all\n",
			     FIELDS_MAX, FIELDS_BYTES_MAX >> 10);
	return MHD_NO;
}

/* The Host has to be who the certificate was for, maybe with the port. */
static bool is_host(const char *host, const char *domain)
{
	size_t len = strlen(domain);

	return host && strncasecmp(host, domain, len) == 0 &&
	       (!host[len] || strcmp(host + len, ":443") == 0);
}

/* A path, without what could end it early. */
static bool is_target(const char *target)
{
	for (const char *at = target; *at; at++)
		if (*at <= ' ' || *at == 0x7f)
			return false;
	return *target == '/' || strcmp(target, "*") == 0;
}

/* TRACE would have the domain repeat the secret. */
static bool is_method(const char *method)
{
	return strcasecmp(method, "TRACE") != 0 && strcasecmp(method, "CONNECT") != 0 &&
	       strspn(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-_") == strlen(method);
}

/* Whoever is asked must not see another end of the request than is seen here. */
static bool has_one_length(const struct exchange *exchange)
{
	return fields_count(&exchange->fields, "Content-Length") +
		   fields_count(&exchange->fields, "Transfer-Encoding") <=
	       1;
}

static bool check(struct exchange *exchange)
{
	const struct fields *fields = &exchange->fields;
	const char *domain = exchange->visit->leaf->domain,
		   *length = fields_value(fields, "Content-Length");

	if (fields_count(fields, "Host") != 1 ||
	    !is_host(fields_value(fields, "Host"), domain))
		exchange_say(exchange, MHD_HTTP_MISDIRECTED_REQUEST,
			     "pffs: this connection is for %s alone\n", domain);
	else if (!is_method(exchange->method))
		exchange_say(exchange, MHD_HTTP_METHOD_NOT_ALLOWED,
			     "pffs: this method is not passed on\n");
	else if (!is_target(exchange->target) || !has_one_length(exchange))
		exchange_say(exchange, MHD_HTTP_BAD_REQUEST, MALFORMED);
	else if (length && strtoull(length, NULL, 10) > PROXY_BODY_MAX)
		exchange_say(exchange, MHD_HTTP_CONTENT_TOO_LARGE,
			     "pffs: a request to a domain with a secret has at most "
			     "%u MiB\n",
			     PROXY_BODY_MAX >> 20);
	return !exchange->status;
}

static bool put_secret(struct exchange *exchange, const struct policy_secret *secret)
{
	fields_drop(&exchange->fields, secret->header);
	if (fields_add(&exchange->fields, secret->header, strlen(secret->header),
		       secret->value, strlen(secret->value)) == 0)
		return true;
	exchange_say(exchange, MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE,
		     "pffs: the request has no room for its secrets\n");
	return false;
}

static bool put_secrets(struct exchange *exchange)
{
	const struct policy *policy = exchange->visit->slot->slot.policy;
	const char *domain = exchange->visit->leaf->domain;

	for (size_t i = 0; i < policy->secret_count; i++)
		if (strcmp(policy->secrets[i].domain, domain) == 0 &&
		    !put_secret(exchange, &policy->secrets[i]))
			return false;
	return true;
}

bool exchange_check(struct exchange *exchange)
{
	MHD_get_connection_values(exchange->visit->connection, MHD_HEADER_KIND, add,
				  exchange);
	if (exchange->status || !check(exchange))
		return false;
	if (!proxy_may(&exchange->visit->slot->slot, exchange->visit->leaf->domain)) {
		exchange->broken = true;
		return false;
	}
	exchange->has_body = fields_value(&exchange->fields, "Content-Length") ||
			     fields_value(&exchange->fields, "Transfer-Encoding");
	fields_drop_own(&exchange->fields);
	return put_secrets(exchange);
}
