#include "pffs/core/files/errand.h"

#include <errno.h>

static void tell(struct errand *errand, const struct files_reply *reply)
{
	files_done_fn *done = errand->done;

	loop_timer_cancel(&errand->limit);
	errand->call = NULL;
	errand->done = NULL;
	done(errand->ctx, reply);
}

static void answered(void *ctx, const struct files_reply *reply)
{
	tell(ctx, reply);
}

/* Nobody answers; or nobody was asked. */
static void fires(struct loop_timer *timer)
{
	struct errand *errand = container_of(timer, struct errand, limit);
	const struct files_reply reply = {.error = errand->call ? ETIMEDOUT : errand->error,
					  .watch = -1};

	if (errand->call)
		files_cancel(errand->call);
	tell(errand, &reply);
}

void errand_init(struct errand *errand, struct sandbox *sb, void *ctx)
{
	*errand = (struct errand){.sb = sandbox_ref(sb), .ctx = ctx};
	loop_timer_init(&errand->limit, fires);
	limits_open(sb);
}

void errand_fini(struct errand *errand)
{
	if (!errand->sb)
		return;
	if (errand->call)
		files_cancel(errand->call);
	loop_timer_cancel(&errand->limit);
	limits_close(errand->sb);
	sandbox_unref(errand->sb);
	*errand = (struct errand){0};
}

void errand_ask(struct errand *errand, const struct files_request *request,
		files_done_fn *done)
{
	int r;

	errand->done = done;
	r = files_request(errand->sb, request, answered, errand, &errand->call);
	if (r < 0)
		errand->call = NULL;
	errand->error = -r;
	loop_timer_set(errand->sb->core->loop, &errand->limit, r < 0 ? 0 : ERRAND_MS);
}

void errand_pause(struct errand *errand, files_done_fn *done)
{
	errand->done = done;
	errand->error = 0;
	loop_timer_set(errand->sb->core->loop, &errand->limit, 0);
}

void errand_close(struct errand *errand, uint32_t *handle)
{
	const struct files_request request = {.op = FILES_CLOSE, .handle = *handle};

	if (*handle)
		files_request(errand->sb, &request, NULL, NULL, NULL);
	*handle = 0;
}
