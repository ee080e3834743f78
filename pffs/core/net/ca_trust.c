#include "pffs/core/net/ca_trust.h"

#include "pffs/core/files/errand.h"
#include "pffs/core/files/fetch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct ca_trust {
	struct errand errand;
	struct fetch *fetch;
	struct buf text; /* to be appended */
	uint32_t handle;
	bool again; /* it was tried, and the machine was another one then */
	char *certificate;
	ca_trust_fn *done;
	void *ctx;
};

static void look(void *ctx, const struct files_reply *reply);

void ca_trust_cancel(struct ca_trust *trust)
{
	if (trust->fetch)
		fetch_cancel(trust->fetch);
	errand_close(&trust->errand, &trust->handle);
	errand_fini(&trust->errand);
	buf_fini(&trust->text);
	free(trust->certificate);
	free(trust);
}

static void finish(struct ca_trust *trust, int error)
{
	ca_trust_fn *done = trust->done;
	void *ctx = trust->ctx;
	struct error err;

	if (error)
		error_set(&err, error, "the host's CA is not in /" CA_TRUST_FILE);
	ca_trust_cancel(trust);
	done(ctx, error ? &err : NULL);
}

/* A machine that starts, or was changed for another one, may have been too slow. */
static void fail(struct ca_trust *trust, int error)
{
	bool starts = error == ETIMEDOUT && trust->errand.sb->state == SANDBOX_STARTING;

	if (!starts && (error != EBADF || trust->again)) {
		finish(trust, error);
		return;
	}
	trust->again = !starts;
	trust->handle = 0;
	buf_fini(&trust->text);
	errand_pause(&trust->errand, look);
}

static void have_written(void *ctx, const struct files_reply *reply)
{
	struct ca_trust *trust = ctx;

	if (reply->error)
		fail(trust, reply->error);
	else
		finish(trust, reply->value == trust->text.len ? 0 : EIO);
}

static void have_opened(void *ctx, const struct files_reply *reply)
{
	struct ca_trust *trust = ctx;
	const struct files_request request = {.op = FILES_WRITE,
					      .flags = FILES_O_APPEND,
					      .handle = reply->handle,
					      .data = buf_peek(&trust->text),
					      .data_len = (uint32_t)trust->text.len};

	if (reply->error) {
		fail(trust, reply->error);
		return;
	}
	trust->handle = reply->handle;
	errand_ask(&trust->errand, &request, have_written);
}

static void append(struct ca_trust *trust, bool there, bool needs_newline)
{
	const struct files_request request = {.op = FILES_OPEN,
					      .flags = FILES_O_WRITE | FILES_O_APPEND |
						       (there ? 0 : FILES_O_CREAT),
					      .mode = 0644,
					      .path = CA_TRUST_FILE};

	if ((needs_newline && buf_append(&trust->text, "\n", 1) < 0) ||
	    buf_append(&trust->text, trust->certificate, strlen(trust->certificate)) < 0)
		finish(trust, ENOMEM);
	else
		errand_ask(&trust->errand, &request, have_opened);
}

static void have_read(void *ctx, struct buf *bytes, const struct error *err)
{
	struct ca_trust *trust = ctx;
	size_t len = bytes ? bytes->len : 0;

	trust->fetch = NULL;
	if (!bytes && err->code != -ENOENT)
		fail(trust, -err->code);
	else if (len && memmem(buf_peek(bytes), len, trust->certificate,
			       strlen(trust->certificate)))
		finish(trust, 0);
	else
		append(trust, bytes, len && buf_peek(bytes)[len - 1] != '\n');
}

static void look(void *ctx, const struct files_reply *reply)
{
	struct ca_trust *trust = ctx;
	struct fetch *fetch;

	(void)reply;
	fetch = fetch_file(trust->errand.sb, CA_TRUST_FILE, CA_TRUST_MAX, have_read, trust);
	if (fetch)
		trust->fetch = fetch;
}

struct ca_trust *ca_trust_begin(struct sandbox *sb, const char *certificate,
				ca_trust_fn *done, void *ctx)
{
	struct ca_trust *trust = calloc(1, sizeof(*trust));

	if (!trust)
		return NULL;
	trust->done = done;
	trust->ctx = ctx;
	trust->certificate = strdup(certificate);
	if (!trust->certificate) {
		free(trust);
		return NULL;
	}
	errand_init(&trust->errand, sb, trust);
	errand_pause(&trust->errand, look);
	return trust;
}
