#include "vmctl/proxy/fetch.h"

#include "util/cleanup.h"
#include "vmctl/proxy/exchange.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_S 20L

int fetch_add_address(struct fetch *fetch, const char *address)
{
	const char *before = fetch->addresses ? fetch->addresses : "";
	bool six = strchr(address, ':');
	char *more;

	if (asprintf(&more, "%s%s%s%s%s", before, *before ? "," : "", six ? "[" : "",
		     address, six ? "]" : "") < 0)
		return -ENOMEM;
	free(fetch->addresses);
	fetch->addresses = more;
	return 0;
}

/* Return: whether there was memory for one more, made by asprintf(). */
static bool append(struct curl_slist **list, int made, char *text)
{
	struct curl_slist *longer = made >= 0 ? curl_slist_append(*list, text) : NULL;

	if (longer)
		*list = longer;
	if (made >= 0) {
		explicit_bzero(text, strlen(text));
		free(text);
	}
	return longer;
}

/* What libcurl would add of its own it does not when it is named without a value. */
static bool make_fields(struct fetch *fetch)
{
	static const char *const ours[] = {"Accept", "Content-Type", "User-Agent",
					   "Expect"};
	const struct fields *fields = &fetch->exchange->fields;
	bool ok = true;
	char *text;
	int made;

	for (size_t i = 0; i < fields->count && ok; i++) {
		const struct field *field = &fields->list[i];

		made = asprintf(&text, *field->value ? "%s: %s" : "%s;%s", field->name,
				field->value);
		ok = append(&fetch->fields, made, text);
	}
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]) && ok; i++) {
		if (fields_value(fields, ours[i]))
			continue;
		made = asprintf(&text, "%s:", ours[i]);
		ok = append(&fetch->fields, made, text);
	}
	return ok;
}

static size_t give_body(char *to, size_t size, size_t count, void *ctx)
{
	const struct fetch *fetch = ctx;
	ssize_t n = spool_take(&fetch->exchange->body, to, size * count);

	return n < 0 ? CURL_READFUNC_ABORT : (size_t)n;
}

/* HTTP/1.1 200 OK: a head begins. Those before the last are of interim answers. */
static void begin_head(struct fetch *fetch, const char *line)
{
	fields_fini(&fetch->answer_fields);
	fetch->status = (unsigned)strtoul(line + strcspn(line, " "), NULL, 10);
}

static size_t hear_field(char *data, size_t size, size_t count, void *ctx)
{
	struct fetch *fetch = ctx;
	size_t len = size * count, line = len, name;
	const char *colon = memchr(data, ':', len), *value;
	int r;

	while (line && strchr("\r\n", data[line - 1]))
		line--;
	if (fetch->has_begun)
		return len; /* a trailer */
	if (line > 5 && memcmp(data, "HTTP/", 5) == 0) {
		char text[64] = {0};

		memcpy(text, data, line < sizeof(text) ? line : sizeof(text) - 1);
		begin_head(fetch, text);
	} else if (!line && fetch->status >= 200) {
		fetch->has_begun = true;
		exchange_wake(fetch->exchange);
	} else if (colon && colon < data + line) {
		name = (size_t)(colon - data);
		value = colon + 1;
		while (value < data + line && strchr(" \t", *value))
			value++;
		r = fields_add(&fetch->answer_fields, data, name, value,
			       (size_t)(data + line - value));
		if (r < 0 && r != -EINVAL) { /* a malformed one is left out */
			error_say(&fetch->why, E2BIG,
				  "the header fields of its answer are too large");
			return 0;
		}
	}
	return len;
}

static size_t hear_body(char *data, size_t size, size_t count, void *ctx)
{
	struct fetch *fetch = ctx;
	size_t len = size * count;

	if (fetch->answer.len >= PROXY_ANSWER_ROOM) {
		fetch->paused = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	if (buf_append(&fetch->answer, data, len) < 0)
		return 0;
	exchange_wake(fetch->exchange);
	return len;
}

/* The connection is there, and nothing was sent on it. */
static int verify(void *ctx, char *to, char *from, int to_port, int from_port)
{
	struct fetch *fetch = ctx;
	const struct curl_tlssessioninfo *tls = NULL;

	(void)to;
	(void)from;
	(void)to_port;
	(void)from_port;
	curl_easy_getinfo(fetch->easy, CURLINFO_TLS_SSL_PTR, &tls);
	if (tls && tls->backend == CURLSSLBACKEND_GNUTLS && tls->internals &&
	    trust_verify(fetch->exchange->proxy->trust, tls->internals,
			 fetch->exchange->visit->leaf->domain, &fetch->why))
		return CURL_PREREQFUNC_OK;
	return CURL_PREREQFUNC_ABORT;
}

static void set_method(struct fetch *fetch)
{
	const struct exchange *exchange = fetch->exchange;
	CURL *easy = fetch->easy;

	if (exchange->has_body) {
		curl_easy_setopt(easy, CURLOPT_POST, 1L);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
				 (curl_off_t)exchange->body.len);
		curl_easy_setopt(easy, CURLOPT_READFUNCTION, give_body);
		curl_easy_setopt(easy, CURLOPT_READDATA, fetch);
	} else if (strcmp(exchange->method, "HEAD") == 0) {
		curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
	}
	curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, exchange->method);
}

static void set_way(struct fetch *fetch)
{
	CURL *easy = fetch->easy;

	curl_easy_setopt(easy, CURLOPT_SHARE, fetch->share);
	curl_easy_setopt(easy, CURLOPT_RESOLVE, fetch->resolve);
	curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
	curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_SESSIONID_CACHE, 0L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L); /* verify() does */
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
	curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, verify);
	curl_easy_setopt(easy, CURLOPT_PREREQDATA, fetch);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, CONNECT_S);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
}

static void set_answer(struct fetch *fetch)
{
	CURL *easy = fetch->easy;

	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, fetch->fields);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, hear_field);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, fetch);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, hear_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, fetch);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, fetch);
}

static bool make(struct fetch *fetch)
{
	const char *domain = fetch->exchange->visit->leaf->domain;
	char *resolve;
	int made = asprintf(&resolve, "%s:%d:%s", domain, PROXY_PORT, fetch->addresses);

	fetch->easy = curl_easy_init();
	fetch->share = curl_share_init();
	return append(&fetch->resolve, made, resolve) && fetch->easy && fetch->share &&
	       make_fields(fetch) &&
	       curl_share_setopt(fetch->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS) ==
		   CURLSHE_OK;
}

int fetch_begin(struct fetch *fetch, struct exchange *exchange)
{
	cleanup_free char *url = NULL;

	fetch->exchange = exchange;
	if (!make(fetch) ||
	    asprintf(&url, "https://%s/", exchange->visit->leaf->domain) < 0)
		return -ENOMEM;
	set_method(fetch);
	set_way(fetch);
	set_answer(fetch);
	if (curl_easy_setopt(fetch->easy, CURLOPT_URL, url) != CURLE_OK ||
	    curl_easy_setopt(fetch->easy, CURLOPT_REQUEST_TARGET, exchange->target) !=
		CURLE_OK ||
	    curl_multi_add_handle(exchange->proxy->multi, fetch->easy) != CURLM_OK)
		return -ENOMEM;
	return 0;
}

static void go_on(struct fetch *fetch)
{
	if (!fetch->paused || fetch->answer.len > PROXY_ANSWER_ROOM / 2)
		return;
	fetch->paused = false;
	curl_easy_pause(fetch->easy, CURLPAUSE_CONT);
}

static ssize_t give_answer(void *ctx, uint64_t pos, char *to, size_t max)
{
	struct fetch *fetch = ctx;
	size_t len = fetch->answer.len < max ? fetch->answer.len : max;

	(void)pos;
	if (fetch->exchange->broken)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (len) {
		memcpy(to, buf_peek(&fetch->answer), len);
		buf_consume(&fetch->answer, len);
		go_on(fetch);
		return (ssize_t)len;
	}
	if (fetch->has_ended)
		return fetch->failed ? MHD_CONTENT_READER_END_WITH_ERROR
				     : MHD_CONTENT_READER_END_OF_STREAM;
	exchange_suspend(fetch->exchange);
	return 0;
}

enum MHD_Result fetch_answer(struct fetch *fetch)
{
	curl_off_t length = -1;
	struct MHD_Response *response;
	enum MHD_Result result;

	curl_easy_getinfo(fetch->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	response = MHD_create_response_from_callback(length < 0 ? MHD_SIZE_UNKNOWN
								: (uint64_t)length,
						     32u << 10, give_answer, fetch, NULL);
	if (!response)
		return MHD_NO;
	fields_drop_own(&fetch->answer_fields);
	for (size_t i = 0; i < fetch->answer_fields.count; i++)
		MHD_add_response_header(response, fetch->answer_fields.list[i].name,
					fetch->answer_fields.list[i].value);
	result =
	    MHD_queue_response(fetch->exchange->visit->connection, fetch->status, response);
	MHD_destroy_response(response);
	return result;
}

void fetch_ended(struct fetch *fetch, CURLcode code)
{
	fetch->has_ended = true;
	fetch->failed = code != CURLE_OK;
	if (fetch->has_begun)
		exchange_wake(fetch->exchange);
	else
		exchange_say(fetch->exchange, MHD_HTTP_BAD_GATEWAY,
			     "pffs: %.100s: %.120s\n", fetch->exchange->visit->leaf->domain,
			     fetch->why.code ? fetch->why.text : curl_easy_strerror(code));
}

void fetch_end(struct fetch *fetch)
{
	if (fetch->easy) {
		curl_multi_remove_handle(fetch->exchange->proxy->multi, fetch->easy);
		curl_easy_cleanup(fetch->easy);
	}
	for (struct curl_slist *at = fetch->fields; at; at = at->next)
		explicit_bzero(at->data, strlen(at->data));
	curl_slist_free_all(fetch->fields);
	curl_slist_free_all(fetch->resolve);
	if (fetch->share)
		curl_share_cleanup(fetch->share);
	fields_fini(&fetch->answer_fields);
	buf_fini(&fetch->answer);
	free(fetch->addresses);
	*fetch = (struct fetch){0};
}
