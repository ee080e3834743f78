/*
 * In place of libcurl: what is asked of a domain, and a server that says what a script has
 * it say. It calls back as libcurl does: a line of the head at a time, pieces of the body,
 * again what was not taken when that is to go on.
 *
 * What is asked is looked at, as the domain would see it: it has the secret once, and
 * nothing that means another thing to somebody else.
 */
#pragma once

#include "tests/fuzz/script.h"
#include "vmctl/proxy/exchange.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TRANSFERS 32

struct transfer {
	bool used, asked, has_head, ended;
	struct fetch *fetch;
	const char *url, *target, *method; /* until it is asked */
	const struct curl_slist *fields, *resolve;
	curl_off_t body_len, length; /* of the request; of the answer, -1: not said */
	size_t (*read)(char *to, size_t size, size_t count, void *ctx);
	size_t (*field)(char *data, size_t size, size_t count, void *ctx);
	size_t (*write)(char *data, size_t size, size_t count, void *ctx);
	struct buf held; /* a piece that was not taken */
};

static struct transfer transfers[TRANSFERS];

CURL *__wrap_curl_easy_init(void);
void __wrap_curl_easy_cleanup(CURL *easy);
CURLcode __wrap_curl_easy_setopt(CURL *easy, CURLoption option, ...);
CURLcode __wrap_curl_easy_getinfo(CURL *easy, CURLINFO info, ...);
CURLcode __wrap_curl_easy_pause(CURL *easy, int what);
CURLMcode __wrap_curl_multi_add_handle(CURLM *multi, CURL *easy);
CURLMcode __wrap_curl_multi_remove_handle(CURLM *multi, CURL *easy);

CURL *__wrap_curl_easy_init(void)
{
	for (unsigned i = 0; i < TRANSFERS; i++)
		if (!transfers[i].used) {
			transfers[i] = (struct transfer){.used = true, .length = -1};
			return &transfers[i];
		}
	return NULL;
}

void __wrap_curl_easy_cleanup(CURL *easy)
{
	struct transfer *transfer = easy;

	must(!transfer->asked); /* it was taken out before */
	buf_fini(&transfer->held);
	transfer->used = false;
}

/* Options by which code is called, and what is looked at; as curl.h numbers their types. */
CURLcode __wrap_curl_easy_setopt(CURL *easy, CURLoption option, ...)
{
	struct transfer *t = easy;
	va_list list;

	va_start(list, option);
	if (option == CURLOPT_POSTFIELDSIZE_LARGE)
		t->body_len = va_arg(list, curl_off_t);
	else if (option == CURLOPT_READFUNCTION)
		t->read = va_arg(list, void *);
	else if (option == CURLOPT_HEADERFUNCTION)
		t->field = va_arg(list, void *);
	else if (option == CURLOPT_WRITEFUNCTION)
		t->write = va_arg(list, void *);
	else if (option == CURLOPT_PRIVATE)
		t->fetch = va_arg(list, void *);
	else if (option == CURLOPT_URL)
		t->url = va_arg(list, char *);
	else if (option == CURLOPT_REQUEST_TARGET)
		t->target = va_arg(list, char *);
	else if (option == CURLOPT_CUSTOMREQUEST)
		t->method = va_arg(list, char *);
	else if (option == CURLOPT_HTTPHEADER)
		t->fields = va_arg(list, struct curl_slist *);
	else if (option == CURLOPT_RESOLVE)
		t->resolve = va_arg(list, struct curl_slist *);
	va_end(list);
	return CURLE_OK;
}

CURLcode __wrap_curl_easy_getinfo(CURL *easy, CURLINFO info, ...)
{
	const struct transfer *t = easy;
	va_list list;

	va_start(list, info);
	must(info == CURLINFO_CONTENT_LENGTH_DOWNLOAD_T);
	*va_arg(list, curl_off_t *) = t->length;
	va_end(list);
	return CURLE_OK;
}

/* Is @line a field called @name? Spaces at the end of a name are no part of it to some. */
static inline bool transfer_is_field(const char *line, const char *name)
{
	size_t len = strlen(name), at = len;

	if (strncasecmp(line, name, len) != 0)
		return false;
	while (line[at] == ' ' || line[at] == '\t')
		at++;
	return line[at] == ':' || line[at] == ';';
}

static inline void transfer_check_fields(const struct transfer *t,
					 const struct policy_secret *secret)
{
	static const char *const never[] = {"Connection", "Transfer-Encoding", "TE",
					    "Upgrade",	  "Content-Length",    "Host",
					    "Trailer",	  "Keep-Alive"};
	unsigned count = 0;

	for (const struct curl_slist *at = t->fields; at; at = at->next) {
		must(!strpbrk(at->data, "\r\n"));
		for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
			must(!transfer_is_field(at->data, never[i]));
		if (!transfer_is_field(at->data, secret->header))
			continue;
		count++;
		must(strcmp(at->data + strlen(at->data) - strlen(secret->value),
			    secret->value) == 0);
	}
	must(count == 1);
}

/* [DOMAIN:443:]ADDRESS,ADDRESS... */
static inline void transfer_check_addresses(const struct policy *policy, const char *list)
{
	const char *end;

	for (; *list; list = *end ? end + 1 : end) {
		struct policy_entry entry = {.kind = POLICY_RANGE,
					     .ports = {{PROXY_PORT, PROXY_PORT}},
					     .port_count = 1};
		char text[64];

		end = list + strcspn(list, ",");
		snprintf(text, sizeof(text), "%.*s", (int)strcspn(list, "],"),
			 list + (*list == '['));
		text[strcspn(text, "]")] = '\0';
		must(policy_range_parse(text, &entry.range, NULL) == 0);
		must(!policy_range_for_good(&entry.range));
		must(!policy_range_touches_closed(&entry.range) ||
		     policy_covers(policy, &entry));
	}
}

static inline void transfer_check_body(const struct transfer *t)
{
	static char piece[16384];
	curl_off_t len = 0;
	size_t n;

	while (t->read && (n = t->read(piece, 1, sizeof(piece), t->fetch)) > 0) {
		must(n <= sizeof(piece));
		len += (curl_off_t)n;
	}
	must(len == t->body_len);
}

CURLMcode __wrap_curl_multi_add_handle(CURLM *multi, CURL *easy)
{
	struct transfer *t = easy;
	const struct exchange *exchange = t->fetch->exchange;
	const struct policy *policy = exchange->visit->slot->slot.policy;
	const char *domain = exchange->visit->leaf->domain, *at;
	char prefix[512];

	(void)multi;
	snprintf(prefix, sizeof(prefix), "https://%s/", domain);
	must(strcmp(t->url, prefix) == 0 && policy_has_secret(policy, domain));
	for (size_t i = 0; i < policy->secret_count; i++)
		if (strcmp(policy->secrets[i].domain, domain) == 0)
			transfer_check_fields(t, &policy->secrets[i]);
	for (at = t->target; *at > ' ' || *at < 0; at++)
		must(*at != 0x7f);
	must(!*at && (*t->target == '/' || strcmp(t->target, "*") == 0));
	must(*t->method && strcmp(t->method, "TRACE") != 0 &&
	     strcmp(t->method, "CONNECT") != 0);
	for (at = t->method; *at; at++)
		must(isupper(*at) || *at == '-' || *at == '_');
	snprintf(prefix, sizeof(prefix), "%s:443:", domain);
	must(strncmp(t->resolve->data, prefix, strlen(prefix)) == 0);
	transfer_check_addresses(policy, t->resolve->data + strlen(prefix));
	transfer_check_body(t);
	t->url = t->target = t->method = NULL;
	t->asked = true;
	return CURLM_OK;
}

CURLMcode __wrap_curl_multi_remove_handle(CURLM *multi, CURL *easy)
{
	struct transfer *t = easy;

	(void)multi;
	t->asked = false;
	return CURLM_OK;
}

static inline bool transfer_goes_on(const struct transfer *t)
{
	return t->used && t->asked && !t->ended;
}

/** transfer_end() - libcurl is done with it. */
static inline void transfer_end(struct transfer *t, CURLcode code)
{
	t->ended = true;
	fetch_ended(t->fetch, code == CURLE_OK && !t->has_head ? CURLE_GOT_NOTHING : code);
}

/** transfer_line() - a line of the answer's head; an empty one ends it. libcurl takes none
 * with a NUL. */
static inline void transfer_line(struct transfer *t, const char *text)
{
	char *line;
	int len = asprintf(&line, "%s\r\n", text);

	must(len >= 0);
	if (t->field(line, 1, (size_t)len, t->fetch) != (size_t)len)
		transfer_end(t, CURLE_WRITE_ERROR);
	t->has_head = !*text && t->fetch->has_begun;
	free(line);
}

/** transfer_piece() - some of the answer's body. */
static inline void transfer_piece(struct transfer *t, const char *data, size_t len)
{
	size_t n;

	if (!transfer_goes_on(t) || !t->has_head || t->held.len || !len)
		return;
	n = t->write((char *)data, 1, len, t->fetch);
	if (n == CURL_WRITEFUNC_PAUSE)
		buf_append(&t->held, data, len);
	else if (n != len)
		transfer_end(t, CURLE_WRITE_ERROR);
}

CURLcode __wrap_curl_easy_pause(CURL *easy, int what)
{
	struct transfer *t = easy;
	struct buf held = t->held;

	must(what == CURLPAUSE_CONT);
	t->held = (struct buf){0};
	transfer_piece(t, (const char *)buf_peek(&held), held.len);
	buf_fini(&held);
	return CURLE_OK;
}
