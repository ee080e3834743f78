#include "pffs/core/merge/merge_apply.h"

#include "pffs/core/diff/same.h"
#include "pffs/core/files/fetch.h"
#include "pffs/core/files/files.h"
#include "pffs/core/merge/hold.h"
#include "pffs/core/merge/merge_plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#define REPLY_MS 60000u /* for one request of a merge */

struct apply {
	struct sandbox *sb; /* reference */
	struct changes *changes;
	const struct tree *ours;
	struct plan plan;
	size_t at;		/* the step that is being taken */
	struct loop_timer next; /* takes the step that is next */
	struct loop_timer limit;
	struct files_call *call; /* that has no reply yet */
	struct hold *hold;	 /* the parent's programs stand still; or NULL */
	bool failed;
	bool part;     /* something has gone, and that is not taken back */
	bool broken;   /* what was to be taken back was not */
	size_t ending; /* where the steps begin that end it early; or the end */
	struct error err;
	struct sandbox *source; /* of a copy: reference, or NULL */
	uint32_t from, to;	/* handles of a copy */
	uint64_t copied;
	size_t sent;	/* of which the guest is to say how much it has written */
	apply_fn *done; /* NULL: who waited was told */
	void *ctx;
};

static void apply_free(struct apply *apply)
{
	loop_timer_cancel(&apply->next);
	loop_timer_cancel(&apply->limit);
	plan_fini(&apply->plan);
	sandbox_unref(apply->sb);
	free(apply);
}

static void finish(struct apply *apply)
{
	struct error err = apply->err;

	if (apply->hold)
		hold_end(apply->hold);
	if (apply->broken)
		error_say(&err, -apply->err.code, "%s; not all of it could be taken back",
			  apply->err.text);
	if (apply->done)
		apply->done(apply->ctx, apply->failed ? &err : NULL, apply->part);
	apply_free(apply);
}

static const struct step *current(const struct apply *apply)
{
	return &apply->plan.steps.list[apply->at];
}

/* From the event loop, so that steps do not pile up on the stack. */
static void go_on(struct apply *apply, size_t step)
{
	apply->at = step;
	loop_timer_set(apply->sb->core->loop, &apply->next, 0);
}

/* What was to go by a step that will not be taken. */
static void keep_what_is_left(struct apply *apply)
{
	for (size_t i = apply->at; i < apply->ending; i++)
		if (i >= apply->plan.last && apply->plan.steps.list[i].change)
			apply->plan.steps.list[i].change->stays = true;
}

/* While it ends: what cannot be taken back is left as it is. */
static void fail_again(struct apply *apply)
{
	const struct step *step = current(apply);

	apply->broken |= !step->may_fail;
	if (apply->sb->state == SANDBOX_DEAD || apply->sb->gone)
		finish(apply);
	else
		go_on(apply, apply->at + 1);
}

static void fail(struct apply *apply, const struct error *err)
{
	if (apply->failed) {
		fail_again(apply);
		return;
	}
	apply->failed = true;
	apply->err = *err;
	apply->ending = apply->plan.steps.count;
	apply->part = apply->at >= apply->plan.last;
	keep_what_is_left(apply);
	plan_end_early(&apply->plan, apply->changes, apply->at);
	go_on(apply, apply->ending);
}

/* Between the look and a step something was made, or went, that the look did not show. */
static bool is_in_between(const struct apply *apply, int code)
{
	return apply->at > apply->plan.look && apply->at < apply->plan.last &&
	       (code == EEXIST || code == ENOENT || code == ENOTEMPTY || code == ENOTDIR ||
		code == EISDIR);
}

static void fail_with(struct apply *apply, int code, const char *path)
{
	struct error err;

	if (is_in_between(apply, code))
		error_say(&err, EAGAIN, "%s changed %.200s meanwhile: try again",
			  apply->sb->name, path);
	else
		error_set(&err, code, "cannot merge %.200s into %s", path ? path : "files",
			  apply->sb->name);
	fail(apply, &err);
}

/* The path that a step is about, as the user knows it. */
static const char *path_of(const struct step *step)
{
	return step->path2 && step->op == FILES_RENAME ? step->path2 : step->path;
}

/* Nobody waits for it any more, and it has just got the last reply. */
static bool is_cancelled(struct apply *apply)
{
	if (apply->done || apply->at >= apply->ending)
		return false;
	go_on(apply, apply->ending);
	return true;
}

static bool is_what_it_was(const struct step *step, const struct files_reply *reply)
{
	return reply->has_attr && reply->attr.size == step->was.size &&
	       reply->attr.mtime_ns == step->was.mtime_ns;
}

/* What is to go may have gone; a directory stays when something has come into it. */
static bool is_settled(const struct step *step, int code)
{
	if (!step->change || (code != ENOENT && code != ENOTEMPTY))
		return false;
	step->change->stays = code == ENOTEMPTY;
	return true;
}

static struct apply *replied(void *ctx)
{
	struct apply *apply = ctx;

	apply->call = NULL;
	loop_timer_cancel(&apply->limit);
	return apply;
}

static void asked(void *ctx, const struct files_reply *reply)
{
	struct apply *apply = replied(ctx);
	const struct step *step = current(apply);

	if (is_cancelled(apply))
		return;
	if (reply->error && !step->may_fail && !is_settled(step, reply->error))
		fail_with(apply, reply->error, path_of(step));
	else if (step->op == FILES_GETATTR && !is_what_it_was(step, reply))
		fail_with(apply, EEXIST, path_of(step - 1));
	else
		go_on(apply, apply->at + 1);
}

/* Return: 0, or -errno, and @done will not be called. */
static int send(struct apply *apply, struct sandbox *sb,
		const struct files_request *request, files_done_fn *done)
{
	int r = files_request(sb, request, done, apply, &apply->call);

	if (r == 0)
		loop_timer_set(apply->sb->core->loop, &apply->limit, REPLY_MS);
	return r;
}

static void ask(struct apply *apply, const struct step *step)
{
	const struct files_request request = {
	    .op = step->op,
	    .flags = step->flags,
	    .mode = step->mode,
	    .uid = step->uid,
	    .gid = step->gid,
	    .mtime_ns = step->mtime_ns,
	    .path = step->path,
	    .path2 = step->path2,
	};
	int r = send(apply, apply->sb, &request, asked);

	if (r < 0)
		fail_with(apply, -r, path_of(step));
}

static void close_handle(struct sandbox *sb, uint32_t handle)
{
	const struct files_request request = {.op = FILES_CLOSE, .handle = handle};

	if (handle && sb)
		files_request(sb, &request, NULL, NULL, NULL);
}

static void close_both(struct apply *apply)
{
	close_handle(apply->source, apply->from);
	close_handle(apply->sb, apply->to);
	apply->from = apply->to = 0;
	sandbox_unref(apply->source);
	apply->source = NULL;
}

static void end_copy(struct apply *apply, int error)
{
	close_both(apply);
	if (error)
		fail_with(apply, error, current(apply)->change->path);
	else
		go_on(apply, apply->at + 1);
}

static void copy_on(struct apply *apply);

static void copy_request(struct apply *apply, struct sandbox *sb,
			 const struct files_request *request, files_done_fn *done)
{
	int r = send(apply, sb, request, done);

	if (r < 0)
		end_copy(apply, -r);
}

/* Return: whether the copy has come to its end by a reply. */
static bool copy_ends(struct apply *apply, int error)
{
	if (is_cancelled(apply))
		close_both(apply);
	else if (error)
		end_copy(apply, error);
	else
		return false;
	return true;
}

static void written(void *ctx, const struct files_reply *reply)
{
	struct apply *apply = replied(ctx);
	bool wrong = !reply->value || reply->value > apply->sent;

	if (copy_ends(apply, reply->error ? reply->error : wrong ? EIO : 0))
		return;
	apply->copied += reply->value;
	copy_on(apply);
}

static void write_piece(struct apply *apply, const uint8_t *data, size_t len)
{
	const struct files_request request = {.op = FILES_WRITE,
					      .handle = apply->to,
					      .offset = apply->copied,
					      .data = data,
					      .data_len = (uint32_t)len};

	apply->sent = len;
	if (len)
		copy_request(apply, apply->sb, &request, written);
	else
		end_copy(apply, 0);
}

/* It may be more than what was asked for: the guest is hostile. */
static void have_read(void *ctx, const struct files_reply *reply)
{
	struct apply *apply = replied(ctx);

	if (copy_ends(apply, reply->error		     ? reply->error
			     : reply->data_len > apply->sent ? EIO
							     : 0))
		return;
	write_piece(apply, reply->data, reply->data_len);
}

/* As much as the file had when it was looked at. */
static void copy_on(struct apply *apply)
{
	const struct change *change = current(apply)->change;
	uint64_t left = change->after.size - apply->copied;
	size_t len = left < FILES_IO_MAX ? left : FILES_IO_MAX;
	const struct files_request request = {
	    .op = FILES_READ, .handle = apply->from, .offset = apply->copied, .size = len};

	apply->sent = len;
	if (!len)
		end_copy(apply, 0);
	else if (apply->source)
		copy_request(apply, apply->source, &request, have_read);
	else
		write_piece(apply, buf_peek(&change->bytes) + apply->copied, len);
}

static void target_opened(void *ctx, const struct files_reply *reply)
{
	struct apply *apply = replied(ctx);

	apply->to = reply->error ? 0 : reply->handle;
	if (!copy_ends(apply, reply->error))
		copy_on(apply);
}

static void open_target(struct apply *apply)
{
	const struct files_request request = {
	    .op = FILES_OPEN,
	    .flags = FILES_O_WRITE | FILES_O_CREAT | FILES_O_EXCL,
	    .mode = 0600,
	    .path = current(apply)->path,
	};

	copy_request(apply, apply->sb, &request, target_opened);
}

static void source_opened(void *ctx, const struct files_reply *reply)
{
	struct apply *apply = replied(ctx);

	apply->from = reply->error ? 0 : reply->handle;
	if (!copy_ends(apply, reply->error))
		open_target(apply);
}

static void copy(struct apply *apply, const struct change *change)
{
	const struct files_request request = {
	    .op = FILES_OPEN, .flags = FILES_O_READ, .path = change->path};

	apply->copied = 0;
	if (!change->source) {
		open_target(apply);
		return;
	}
	apply->source = sandbox_ref(change->source);
	copy_request(apply, apply->source, &request, source_opened);
}

static void held(void *ctx, const struct error *err)
{
	struct apply *apply = ctx;

	if (is_cancelled(apply))
		return;
	if (err)
		fail(apply, err);
	else
		go_on(apply, apply->at + 1);
}

static void hold(struct apply *apply)
{
	apply->hold = hold_begin(apply->sb, held, apply);
	if (!apply->hold)
		fail_with(apply, ENOMEM, NULL);
}

static bool is_as_before(const struct change *change, const struct tree *was,
			 const struct tree *is)
{
	const struct tree_entry *a = tree_find(was, change->path);
	const struct tree_entry *b = tree_find(is, change->path);

	if (!a || !b)
		return !a == !b;
	return same_attributes(&a->now, &b->now) && a->now.ino == b->now.ino &&
	       a->now.size == b->now.size && a->now.mtime_ns == b->now.mtime_ns;
}

static void looked(void *ctx, struct tree *tree, const struct error *failed)
{
	struct apply *apply = ctx;
	struct error err;

	if (is_cancelled(apply))
		return;
	if (!tree) {
		fail(apply, failed);
		return;
	}
	for (size_t i = 0; i < apply->changes->count; i++) {
		if (is_as_before(&apply->changes->list[i], apply->ours, tree))
			continue;
		error_say(&err, EAGAIN, "%s changed %.200s meanwhile: try again",
			  apply->sb->name, apply->changes->list[i].path);
		fail(apply, &err);
		return;
	}
	go_on(apply, apply->at + 1);
}

static void take_step(struct loop_timer *timer)
{
	struct apply *apply = container_of(timer, struct apply, next);
	const struct step *step = current(apply);

	if (is_cancelled(apply))
		return;
	if (apply->at == apply->plan.steps.count)
		finish(apply);
	else if (step->kind == STEP_COPY)
		copy(apply, step->change);
	else if (step->kind == STEP_HOLD)
		hold(apply);
	else if (step->kind == STEP_LOOK)
		fetch_tree(apply->sb, NULL, looked, apply);
	else
		ask(apply, step);
}

/* Whether the guest has done what it was asked for is not known. */
static void no_reply(struct loop_timer *timer)
{
	struct apply *apply = container_of(timer, struct apply, limit);
	struct error err;

	files_cancel(apply->call);
	apply->call = NULL;
	close_both(apply);
	apply->broken |= apply->at > apply->plan.look && !current(apply)->may_fail;
	if (apply->failed) {
		finish(apply);
		return;
	}
	error_say(&err, ETIMEDOUT, "%s was not merged: a guest does not answer",
		  apply->sb->name);
	fail(apply, &err);
}

struct apply *apply_begin(struct sandbox *sb, struct changes *changes,
			  const struct tree *ours, apply_fn *done, void *ctx)
{
	struct apply *apply = calloc(1, sizeof(*apply));
	uint64_t number;

	if (!apply || getrandom(&number, sizeof(number), 0) != sizeof(number)) {
		free(apply);
		return NULL;
	}
	*apply = (struct apply){.sb = sandbox_ref(sb),
				.changes = changes,
				.ours = ours,
				.done = done,
				.ctx = ctx};
	loop_timer_init(&apply->next, take_step);
	loop_timer_init(&apply->limit, no_reply);
	snprintf(apply->plan.staging, sizeof(apply->plan.staging), ".pffs-merge-%016llx",
		 (unsigned long long)number);
	plan_make(&apply->plan, changes);
	apply->ending = apply->plan.steps.count;
	if (apply->plan.steps.incomplete || apply->plan.back.incomplete) {
		apply_free(apply);
		return NULL;
	}
	go_on(apply, 0);
	return apply;
}

bool apply_cancel(struct apply *apply)
{
	struct error err;

	if (apply->at > apply->plan.look)
		return false;
	error_say(&err, EINTR, "the merge was interrupted");
	if (!apply->failed) {
		apply->failed = true;
		apply->err = err;
		apply->ending = apply->plan.steps.count;
		plan_end_early(&apply->plan, apply->changes, apply->at);
	}
	apply->changes = NULL;
	apply->done(apply->ctx, &err, false);
	apply->done = NULL;
	return true;
}
