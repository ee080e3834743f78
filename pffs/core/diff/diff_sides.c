#include "pffs/core/diff/diff_parts.h"

#include "pffs/core/diff/view.h"
#include "pffs/core/twin.h"

#include <errno.h>

void diff_side_fini(struct side *side)
{
	struct sandbox *machine = side->machine;

	if (machine && side->done_with)
		side->done_with(machine);
	sandbox_unref(machine);
	sandbox_unref(side->sb);
	tree_fini(&side->tree);
	tree_fini(&side->image);
}

/* One more part of what the comparison needs is there, or failed. */
static void have_part(struct diff *diff, struct tree *to, struct tree *tree,
		      const struct error *err)
{
	if (tree) {
		*to = *tree;
		*tree = (struct tree){0};
	} else {
		diff_finish(diff, NULL, 0, err);
	}
	diff_settle(diff);
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

void diff_need_tree(struct side *side)
{
	struct diff *diff = side->diff;

	if (diff->done)
		return;
	diff_expect(diff);
	side->tree_fetch =
	    fetch_tree(side->machine, diff->moment ? &diff->picks : NULL, have_tree, side);
}

static void need_image(struct side *side)
{
	if (side->diff->done)
		return;
	diff_expect(side->diff);
	side->image_fetch = fetch_image(side->machine, have_image, side);
}

/* Which image a machine has is known when it is there. */
static void compare_images(struct diff *diff)
{
	diff->same_image = diff->from.machine->image == diff->to.machine->image;
	if (diff->moment)
		diff_need_trees(diff);
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
	diff_finish(side->diff, NULL, 0, &err);
}

static void have_machine(void *ctx, struct sandbox *machine, const struct error *err)
{
	struct side *side = ctx;
	struct diff *diff = side->diff;

	if (machine) {
		side->machine = sandbox_ref(machine);
		check_fork_point(side);
	} else {
		diff_finish(diff, NULL, 0, err);
	}
	if (machine && !diff->moment)
		diff_need_tree(side);
	if (diff->from.machine && diff->to.machine)
		compare_images(diff);
	diff_settle(diff);
}

/* What a sandbox has for its fork point may have changed when it is done with. */
void diff_side_use(struct side *side)
{
	diff_expect(side->diff);
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
