#include "pffs/core/diff/diff_parts.h"

#include "pffs/core/files/files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COMPARE_SMALL (2u << 20) /* bytes of trees that are looked at while others wait */

bool diff_cancel_fetch(struct fetch **fetch)
{
	if (!*fetch)
		return false;
	fetch_cancel(*fetch);
	*fetch = NULL;
	return true;
}

/* What is on its way is of no use any more. Machines cannot be hurried. */
static void cancel_all(struct diff *diff)
{
	struct side *sides[] = {&diff->from, &diff->to};

	for (int i = 0; i < 2; i++) {
		diff->pending -= diff_cancel_fetch(&sides[i]->tree_fetch);
		diff->pending -= diff_cancel_fetch(&sides[i]->image_fetch);
		if (sides[i]->since) {
			files_cancel(sides[i]->since);
			sides[i]->since = NULL;
			diff->pending--;
		}
	}
	diff_tasks_cancel(diff);
}

void diff_release(struct diff *diff)
{
	if (!diff->done)
		return;
	cancel_all(diff);
	if (diff->pending)
		return;
	comparison_fini(&diff->result);
	diff_side_fini(&diff->from);
	diff_side_fini(&diff->to);
	buf_fini(&diff->picks);
	free(diff->paths);
	free(diff);
}

void diff_finish(struct diff *diff, char *text, size_t len, const struct error *err)
{
	if (diff->done)
		return;
	diff->done = true;
	diff->fn(diff->ctx, text, len, err);
}

void diff_fail(struct diff *diff, int code, const char *what)
{
	struct error err;

	error_set(&err, code, "%s", what);
	diff_finish(diff, NULL, 0, &err);
}

void diff_expect(struct diff *diff)
{
	diff->pending++;
}

void diff_settle(struct diff *diff)
{
	if (diff->pending == 1 && !diff->done && !diff->compared)
		diff_have_trees(diff);
	diff->pending--;
	diff_release(diff);
}

void diff_print(struct diff *diff)
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
		diff_finish(diff, text, len, NULL);
		return;
	}
	free(text);
	diff_fail(diff, ENOMEM, "no memory for the differences");
}

static void compare_now(struct work *work)
{
	struct diff *diff = container_of(work, struct diff, work);
	int r = 0;

	if (!diff->same_image)
		r = compare_whole(&diff->from.tree, &diff->from.image);
	if (r == 0 && !diff->same_image)
		r = compare_whole(&diff->to.tree, &diff->to.image);
	if (r == 0)
		r = compare_trees(&diff->from.tree, &diff->to.tree, diff->paths,
				  &diff->result);
	diff->compare_result = r;
}

/* Contents are next. */
static void go_on(struct diff *diff)
{
	if (diff->compare_result < 0)
		diff_fail(diff, ENOMEM, "no memory for the differences");
	else
		diff_tasks_next(diff);
}

static void have_compared(struct work *work)
{
	struct diff *diff = container_of(work, struct diff, work);

	go_on(diff);
	diff_settle(diff);
}

void diff_work(struct diff *diff, void (*run)(struct work *work),
	       void (*done)(struct work *work))
{
	size_t len = diff->from.tree.bytes.len + diff->to.tree.bytes.len +
		     diff->from.image.bytes.len + diff->to.image.bytes.len;

	diff_expect(diff);
	if (len > COMPARE_SMALL) {
		work_begin(diff->from.machine->core->loop, &diff->work, run, done);
	} else {
		run(&diff->work);
		done(&diff->work);
	}
}

void diff_compare(struct diff *diff)
{
	diff->compared = true;
	diff_work(diff, compare_now, have_compared);
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
	diff->parted = diff->moment = diff_parted(&diff->from, &diff->to);
	diff->budget = patch_budget;
	list_init(&diff->tasks);
	diff->form = order->form;
	diff->paths = order->paths ? strdup(order->paths) : NULL;
	diff->fn = done;
	diff->ctx = ctx;
	diff_expect(diff);
	diff_side_use(&diff->from);
	diff_side_use(&diff->to);
	over = diff->done;
	diff->pending--;
	diff_release(diff);
	return over ? NULL : diff;
}

void diff_cancel(struct diff *diff)
{
	diff->done = true;
	diff_release(diff);
}
