/*
 * A question to vmctl that is asked when a file is opened; reads wait for the answer.
 */
#pragma once

#include "pffs/fs/handle.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

/* Outlives its handle when that closes before the answers come. */
struct question {
	struct handle *h;
	unsigned pending; /* answers, where there are several */
};

/** question_new() - of @h, with one answer pending. Return: NULL with @err filled. */
static inline struct question *question_new(struct handle *h, struct error *err)
{
	struct question *question = malloc(sizeof(*question));

	if (!question) {
		error_set(err, ENOMEM, "cannot ask vmctl");
		return NULL;
	}
	*question = (struct question){.h = h, .pending = 1};
	h->question = question;
	return question;
}

/** question_poll(), question_release() - of the file_ops of such a file. */
static inline unsigned question_poll(const struct handle *h)
{
	return h->question ? 0 : EPOLLIN;
}

static inline void question_release(struct handle *h)
{
	if (h->question)
		h->question->h = NULL;
}
