#include "pffs/core/merge/merge_files.h"

#include "pffs/core/files/fetch.h"
#include "pffs/core/merge/merge_apply.h"
#include "pffs/core/merge/merge_contents.h"
#include "pffs/core/merge/merge_report.h"
#include "pffs/core/record/journal.h"
#include "pffs/core/twin.h"
#include "util/work.h"

#include <errno.h>
#include <stdlib.h>

#define BEGIN_SMALL 50000u /* entries of trees that are merged while others wait */

/* Who will call back. A fork point does so also when nobody waits for it any more. */
struct call {
	struct merge_files *merge; /* or NULL */
	struct fetch *fetch;	   /* it is that; or NULL */
};

/* Invariant: sb->merge_files, and that of each fork, is the merge while it lives. */
struct merge_files {
	struct sandbox *sb;	/* reference */
	struct sandbox **forks; /* references */
	size_t count, at;	/* the fork that is merged now */
	enum merge3_favour favour;
	struct sandbox *point; /* its fork point, awake; or NULL */
	struct tree was;       /* the parent's, when all began */
	struct tree base, ours, theirs;
	bool begun; /* @merge3 is of the fork */
	struct merge3 merge3;
	struct work work; /* which begins it */
	struct error begin_err;
	int begin_result;
	bool working;
	struct changes changes; /* of all forks so far */
	struct loop_timer next; /* takes the next step */
	void (*step)(struct merge_files *merge);
	struct call *call;	   /* whose answer it waits for */
	struct contents *contents; /* on their way; or NULL */
	struct apply *apply;	   /* once all is decided */
	bool conflict;		   /* that is why it failed */
	bool part;		   /* it failed when some was done */
	uint64_t merged;	   /* bytes of texts that were */
	merge_done_fn *done;
	void *ctx;
};

static struct sandbox *fork_of(const struct merge_files *merge)
{
	return merge->forks[merge->at];
}

/* From the event loop: whoever calls back has done with its own things then. */
static void then(struct merge_files *merge, void (*step)(struct merge_files *merge))
{
	merge->step = step;
	loop_timer_set(merge->sb->core->loop, &merge->next, 0);
}

/* What belongs to one fork. */
static void forget_fork(struct merge_files *merge)
{
	if (merge->begun)
		merge3_fini(&merge->merge3);
	merge->begun = false;
	tree_fini(&merge->base);
	tree_fini(&merge->ours);
	tree_fini(&merge->theirs);
	if (merge->point)
		twin_done(merge->point);
	merge->point = NULL;
}

static void report(const struct merge_files *merge, const struct error *err)
{
	const struct merge_report report = {
	    .forks = merge->forks,
	    .count = merge->count,
	    .changes = !err || merge->part ? &merge->changes : NULL,
	    .merge3 = merge->begun ? &merge->merge3 : NULL,
	    .conflict = merge->conflict,
	    .err = err,
	};
	char *text = merge_report(&report);

	if (!text)
		return;
	free(merge->sb->merge_report);
	merge->sb->merge_report = text;
	journal_facts(merge->sb);
}

static void tell(const struct merge_files *merge)
{
	json_t *names = json_array();

	for (size_t i = 0; i < merge->count; i++)
		json_array_append_new(names, json_string(merge->forks[i]->name));
	sandbox_event(merge->sb, "files_merged",
		      json_pack("{s:o, s:I}", "forks", names, "changes",
				(json_int_t)merge->changes.count));
}

/* Whether they take part in it. */
static void mark(struct merge_files *merge, bool part)
{
	merge->sb->merge_files = part ? merge : NULL;
	for (size_t i = 0; i < merge->count; i++)
		merge->forks[i]->merge_files = part ? merge : NULL;
}

static void forget_call(struct call *call)
{
	if (!call)
		return;
	call->merge = NULL;
	if (!call->fetch)
		return;
	fetch_cancel(call->fetch);
	free(call);
}

static void merge_free(struct merge_files *merge)
{
	forget_call(merge->call);
	if (merge->contents)
		contents_cancel(merge->contents);
	forget_fork(merge);
	loop_timer_cancel(&merge->next);
	changes_fini(&merge->changes);
	tree_fini(&merge->was);
	for (size_t i = 0; i < merge->count; i++)
		sandbox_unref(merge->forks[i]);
	free(merge->forks);
	sandbox_unref(merge->sb);
	free(merge);
}

static void finish(struct merge_files *merge, const struct error *err)
{
	mark(merge, false);
	report(merge, err);
	if (!err)
		tell(merge);
	if (merge->done)
		merge->done(merge->ctx, err);
	merge_free(merge);
}

static void fail(struct merge_files *merge, int code, const char *sentence)
{
	struct error err;

	error_say(&err, code, "%s", sentence);
	finish(merge, &err);
}

/* Return: what has to be given to who calls back, or NULL, and the merge has ended. */
static struct call *wait_for_call(struct merge_files *merge)
{
	struct call *call = malloc(sizeof(*call));

	if (!call) {
		fail(merge, ENOMEM, "no memory to merge files");
		return NULL;
	}
	*call = (struct call){.merge = merge};
	merge->call = call;
	return call;
}

/* Return: the merge that has waited for it, or NULL. */
static struct merge_files *called(struct call *call)
{
	struct merge_files *merge = call->merge;

	free(call);
	if (merge)
		merge->call = NULL;
	return merge;
}

static void look_at(struct merge_files *merge, struct sandbox *sb, fetch_tree_fn *done)
{
	struct call *call = wait_for_call(merge);
	struct fetch *fetch = call ? fetch_tree(sb, NULL, done, call) : NULL;

	if (fetch)
		call->fetch = fetch;
}

static void applied(void *ctx, const struct error *err, bool part)
{
	struct merge_files *merge = ctx;

	merge->part = part;
	finish(merge, err);
}

static void apply_all(struct merge_files *merge)
{
	if (!merge->changes.count) {
		finish(merge, NULL);
		return;
	}
	merge->apply = apply_begin(merge->sb, &merge->changes, &merge->was, applied, merge);
	if (!merge->apply)
		fail(merge, ENOMEM, "no memory to merge files");
}

static void begin_fork(struct merge_files *merge);

static void refuse_conflicts(struct merge_files *merge, size_t conflicts)
{
	struct error err;

	merge->conflict = true;
	error_say(&err, EBUSY,
		  "%zu conflict%s between %s and %s: read %s/merge; `files --ours` and "
		  "`files --theirs` decide",
		  conflicts, conflicts == 1 ? "" : "s", merge->sb->name,
		  fork_of(merge)->name, merge->sb->name);
	finish(merge, &err);
}

/* Everything about a fork is decided. */
static void end_fork(struct merge_files *merge)
{
	size_t conflicts;
	int r;

	r = merge3_check(&merge->merge3);
	if (r < 0) {
		fail(merge, -r, "there are too many files to merge");
		return;
	}
	conflicts = merge3_conflicts(&merge->merge3);
	if (conflicts) {
		refuse_conflicts(merge, conflicts);
		return;
	}
	if (changes_add(&merge->changes, &merge->merge3, fork_of(merge)) < 0) {
		fail(merge, ENOMEM, "no memory to merge files");
		return;
	}
	forget_fork(merge);
	merge->at++;
	then(merge, merge->at < merge->count ? begin_fork : apply_all);
}

static void have_contents(void *ctx, const struct error *err)
{
	struct merge_files *merge = ctx;

	merge->contents = NULL;
	if (err)
		finish(merge, err);
	else
		end_fork(merge);
}

static void look_for_contents(struct merge_files *merge)
{
	const struct contents_order order = {
	    .merge = &merge->merge3,
	    .changes = &merge->changes,
	    .sides = {[MERGE3_BASE] = merge->point,
		      [MERGE3_OURS] = merge->sb,
		      [MERGE3_THEIRS] = fork_of(merge)},
	    .merged = &merge->merged,
	};

	merge->contents = contents_begin(&order, have_contents, merge);
	if (!merge->contents)
		fail(merge, ENOMEM, "no memory to merge files");
}

static void begin_now(struct work *work)
{
	struct merge_files *merge = container_of(work, struct merge_files, work);
	int r = changes_tree(&merge->changes, &merge->was, &merge->ours, &merge->begin_err);

	if (r == 0) {
		merge->begun = true;
		r = merge3_begin(&merge->merge3, &merge->base, &merge->ours, &merge->theirs,
				 merge->favour);
		if (r < 0)
			error_set(&merge->begin_err, ENOMEM, "cannot merge files");
	}
	merge->begin_result = r;
}

static void have_begun(struct work *work)
{
	struct merge_files *merge = container_of(work, struct merge_files, work);

	merge->working = false;
	if (!merge->done)
		fail(merge, EINTR, "the merge was interrupted");
	else if (merge->begin_result < 0)
		finish(merge, &merge->begin_err);
	else
		look_for_contents(merge);
}

static void begin_merge3(struct merge_files *merge)
{
	merge->working = true;
	if (merge->was.count + merge->base.count + merge->theirs.count > BEGIN_SMALL) {
		work_begin(merge->sb->core->loop, &merge->work, begin_now, have_begun);
	} else {
		begin_now(&merge->work);
		have_begun(&merge->work);
	}
}

/* Return: false when there is no tree, and the merge has ended. */
static bool take_tree(struct merge_files *merge, struct tree *to, struct tree *tree,
		      const struct error *err)
{
	if (!tree) {
		finish(merge, err);
		return false;
	}
	*to = *tree;
	*tree = (struct tree){0};
	return true;
}

static void have_theirs(void *ctx, struct tree *tree, const struct error *err)
{
	struct merge_files *merge = called(ctx);

	if (merge && take_tree(merge, &merge->theirs, tree, err))
		then(merge, begin_merge3);
}

static void have_base(void *ctx, struct tree *tree, const struct error *err)
{
	struct merge_files *merge = called(ctx);

	if (merge && take_tree(merge, &merge->base, tree, err))
		look_at(merge, fork_of(merge), have_theirs);
}

static void point_awake(void *ctx, struct sandbox *point, const struct error *err)
{
	struct merge_files *merge = called(ctx);

	if (!merge) {
		if (point)
			twin_done(point);
		return;
	}
	merge->point = point;
	if (point)
		look_at(merge, point, have_base);
	else
		finish(merge, err);
}

static void begin_fork(struct merge_files *merge)
{
	struct call *call = wait_for_call(merge);

	if (call)
		twin_use(fork_of(merge), point_awake, call);
}

static void have_was(void *ctx, struct tree *tree, const struct error *err)
{
	struct merge_files *merge = called(ctx);

	if (merge && take_tree(merge, &merge->was, tree, err))
		then(merge, begin_fork);
}

static void timer_fires(struct loop_timer *timer)
{
	struct merge_files *merge = container_of(timer, struct merge_files, next);

	merge->step(merge);
}

void merge_files_cancel(struct merge_files *merge)
{
	struct error err;

	error_say(&err, EINTR, "the merge was interrupted");
	if (merge->apply) {
		apply_cancel(merge->apply);
	} else if (merge->working) {
		merge->done(merge->ctx, &err);
		merge->done = NULL; /* it ends when the thread has done */
	} else {
		finish(merge, &err);
	}
}

static int check_fork(const struct sandbox *fork, struct error *err)
{
	if (fork->state == SANDBOX_DEAD)
		return error_say(err, EIO, "%s is dead: %s", fork->name, fork->reason);
	if (!sandbox_has_base(fork))
		return error_say(err, EINVAL, "nobody knows what %s was when it was made",
				 fork->name);
	return merge_check_idle(fork, err);
}

static int add_fork(struct merge_files *merge, const char *name, struct error *err)
{
	struct sandbox *fork = merge_find_fork(merge->sb, name, err);
	int r = fork ? check_fork(fork, err) : err->code;

	if (r == 0 && merge->forks)
		merge->forks[merge->count++] = sandbox_ref(fork);
	return r;
}

int merge_files_begin(struct sandbox *sb, char *const *names, size_t count,
		      enum merge3_favour favour, merge_done_fn *done, void *ctx,
		      struct merge_files **handle, struct error *err)
{
	struct merge_files *merge = calloc(1, sizeof(*merge));
	int r = 0;

	if (!merge)
		return error_set(err, ENOMEM, "cannot merge files");
	*merge = (struct merge_files){.sb = sandbox_ref(sb),
				      .forks = calloc(count, sizeof(struct sandbox *)),
				      .favour = favour,
				      .done = done,
				      .ctx = ctx};
	loop_timer_init(&merge->next, timer_fires);
	if (!merge->forks)
		r = error_set(err, ENOMEM, "cannot merge files");
	if (r == 0 && sb->state == SANDBOX_DEAD)
		r = error_say(err, EIO, "%s is dead: %s", sb->name, sb->reason);
	if (r == 0)
		r = merge_check_idle(sb, err);
	for (size_t i = 0; i < count && r == 0; i++)
		r = add_fork(merge, names[i], err);
	if (r < 0) {
		merge_free(merge);
		return r;
	}
	*handle = merge;
	mark(merge, true);
	look_at(merge, sb, have_was);
	return 0;
}
