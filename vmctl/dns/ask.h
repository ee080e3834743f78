/*
 * A question to the resolvers.
 *
 * Theory of operation: one resolver is asked, and, when it does not answer in time, cannot
 * be reached or says that it failed, one more: the next one, if there is another. Each time
 * by a socket of its own, which is connected, with a port that the kernel chose, and with a
 * fresh id: nobody else can answer without having seen the question. By UDP what comes and
 * is not the answer is ignored, as forged. The second resolver's answer is the answer,
 * whatever it says. While no resolver is known yet, an attempt is just waiting for one.
 */
#pragma once

#include "util/buf.h"
#include "util/loop.h"
#include "vmctl/dns/message.h"
#include "vmctl/dns/upstream.h"

#define ASK_FIRST_MS  1500
#define ASK_SECOND_MS 3000

struct ask;

/**
 * ask_fn - there is an answer: @len bytes that are @answer, valid until it returns. Or
 * @answer is NULL: there is none. The ask is gone.
 */
typedef void ask_fn(void *ctx, const ldns_pkt *answer, const uint8_t *bytes, size_t len);

/**
 * ask_begin() - ask.
 * @question: valid until the end.
 * @tcp: by TCP; else by UDP, and the answer may be truncated.
 * @done: called once, later.
 * Return: what ask_cancel() takes until then, or NULL without memory.
 */
struct ask *ask_begin(struct loop *loop, const struct upstreams *upstreams,
		      const struct dns_question *question, bool tcp, ask_fn *done,
		      void *ctx);

/** ask_cancel() - nobody wants to know any more. NULL is none. */
void ask_cancel(struct ask *ask);
