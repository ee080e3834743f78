/*
 * The parts of a comparison of sandboxes, among themselves: diff.c its life and the
 * comparison of the trees, diff_sides.c the machines and their trees, diff_near.c what of
 * these has to be looked at, diff_tasks.c the contents of files.
 */
#pragma once

#include "pffs/core/diff/compare.h"
#include "pffs/core/diff/diff.h"
#include "pffs/core/diff/patch.h"
#include "pffs/core/files/fetch.h"
#include "util/work.h"

struct side {
	struct diff *diff;
	void (*done_with)(struct sandbox *machine); /* NULL: that needs nothing */
	struct fetch *tree_fetch, *image_fetch;	    /* on their way; or NULL */
	struct files_call *since;		    /* likewise */
	enum diff_of of;
	struct sandbox *sb;	 /* reference */
	struct sandbox *machine; /* reference: who answers for it; NULL: nobody yet */
	uint32_t vm;		 /* of @machine, when it answered what to look at */
	struct tree tree, image;
};

/* Invariant: @pending counts what will call back. The last that does frees a diff that
 * is done. */
struct diff {
	struct side from, to;
	bool same_image;  /* the trees are over the same */
	int64_t parted;	  /* when both sides were still one; 0: not known */
	int64_t moment;	  /* the same, as long as that is of use */
	struct buf picks; /* then: what of the trees is looked at (wire/picks.h) */
	bool unknown;	  /* that cannot be told */
	bool again;	  /* it is looked at for the second time */
	bool more;	  /* for which something was added to the picks */
	enum diff_form form;
	char *paths;
	struct comparison result;
	size_t next;	  /* of the result: where no task was begun */
	size_t patch_len; /* of all pieces */
	struct patch_budget budget;
	struct link tasks; /* struct task */
	unsigned task_count, pending;
	struct work work; /* while they are looked at, or compared */
	int compare_result;
	bool compared;	/* the trees were, or are being */
	bool beginning; /* of tasks: who ends one meanwhile leaves that to it */
	bool done;
	diff_fn *fn;
	void *ctx;
};

/** diff_finish() - tell who waits, once. */
void diff_finish(struct diff *diff, char *text, size_t len, const struct error *err);

/** diff_fail() - likewise, of a failure. */
void diff_fail(struct diff *diff, int code, const char *what);

/** diff_expect() - one thing more will call back; it ends by diff_settle(). */
void diff_expect(struct diff *diff);

/** diff_settle() - it has. After the last of the machines and trees they are looked at. */
void diff_settle(struct diff *diff);

/** diff_release() - free it when all is done. Nothing of @diff may be looked at behind
 * this, unless the caller is expected. */
void diff_release(struct diff *diff);

/** diff_print() - all is known: finish. */
void diff_print(struct diff *diff);

/** diff_cancel_fetch() - Return: whether there was one to cancel. */
bool diff_cancel_fetch(struct fetch **fetch);

/** diff_side_use() - find its machine, and its tree. */
void diff_side_use(struct side *side);

void diff_side_fini(struct side *side);

/** diff_need_tree() - ask for the tree of a side, or for diff->picks of it. */
void diff_need_tree(struct side *side);

/** diff_parted() - Return: a moment at which both sides were one; 0: not known. */
int64_t diff_parted(const struct side *from, const struct side *to);

/** diff_need_trees() - ask both, who are there, for what has to be compared. */
void diff_need_trees(struct diff *diff);

/** diff_have_trees() - both are there: compare them, or ask for more of them. */
void diff_have_trees(struct diff *diff);

/**
 * diff_work() - something is to be done with the trees.
 * @run, @done: as for work_begin(); where the trees are small both at once. @diff is
 *              expecting until @done calls diff_settle().
 */
void diff_work(struct diff *diff, void (*run)(struct work *work),
	       void (*done)(struct work *work));

/** diff_compare() - both trees are what is to be compared. */
void diff_compare(struct diff *diff);

/** diff_tasks_next() - read contents where they are needed; print when all is there. */
void diff_tasks_next(struct diff *diff);

/** diff_tasks_cancel() - what is on its way is of no use any more. */
void diff_tasks_cancel(struct diff *diff);
