#include "pffs/api/making.h"

#include "pffs/api/reply.h"
#include "pffs/api/states.h"

#include <errno.h>
#include <stdlib.h>

static void forget(struct making *making, bool destroy)
{
	for (size_t i = 0; making->made && i < making->count; i++) {
		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): each is one */
		if (destroy && !making->made[i]->gone)
			sandbox_destroy(making->made[i]);
		sandbox_unref(making->made[i]);
	}
	making->count = 0;
}

static void making_free(struct making *making)
{
	free(making->made);
	free(making);
}

static void over(struct request *r)
{
	struct making *making = r->state;

	making->r = NULL;
	if (making->fork) {
		fork_cancel(making->fork); /* making_made() follows, or has been called */
		return;
	}
	forget(making, true);
	making_free(making);
}

struct making *making_new(struct request *r, size_t wanted,
			  int (*done)(struct request *r, struct sandbox **made,
				      size_t count, struct error *err))
{
	struct making *making = calloc(1, sizeof(*making));

	if (!making)
		return NULL;
	*making = (struct making){.r = r, .wanted = wanted, .done = done};
	r->state = making;
	r->end = over;
	return making;
}

static void await_next(struct making *making);

static void is_ready(struct request *r, struct sandbox *sb, const struct error *err)
{
	struct making *making = r->state;
	struct error failed;

	(void)sb;
	making->ready++;
	if (!err && making->ready < making->count) {
		await_next(making);
		return;
	}
	if (!err && making->done(r, making->made, making->count, &failed) == 0) {
		forget(making, false);
		return;
	}
	reply_error(r, err ? err : &failed);
}

static void await_next(struct making *making)
{
	states_await(making->r, making->made[making->ready], STATES_READY, is_ready);
}

void making_made(void *ctx, struct sandbox *const *children, const struct error *err)
{
	struct making *making = ctx;
	size_t count = making->wanted;

	making->fork = NULL;
	if (!err)
		making->made = calloc(count, sizeof(struct sandbox *));
	for (; making->made && making->count < count; making->count++)
		making->made[making->count] = sandbox_ref(children[making->count]);
	if (!making->r) {
		forget(making, true);
		making_free(making);
	} else if (err) {
		reply_error(making->r, err);
	} else if (!making->made) {
		reply_say(making->r, ENOMEM, "no memory to tell of them");
	} else {
		await_next(making);
	}
}
