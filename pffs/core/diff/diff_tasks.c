#include "pffs/core/diff/diff_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TASKS_MAX 8
#define WINDOW	  (1u << 20) /* bytes of a file that are compared at a time */

/* A patch has whole files in memory. */
#define PATCH_TASKS_MAX 4
#define PATCH_MAX	(256u << 20)

/* One path of which the contents are read. */
struct task {
	struct link link;
	struct diff *diff;
	struct compared *one;
	uint64_t offset;
	struct buf from, to;
	struct fetch *from_fetch, *to_fetch; /* on their way; or NULL */
	unsigned waiting;		     /* for these, and who begins them */
	bool vanished;			     /* a file is not what the tree had */
	bool too_large;			     /* one of them is, for a patch */
};

static void task_free(struct task *task)
{
	list_del(&task->link);
	buf_fini(&task->from);
	buf_fini(&task->to);
	task->diff->task_count--;
	free(task);
}

/* One that is just being begun or ended goes when it was. */
static bool task_cancel(struct task *task)
{
	bool waited = task->waiting;

	task->waiting -= diff_cancel_fetch(&task->from_fetch);
	task->waiting -= diff_cancel_fetch(&task->to_fetch);
	if (!waited || task->waiting)
		return false;
	task_free(task);
	return true;
}

void diff_tasks_cancel(struct diff *diff)
{
	struct task *task;

	list_for_each (task, &diff->tasks, struct task, link)
		diff->pending -= task_cancel(task);
}

/* What begins a task comes to its end at once only where nothing is to be read, and then
 * diff_tasks_next() goes on in its loop. */
/* NOLINTBEGIN(misc-no-recursion) */

static void task_end(struct task *task)
{
	struct diff *diff = task->diff;

	task_free(task);
	diff_tasks_next(diff);
	diff_settle(diff);
}

static struct patch_content content_of(const struct tree_state *state,
				       const struct buf *bytes)
{
	if (state->target)
		return (struct patch_content){state->target, strlen(state->target)};
	return (struct patch_content){bytes->len ? (const void *)buf_peek(bytes) : "",
				      bytes->len};
}

static bool same_bytes(const struct buf *a, const struct buf *b)
{
	return a->len == b->len &&
	       (!a->len || memcmp(buf_peek(a), buf_peek(b), a->len) == 0);
}

static void make_piece(struct task *task)
{
	struct compared *one = task->one;
	struct patch_content from = content_of(one->pair.from, &task->from);
	struct patch_content to = content_of(one->pair.to, &task->to);
	FILE *out = open_memstream(&one->piece, &one->piece_len);
	int r = out ? 0 : -ENOMEM;

	if (out && task->too_large)
		patch_print_too_large(out, &one->pair);
	else if (out)
		r = patch_print(out, &one->pair, &from, &to, &task->diff->budget);
	if (out && fclose(out) != 0)
		r = -ENOMEM;
	task->diff->patch_len += one->piece_len;
	if (r < 0)
		diff_fail(task->diff, ENOMEM, "no memory for the patch");
	else if (task->diff->patch_len > PATCH_MAX)
		diff_fail(task->diff, EFBIG,
			  "the patch is larger than 256 MiB: name some paths in "
			  "config/diff_paths");
}

static void task_begin(struct task *task);

/* Is it compared a window at a time, rather than held whole for the patch? */
static bool in_windows(const struct task *task)
{
	return task->diff->form != DIFF_PATCH || task->too_large;
}

/* Both contents are there, or what there is of them. */
static void task_look(struct task *task)
{
	struct compared *one = task->one;
	bool same = !task->vanished && same_bytes(&task->from, &task->to);

	if (task->diff->done) {
		task_end(task);
		return;
	}
	if (one->is == SUSPECTED && in_windows(task) && same && task->from.len == WINDOW) {
		task->offset += WINDOW;
		task_begin(task);
		return;
	}
	if (one->is == SUSPECTED)
		one->is = same ? EQUAL : MODIFIED;
	if (task->diff->form == DIFF_PATCH && one->is != EQUAL && !task->vanished)
		make_piece(task);
	task_end(task);
}

/* One less is waited for. */
static void task_step(struct task *task)
{
	if (!--task->waiting)
		task_look(task);
	else
		diff_release(task->diff);
}

static void take(struct task *task, struct buf *to, struct buf *bytes,
		 const struct error *err)
{
	int code = err ? -err->code : 0;

	buf_fini(to);
	if (bytes) {
		*to = *bytes;
		*bytes = (struct buf){0};
	} else if (code == ENOENT || code == ENOTDIR || code == ELOOP || code == ENXIO ||
		   code == EISDIR || code == EPERM) {
		task->vanished = true;
	} else if (code == EFBIG) { /* it was not when the tree was made */
		task->too_large = true;
		task->one->is = task->one->is == SUSPECTED ? MODIFIED : task->one->is;
	} else {
		diff_finish(task->diff, NULL, 0, err);
	}
	task_step(task);
}

static void have_from(void *ctx, struct buf *bytes, const struct error *err)
{
	struct task *task = ctx;

	task->from_fetch = NULL;
	take(task, &task->from, bytes, err);
}

static void have_to(void *ctx, struct buf *bytes, const struct error *err)
{
	struct task *task = ctx;

	task->to_fetch = NULL;
	take(task, &task->to, bytes, err);
}

/* Contents of which one differs from the other for certain, and has no place. */
static bool are_of_no_use(const struct task *task)
{
	return task->too_large && task->one->is != SUSPECTED;
}

static struct fetch *fetch(struct task *task, const struct side *side,
			   const struct tree_state *state, fetch_fn *fn)
{
	const char *path = task->one->pair.path;

	if (task->diff->done || !patch_needs(state) || are_of_no_use(task)) {
		fn(task, &(struct buf){0}, NULL);
		return NULL;
	}
	if (in_windows(task))
		return fetch_part(side->machine, path, task->offset, WINDOW, fn, task);
	return fetch_file(side->machine, path, PATCH_FILE_MAX, fn, task);
}

static void task_begin(struct task *task)
{
	const struct tree_pair *pair = &task->one->pair;

	task->waiting = 3; /* it must not end before both were begun */
	task->from_fetch = fetch(task, &task->diff->from, pair->from, have_from);
	task->to_fetch = fetch(task, &task->diff->to, pair->to, have_to);
	task_step(task);
}

static bool needs_task(const struct diff *diff, const struct compared *one)
{
	return one->is == SUSPECTED || diff->form == DIFF_PATCH;
}

static void begin_task(struct diff *diff, struct compared *one)
{
	struct task *task = calloc(1, sizeof(*task));

	if (!task) {
		diff_fail(diff, ENOMEM, "no memory for the differences");
		return;
	}
	*task = (struct task){
	    .diff = diff,
	    .one = one,
	    .too_large = diff->form == DIFF_PATCH && patch_is_too_large(&one->pair),
	};
	list_add_before(&diff->tasks, &task->link);
	diff->task_count++;
	diff_expect(diff);
	task_begin(task);
}

/* A task may end before begin_task() returns, and come here again. */
void diff_tasks_next(struct diff *diff)
{
	unsigned most = diff->form == DIFF_PATCH ? PATCH_TASKS_MAX : TASKS_MAX;

	if (diff->beginning)
		return;
	diff->beginning = true;
	while (!diff->done && diff->task_count < most && diff->next < diff->result.count) {
		struct compared *one = &diff->result.list[diff->next++];

		if (needs_task(diff, one))
			begin_task(diff, one);
	}
	diff->beginning = false;
	if (!diff->done && !diff->task_count && diff->next == diff->result.count)
		diff_print(diff);
}

/* NOLINTEND(misc-no-recursion) */
