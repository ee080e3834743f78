/*
 * What the proxy asks of a domain: one request by libcurl, and its answer on the way to the
 * guest.
 *
 * Each has a connection of its own, to one of the addresses that it was given, and shares
 * no look-up and no session with another: what one slot's policy opens is not another's.
 * Before a byte of the request is sent the certificate has to be the domain's, and signed
 * by whom this machine trusts (trust.h). No redirect is followed, no proxy of the
 * environment used. At most PROXY_ANSWER_ROOM bytes wait for the guest; then nothing more
 * is read.
 */
#pragma once

#include "util/buf.h"
#include "util/error.h"
#include "vmctl/proxy/fields.h"

#include <curl/curl.h>
#include <microhttpd.h>
#include <stdbool.h>

struct exchange;

struct fetch {
	struct exchange *exchange;
	char *addresses; /* as CURLOPT_RESOLVE has them */
	CURL *easy;
	CURLSH *share;
	struct curl_slist *fields, *resolve;
	struct error why; /* it failed, if it was by us */
	unsigned status;
	struct fields answer_fields;
	bool has_begun; /* the answer's head is here */
	bool paused, has_ended, failed;
	struct buf answer;
};

/** fetch_add_address() - one that may be used. Return: 0 or -ENOMEM. */
int fetch_add_address(struct fetch *fetch, const char *address);

/** fetch_begin() - ask. When the head of the answer is there, or there is none, @exchange
 * is woken. Return: 0 or -ENOMEM. */
int fetch_begin(struct fetch *fetch, struct exchange *exchange);

/** fetch_answer() - has_begun: begin to send the guest its answer. */
enum MHD_Result fetch_answer(struct fetch *fetch);

/** fetch_ended() - libcurl is done with it. */
void fetch_ended(struct fetch *fetch, CURLcode code);

/** fetch_end() - forget it, at any time. Not from what libcurl calls. */
void fetch_end(struct fetch *fetch);
