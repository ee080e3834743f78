#include "vmctl/net/ruleset.h"

#include <errno.h>
#include <nftables/libnftables.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Of text, which is up to eight times as much to the kernel. */
#define PIECE_BYTES (32 << 10)

static int begin(struct ruleset *ruleset, struct error *err)
{
	ruleset->text = open_memstream(&ruleset->bytes, &ruleset->len);
	return ruleset->text ? 0 : error_set(err, ENOMEM, "cannot write rules");
}

/* Drop what was written. */
static void forget(struct ruleset *ruleset)
{
	if (ruleset->text)
		fclose(ruleset->text);
	free(ruleset->bytes);
	ruleset->text = NULL;
	ruleset->bytes = NULL;
}

int ruleset_open(struct ruleset *ruleset, struct error *err)
{
	*ruleset = (struct ruleset){.nft = nft_ctx_new(NFT_CTX_DEFAULT)};
	if (!ruleset->nft)
		return error_set(err, ENOMEM, "cannot talk to nftables");
	nft_ctx_buffer_error(ruleset->nft);
	nft_ctx_buffer_output(ruleset->nft);
	return begin(ruleset, err);
}

void ruleset_close(struct ruleset *ruleset)
{
	forget(ruleset);
	if (ruleset->nft)
		nft_ctx_free(ruleset->nft);
	ruleset->nft = NULL;
}

void ruleset_add(struct ruleset *ruleset, const char *fmt, ...)
{
	va_list ap;

	if (!ruleset->text)
		return;
	va_start(ap, fmt);
	vfprintf(ruleset->text, fmt, ap);
	va_end(ap);
}

bool ruleset_pending(const struct ruleset *ruleset)
{
	return ruleset->failed.code || (ruleset->text && ftell(ruleset->text) > 0);
}

/* nft says where in the text, and shows it, on more lines; the first has what is wrong. */
static int refused(struct ruleset *ruleset, struct error *err)
{
	const char *why = nft_ctx_get_error_buffer(ruleset->nft);
	int errnum = errno ? errno : EIO;

	return error_say(err, errnum, "nftables refuses the rules: %.*s",
			 why ? (int)strcspn(why, "\n") : 0, why ? why : "");
}

static int commit(struct ruleset *ruleset, struct error *err)
{
	struct error ignored;
	int r = 0;

	if (!ruleset->text || fflush(ruleset->text) != 0)
		r = error_set(err, ENOMEM, "cannot write rules");
	errno = 0;
	if (r == 0 && ruleset->len > 0 &&
	    nft_run_cmd_from_buffer(ruleset->nft, ruleset->bytes) != 0)
		r = refused(ruleset, err);
	forget(ruleset);
	begin(ruleset, &ignored);
	return r;
}

void ruleset_split(struct ruleset *ruleset)
{
	struct error err;

	if (!ruleset->failed.code && ruleset->text && ftell(ruleset->text) > PIECE_BYTES &&
	    commit(ruleset, &err) < 0)
		ruleset->failed = err;
}

int ruleset_commit(struct ruleset *ruleset, struct error *err)
{
	if (!ruleset->failed.code)
		return commit(ruleset, err);
	if (err)
		*err = ruleset->failed;
	return ruleset->failed.code;
}
