#include "pffs/core/merge/merge.h"

#include "pffs/core/files/files.h"
#include "pffs/core/guest/guest.h"
#include "pffs/core/record/journal.h"
#include "pffs/core/terminal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* How long the winner's guest may take to say that it is another one. */
#define WAKE_MS 30000u

/* Invariant: sb->merge and winner->merge are the merge for as long as it lives. */
struct merge {
	struct sandbox *sb, *winner; /* references */
	struct loop_timer timer; /* until the guest has woken; then: the change of hands */
	bool told, awake;	 /* the winner's guest who it is; and it has said so */
	merge_done_fn *done;
	void *ctx;
};

__attribute__((format(printf, 2, 3))) static void report(struct sandbox *sb,
							 const char *fmt, ...)
{
	char *text;
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vasprintf(&text, fmt, ap);
	va_end(ap);
	free(sb->merge_report);
	sb->merge_report = len < 0 ? NULL : text;
}

/* Told once; both are free for whatever comes next. */
static void finish(struct merge *merge, const struct error *err)
{
	loop_timer_cancel(&merge->timer);
	merge->sb->merge = NULL;
	merge->winner->merge = NULL;
	if (err)
		report(merge->sb, "merge %s\nresult failed\nerror %s\n",
		       merge->winner->name, err->text);
	journal_facts(merge->sb);
	merge->done(merge->ctx, err);
	sandbox_unref(merge->sb);
	sandbox_unref(merge->winner);
	free(merge);
}

/* The winner stays what it was. */
static void fail(struct merge *merge, const struct error *err)
{
	struct sandbox *winner = sandbox_ref(merge->winner);
	bool told = merge->told;

	finish(merge, err);
	if (told && winner->state != SANDBOX_DEAD)
		guest_wake(winner);
	files_next(winner);
	sandbox_unref(winner);
}

bool merge_holds_files(const struct sandbox *sb)
{
	return sb->merge && sb->merge->winner == sb;
}

/* What it does for its files now it is to do once, and not again when it is awake. */
void merge_files_rest(struct sandbox *sb)
{
	struct merge *merge = sb->merge;

	if (!merge_holds_files(sb) || merge->told || files_at_work(sb))
		return;
	merge->told = true;
	guest_wake_as(sb, merge->sb);
}

/* Return: the first fork of the winner whose name a fork of @sb has, or NULL. */
static const struct sandbox *find_clash(const struct sandbox *sb,
					const struct sandbox *winner)
{
	const struct sandbox *fork, *other;

	list_for_each (fork, &sb->core->sandboxes, struct sandbox, link) {
		if (fork->folder != FOLDER_FORKS(winner->serial))
			continue;
		other = sandbox_find(sb->core, FOLDER_FORKS(sb->serial), fork->name);
		if (other && other != winner)
			return fork;
	}
	return NULL;
}

static int check_forks(const struct sandbox *sb, const struct sandbox *winner,
		       struct error *err)
{
	const struct sandbox *clash = find_clash(sb, winner);

	if (!clash)
		return 0;
	return error_say(err, EEXIST,
			 "both %s and %s have a fork %s: rename or remove one of them",
			 sb->name, winner->name, clash->name);
}

/* Parents stand before their children in the list, in the order in which all came. */
static void count_generations(struct core *core)
{
	const struct sandbox *parent;
	struct sandbox *sb;

	list_for_each (sb, &core->sandboxes, struct sandbox, link) {
		parent = sandbox_of_id(core, sb->parent_id);
		if (parent)
			sb->generation = parent->generation + 1;
	}
}

static void move_forks(struct sandbox *sb, const struct sandbox *winner)
{
	struct sandbox *fork;

	list_for_each (fork, &sb->core->sandboxes, struct sandbox, link) {
		if (strcmp(fork->parent_id, winner->id) == 0)
			strcpy(fork->parent_id, sb->id);
		if (fork->folder == FOLDER_FORKS(winner->serial))
			fork->folder = FOLDER_FORKS(sb->serial);
	}
	count_generations(sb->core);
	list_for_each (fork, &sb->core->sandboxes, struct sandbox, link)
		if (fork->folder == FOLDER_FORKS(sb->serial) && fork != winner)
			journal_facts(fork);
	if (sb->fork_number < winner->fork_number)
		sb->fork_number = winner->fork_number;
}

/* Runs that have not ended go with the machine; the others are the winner's alone. */
static void move_runs(struct sandbox *sb, struct sandbox *winner)
{
	struct run *run;

	list_for_each (run, &winner->runs, struct run, link)
		if (run->state != RUN_ENDED)
			sandbox_move_run(sb, winner, run);
	sb->current = winner->current;
	winner->current = NULL;
}

static void change_hands(struct merge *merge)
{
	struct sandbox *sb = sandbox_ref(merge->sb), *winner = merge->winner;
	uint32_t former = sb->vm;
	int journal = sb->journal_fd;

	sb->vm = 0;	     /* ends when the journal says that there is another one: */
	sb->journal_fd = -1; /* until then that says what was */
	sandbox_take_machine(sb, winner);
	move_runs(sb, winner);
	terminals_move(sb, winner);
	move_forks(sb, winner);
	sandbox_event(
	    sb, "merged",
	    json_pack("{s:s, s:s}", "winner", winner->name, "winner_id", winner->id));
	report(sb, "merge %s\nresult merged\nid %s\n", winner->name, winner->id);
	sb->journal_fd = journal;
	journal_begin(sb);    /* before the winner's ends: of two that have a machine it is
				 the one that is told so */
	winner->merge = NULL; /* its end is not the merge's */
	if (former)
		sandbox_discard_vm(sb->core, former);
	sandbox_destroy(winner);
	finish(merge, NULL);
	guest_moved(sb);
	net_trust(sb); /* the fork may be older than the first secret */
	sandbox_unref(sb);
}

static void timer_fires(struct loop_timer *timer)
{
	struct merge *merge = container_of(timer, struct merge, timer);
	struct error err;

	if (!merge->awake) {
		error_say(&err, ETIMEDOUT, "the guest of %s does not answer: try again",
			  merge->winner->name);
		fail(merge, &err);
	} else if (check_forks(merge->sb, merge->winner, &err) < 0) {
		fail(merge, &err);
	} else {
		change_hands(merge);
	}
}

/* Not at once: the frame that says it is still being looked at in the winner's queue. */
void merge_awake(struct sandbox *winner)
{
	struct merge *merge = winner->merge;

	if (!merge || merge->winner != winner)
		return;
	merge->awake = true;
	loop_timer_set(winner->core->loop, &merge->timer, 0);
}

void merge_ended(struct sandbox *sb)
{
	struct merge *merge = sb->merge;
	struct error err;

	/* One that is dead, but not gone, may well get another machine. */
	if (!merge || (sb == merge->sb && !sb->gone))
		return;
	error_say(&err, EIO, "%s ended while it was merged: %s", sb->name, sb->reason);
	fail(merge, &err);
}

void merge_cancel(struct merge *merge)
{
	struct error err;

	error_say(&err, EINTR, "the merge was interrupted");
	fail(merge, &err);
}

static bool is_anybodys_name(struct core *core, const char *name)
{
	const struct sandbox *sb;

	list_for_each (sb, &core->sandboxes, struct sandbox, link)
		if (sandbox_is_shown(sb) && strcmp(sb->name, name) == 0)
			return true;
	return sandbox_by_id(core, name);
}

struct sandbox *merge_find_fork(struct sandbox *sb, const char *name, struct error *err)
{
	struct sandbox *winner = sandbox_find(sb->core, FOLDER_FORKS(sb->serial), name);

	if (winner && strcmp(winner->parent_id, sb->id) == 0)
		return winner;
	if (winner || !core_name_ok(name) || is_anybodys_name(sb->core, name))
		error_say(
		    err, EINVAL,
		    "%.64s is not a fork of %s: merge takes the name of one that is in "
		    "%s/forks and was made there",
		    name, sb->name, sb->name);
	else
		error_say(err, ENOENT, "%s has no fork %.64s", sb->name, name);
	return NULL;
}

int merge_check_idle(const struct sandbox *sb, struct error *err)
{
	const struct sandbox *fork;

	if (sb->state == SANDBOX_STARTING || sb->state == SANDBOX_FROZEN)
		return error_say(err, EAGAIN, "%s is %s: try again", sb->name,
				 sandbox_state_name(sb));
	if (sb->state == SANDBOX_STORED || sb->freeze)
		return error_say(err, EAGAIN,
				 "%s is frozen, or about to be: echo resume > ctl, then "
				 "try again",
				 sb->name);
	if (sb->merge || sb->merge_files || sb->hold) /* or a merge that failed ends */
		return error_say(err, EAGAIN, "%s is being merged: try again", sb->name);
	list_for_each (fork, &sb->core->sandboxes, struct sandbox, link)
		if (fork->folder == FOLDER_FORKS(sb->serial) && fork->making)
			return error_say(err, EAGAIN, "%s is being forked: try again",
					 sb->name);
	return 0;
}

int merge_begin(struct sandbox *sb, const char *name, merge_done_fn *done, void *ctx,
		struct merge **handle, struct error *err)
{
	struct sandbox *winner = merge_find_fork(sb, name, err);
	struct merge *merge;
	int r;

	if (!winner)
		return err->code;
	if (winner->state == SANDBOX_DEAD)
		return error_say(err, EIO, "%s is dead: %s", winner->name, winner->reason);
	r = merge_check_idle(winner, err);
	if (r == 0)
		r = merge_check_idle(sb, err);
	if (r == 0)
		r = check_forks(sb, winner, err);
	if (r < 0)
		return r;
	merge = calloc(1, sizeof(*merge));
	if (!merge)
		return error_set(err, ENOMEM, "cannot merge");
	*merge = (struct merge){
	    .sb = sandbox_ref(sb), .winner = sandbox_ref(winner), .done = done, .ctx = ctx};
	sb->merge = winner->merge = merge;
	loop_timer_init(&merge->timer, timer_fires);
	loop_timer_set(sb->core->loop, &merge->timer, WAKE_MS);
	*handle = merge;
	merge_files_rest(winner);
	return 0;
}
