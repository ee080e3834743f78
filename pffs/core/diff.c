#include "pffs/core/diff.h"

#include "pffs/core/compare.h"
#include "pffs/core/fetch.h"
#include "pffs/core/patch.h"
#include "pffs/core/twin.h"
#include "pffs/core/view.h"
#include "util/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TASKS_MAX 8
#define WINDOW	  (1u << 20) /* bytes of a file that are compared at a time */

/* A patch has whole files in memory. */
#define PATCH_TASKS_MAX 4
#define PATCH_MAX	(256u << 20)

struct side {
	struct diff *diff;
	void (*done_with)(struct sandbox *machine); /* NULL: that needs nothing */
	struct fetch *tree_fetch, *image_fetch;	    /* on their way; or NULL */
	enum diff_of of;
	struct sandbox *sb;	 /* reference */
	struct sandbox *machine; /* reference: who answers for it; NULL: nobody yet */
	struct tree tree, image;
};

/* Invariant: @pending counts what will call back. The last that does frees a diff that
 * is done. */
struct diff {
	struct side from, to;
	bool same_image; /* the trees are over the same */
	enum diff_form form;
	char *paths;
	struct comparison result;
	size_t next;	  /* of the result: where no task was begun */
	size_t patch_len; /* of all pieces */
	struct patch_budget budget;
	struct link tasks; /* struct task */
	unsigned task_count, pending;
	bool compared;	/* the trees were */
	bool beginning; /* of tasks: who ends one meanwhile leaves that to it */
	bool done;
	diff_fn *fn;
	void *ctx;
};

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

static void side_fini(struct side *side)
{
	struct sandbox *machine = side->machine;

	if (machine && side->done_with)
		side->done_with(machine);
	sandbox_unref(machine);
	sandbox_unref(side->sb);
	tree_fini(&side->tree);
	tree_fini(&side->image);
}

static bool cancel(struct fetch **fetch)
{
	if (!*fetch)
		return false;
	fetch_cancel(*fetch);
	*fetch = NULL;
	return true;
}

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

	task->waiting -= cancel(&task->from_fetch);
	task->waiting -= cancel(&task->to_fetch);
	if (!waited || task->waiting)
		return false;
	task_free(task);
	return true;
}

/* What is on its way is of no use any more. Machines cannot be hurried. */
static void cancel_all(struct diff *diff)
{
	struct side *sides[] = {&diff->from, &diff->to};
	struct task *task;

	for (int i = 0; i < 2; i++) {
		diff->pending -= cancel(&sides[i]->tree_fetch);
		diff->pending -= cancel(&sides[i]->image_fetch);
	}
	list_for_each (task, &diff->tasks, struct task, link)
		diff->pending -= task_cancel(task);
}

/* Nothing of @diff may be looked at behind this, unless the caller is pending. */
static void release(struct diff *diff)
{
	if (!diff->done)
		return;
	cancel_all(diff);
	if (diff->pending)
		return;
	comparison_fini(&diff->result);
	side_fini(&diff->from);
	side_fini(&diff->to);
	free(diff->paths);
	free(diff);
}

static void finish(struct diff *diff, char *text, size_t len, const struct error *err)
{
	if (diff->done)
		return;
	diff->done = true;
	diff->fn(diff->ctx, text, len, err);
}

static void fail(struct diff *diff, int code, const char *what)
{
	struct error err;

	error_set(&err, code, "%s", what);
	finish(diff, NULL, 0, &err);
}

/* Begin one thing that calls back, and end it there. */
static void begin(struct diff *diff)
{
	diff->pending++;
}

static void compare(struct diff *diff);

/* What begins a task comes to its end at once only where nothing is to be read, and then
 * next_tasks() goes on in its loop. */
/* NOLINTBEGIN(misc-no-recursion) */

/* Who is the last of the machines and trees makes the comparison. */
static void end(struct diff *diff)
{
	if (diff->pending == 1 && !diff->done && !diff->compared)
		compare(diff);
	diff->pending--;
	release(diff);
}

static void print(struct diff *diff)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (out && diff->form == DIFF_LIST)
		comparison_list(&diff->result, out);
	else if (out && diff->form == DIFF_JSON)
		comparison_json(&diff->result, out);
	else if (out)
		comparison_patch(&diff->result, out);
	if (out && fclose(out) == 0) {
		finish(diff, text, len, NULL);
		return;
	}
	free(text);
	fail(diff, ENOMEM, "no memory for the differences");
}

static void next_tasks(struct diff *diff);

static void task_end(struct task *task)
{
	struct diff *diff = task->diff;

	task_free(task);
	next_tasks(diff);
	end(diff);
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
		fail(task->diff, ENOMEM, "no memory for the patch");
	else if (task->diff->patch_len > PATCH_MAX)
		fail(task->diff, EFBIG,
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
		release(task->diff);
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
		finish(task->diff, NULL, 0, err);
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
		fail(diff, ENOMEM, "no memory for the differences");
		return;
	}
	*task = (struct task){
	    .diff = diff,
	    .one = one,
	    .too_large = diff->form == DIFF_PATCH && patch_is_too_large(&one->pair),
	};
	list_add_before(&diff->tasks, &task->link);
	diff->task_count++;
	begin(diff);
	task_begin(task);
}

/* A task may end before begin_task() returns, and come here again. */
static void next_tasks(struct diff *diff)
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
		print(diff);
}

static void compare(struct diff *diff)
{
	int r = 0;

	diff->compared = true;
	if (!diff->same_image)
		r = compare_whole(&diff->from.tree, &diff->from.image);
	if (r == 0 && !diff->same_image)
		r = compare_whole(&diff->to.tree, &diff->to.image);
	if (r == 0)
		r = compare_trees(&diff->from.tree, &diff->to.tree, diff->paths,
				  &diff->result);
	if (r < 0)
		fail(diff, ENOMEM, "no memory for the differences");
	else
		next_tasks(diff);
}

/* NOLINTEND(misc-no-recursion) */

/* One more part of what the comparison needs is there, or failed. */
static void have_part(struct diff *diff, struct tree *to, struct tree *tree,
		      const struct error *err)
{
	if (tree) {
		*to = *tree;
		*tree = (struct tree){0};
	} else {
		finish(diff, NULL, 0, err);
	}
	end(diff);
}

static void have_tree(void *ctx, struct tree *tree, const struct error *err)
{
	struct side *side = ctx;

	side->tree_fetch = NULL;
	have_part(side->diff, &side->tree, tree, err);
}

static void have_image(void *ctx, struct tree *tree, const struct error *err)
{
	struct side *side = ctx;

	side->image_fetch = NULL;
	have_part(side->diff, &side->image, tree, err);
}

static void need_tree(struct side *side)
{
	if (side->diff->done)
		return;
	begin(side->diff);
	side->tree_fetch = fetch_tree(side->machine, have_tree, side);
}

static void need_image(struct side *side)
{
	if (side->diff->done)
		return;
	begin(side->diff);
	side->image_fetch = fetch_image(side->machine, have_image, side);
}

/* Which image a machine has is known when it is there. */
static void compare_images(struct diff *diff)
{
	diff->same_image = diff->from.machine->image == diff->to.machine->image;
	if (diff->same_image)
		return;
	need_image(&diff->from);
	need_image(&diff->to);
}

/* A template whose image was built again is not what was forked. */
static void check_fork_point(const struct side *side)
{
	const struct sandbox *sb = side->sb;
	struct error err;

	if (side->of != DIFF_FORK_POINT || side->machine->image == sb->image)
		return;
	error_say(&err, ENOENT,
		  "the image of template %s has been replaced since %s was made of it",
		  sb->core->templates.list[sb->template].name, sb->name);
	finish(side->diff, NULL, 0, &err);
}

static void have_machine(void *ctx, struct sandbox *machine, const struct error *err)
{
	struct side *side = ctx;
	struct diff *diff = side->diff;

	if (machine) {
		side->machine = sandbox_ref(machine);
		check_fork_point(side);
	} else {
		finish(diff, NULL, 0, err);
	}
	if (machine)
		need_tree(side);
	if (diff->from.machine && diff->to.machine)
		compare_images(diff);
	end(diff);
}

/* What a sandbox has for its fork point may have changed when it is done with. */
static void use_side(struct side *side)
{
	begin(side->diff);
	if (side->of == DIFF_NOW) {
		have_machine(side, side->sb, NULL);
	} else if (side->of == DIFF_FORK_POINT && sandbox_has_base(side->sb)) {
		side->done_with = twin_done;
		twin_use(side->sb, have_machine, side);
	} else {
		side->done_with = view_done;
		view_use(side->sb->core, side->sb->template, have_machine, side);
	}
}

static struct side side_of(struct diff *diff, enum diff_of of, struct sandbox *sb)
{
	return (struct side){.diff = diff, .of = of, .sb = sandbox_ref(sb)};
}

struct diff *diff_begin(const struct diff_order *order, diff_fn *done, void *ctx)
{
	struct diff *diff = calloc(1, sizeof(*diff));
	struct error err;
	bool over;

	if (!diff) {
		error_set(&err, ENOMEM, "no memory for the differences");
		done(ctx, NULL, 0, &err);
		return NULL;
	}
	diff->from = side_of(diff, order->from_of, order->from);
	diff->to = side_of(diff, order->to_of, order->to);
	diff->budget = patch_budget;
	list_init(&diff->tasks);
	diff->form = order->form;
	diff->paths = order->paths ? strdup(order->paths) : NULL;
	diff->fn = done;
	diff->ctx = ctx;
	begin(diff);
	use_side(&diff->from);
	use_side(&diff->to);
	over = diff->done;
	diff->pending--;
	release(diff);
	return over ? NULL : diff;
}

void diff_cancel(struct diff *diff)
{
	diff->done = true;
	release(diff);
}
