/*
 * What is to be done for the changes of a merge of files, step by step.
 *
 * Theory of operation: everything new is first made in a directory of its own, the
 * staging directory. Then the parent's programs are stopped, and behind a look at what
 * it has now, three kinds of steps follow: things of another type get out of the way; what
 * comes takes its place, exchanged for what was there; what goes is removed. The first two
 * kinds have steps that take them back. The last has not, and is last for that.
 */
#pragma once

#include "pffs/core/merge/merge_changes.h"

enum step_kind { STEP_ASK, STEP_COPY, STEP_HOLD, STEP_LOOK };

struct step {
	enum step_kind kind;
	uint8_t op; /* of STEP_ASK */
	uint32_t flags, mode, uid, gid;
	int64_t mtime_ns;
	char *path, *path2;
	struct change *change; /* whose content is copied, or which goes by this step */
	struct tree_state was; /* of FILES_GETATTR: what has to be there */
	bool may_fail;
	size_t of; /* of a step back: the step that it takes back */
};

struct steps {
	struct step *list;
	size_t count, room;
	bool incomplete; /* without memory */
};

struct plan {
	char staging[64];
	struct steps steps, back;
	size_t look; /* where it looks: nothing of the parent's is touched before */
	size_t last; /* from here on nothing can be taken back */
};

/** plan_make() - fill @plan, which has a name for the staging directory. */
void plan_make(struct plan *plan, struct changes *changes);

/**
 * plan_end_early() - append the steps that take back all that was done before step @at,
 * as far as it can be, and remove what was staged.
 */
void plan_end_early(struct plan *plan, struct changes *changes, size_t at);

void plan_fini(struct plan *plan);
