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

#define TASKS_MAX      8
#define WINDOW	       (1u << 20)  /* bytes of a file that are compared at a time */
#define PATCH_FILE_MAX (64u << 20) /* bytes of a file in a patch */
#define PATCH_MAX      (512u << 20)

struct side {
	struct diff *diff;
	enum diff_of of;
	struct sandbox *sb;	 /* reference */
	struct sandbox *machine; /* reference: who answers for it; NULL: nobody yet */
	struct tree tree, image;
};

/* Invariant: @pending counts what will call back. The last that does frees a diff that
 * is done. */
struct diff {
	struct side from, to;
	bool same_image; /* the templates are the same */
	enum diff_form form;
	char *paths;
	struct comparison result;
	size_t next;	  /* of the result: where no task was begun */
	size_t patch_len; /* of all pieces */
	unsigned tasks, pending;
	bool compared;	/* the trees were */
	bool beginning; /* of tasks: who ends one meanwhile leaves that to it */
	bool done;
	diff_fn *fn;
	void *ctx;
};

/* One path of which the contents are read. */
struct task {
	struct diff *diff;
	struct compared *one;
	uint64_t offset;
	struct buf from, to;
	unsigned waiting; /* for contents */
	bool vanished;	  /* a file is not what the tree had */
};

static void side_fini(struct side *side)
{
	struct sandbox *machine = side->machine;

	if (machine && side->of == DIFF_FORK_POINT && sandbox_has_base(side->sb))
		twin_done(machine);
	else if (machine && side->of != DIFF_NOW)
		view_done(machine);
	sandbox_unref(machine);
	sandbox_unref(side->sb);
	tree_fini(&side->tree);
	tree_fini(&side->image);
}

static void release(struct diff *diff)
{
	if (!diff->done || diff->pending)
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

	buf_fini(&task->from);
	buf_fini(&task->to);
	free(task);
	diff->tasks--;
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
	int r = out ? patch_print(out, &one->pair, &from, &to) : -ENOMEM;

	if (out && fclose(out) != 0)
		r = -ENOMEM;
	task->diff->patch_len += one->piece_len;
	if (r < 0)
		fail(task->diff, ENOMEM, "no memory for the patch");
	else if (task->diff->patch_len > PATCH_MAX)
		fail(task->diff, EFBIG,
		     "the patch is larger than 512 MiB: name some paths in "
		     "config/diff_paths");
}

static void task_begin(struct task *task);

/* Both contents are there, or what there is of them. */
static void task_look(struct task *task)
{
	struct compared *one = task->one;
	bool same = !task->vanished && same_bytes(&task->from, &task->to);

	if (task->diff->done) {
		task_end(task);
		return;
	}
	if (one->is == SUSPECTED && task->diff->form != DIFF_PATCH && same &&
	    task->from.len == WINDOW) {
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
	} else {
		finish(task->diff, NULL, 0, err);
	}
	if (!--task->waiting)
		task_look(task);
}

static void have_from(void *ctx, struct buf *bytes, const struct error *err)
{
	struct task *task = ctx;

	take(task, &task->from, bytes, err);
}

static void have_to(void *ctx, struct buf *bytes, const struct error *err)
{
	struct task *task = ctx;

	take(task, &task->to, bytes, err);
}

static void fetch(struct task *task, const struct side *side,
		  const struct tree_state *state, fetch_fn *fn)
{
	const char *path = task->one->pair.path;

	if (!patch_needs(state))
		fn(task, &(struct buf){0}, NULL);
	else if (task->diff->form == DIFF_PATCH)
		fetch_file(side->machine, path, PATCH_FILE_MAX, fn, task);
	else
		fetch_part(side->machine, path, task->offset, WINDOW, fn, task);
}

static void task_begin(struct task *task)
{
	task->waiting = 2;
	fetch(task, &task->diff->from, task->one->pair.from, have_from);
	fetch(task, &task->diff->to, task->one->pair.to, have_to);
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
	*task = (struct task){.diff = diff, .one = one};
	diff->tasks++;
	begin(diff);
	task_begin(task);
}

/* A task may end before begin_task() returns, and come here again. */
static void next_tasks(struct diff *diff)
{
	if (diff->beginning)
		return;
	diff->beginning = true;
	while (!diff->done && diff->tasks < TASKS_MAX && diff->next < diff->result.count) {
		struct compared *one = &diff->result.list[diff->next++];

		if (needs_task(diff, one))
			begin_task(diff, one);
	}
	diff->beginning = false;
	if (!diff->done && !diff->tasks && diff->next == diff->result.count)
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

	have_part(side->diff, &side->tree, tree, err);
}

static void have_image(void *ctx, struct tree *tree, const struct error *err)
{
	struct side *side = ctx;

	have_part(side->diff, &side->image, tree, err);
}

static void have_machine(void *ctx, struct sandbox *machine, const struct error *err)
{
	struct side *side = ctx;
	struct diff *diff = side->diff;

	if (machine)
		side->machine = sandbox_ref(machine);
	else
		finish(diff, NULL, 0, err);
	if (machine && !diff->done) {
		begin(diff);
		fetch_tree(machine, have_tree, side);
	}
	if (machine && !diff->done && !diff->same_image) {
		begin(diff);
		fetch_image(machine, have_image, side);
	}
	end(diff);
}

static void use_side(struct side *side)
{
	begin(side->diff);
	if (side->of == DIFF_NOW)
		have_machine(side, side->sb, NULL);
	else if (side->of == DIFF_FORK_POINT && sandbox_has_base(side->sb))
		twin_use(side->sb, have_machine, side);
	else
		view_use(side->sb->core, side->sb->template, have_machine, side);
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
	diff->same_image = order->from->template == order->to->template;
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
