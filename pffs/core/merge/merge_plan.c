#include "pffs/core/merge/merge_plan.h"

#include "wire/files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void add_step(struct steps *steps, const struct step *step, const char *path,
		     const char *path2)
{
	struct step *grown = steps->list, *added;

	if (steps->count == steps->room) {
		grown = reallocarray(grown, 2 * steps->room + 64, sizeof(*grown));
		if (!grown) {
			steps->incomplete = true;
			return;
		}
		steps->room = 2 * steps->room + 64;
		steps->list = grown;
	}
	added = &grown[steps->count++];
	*added = *step;
	added->path = path ? strdup(path) : NULL;
	added->path2 = path2 ? strdup(path2) : NULL;
	if ((path && !added->path) || (path2 && !added->path2))
		steps->incomplete = true;
}

/* What takes back the step that will be added next. */
static void add_back(struct plan *plan, const struct step *step, const char *path,
		     const char *path2)
{
	struct step back = *step;

	back.of = plan->steps.count;
	add_step(&plan->back, &back, path, path2);
}

/* Owner first: a change of it takes setuid bits away. */
static struct step owner_step(const struct tree_state *state)
{
	return (struct step){.op = FILES_SETATTR,
			     .flags = FILES_SET_UID | FILES_SET_GID,
			     .uid = state->uid,
			     .gid = state->gid};
}

static struct step mode_step(const struct tree_state *state)
{
	return (struct step){
	    .op = FILES_SETATTR, .flags = FILES_SET_MODE, .mode = state->mode & 07777};
}

static void add_attributes(struct plan *plan, const struct tree_state *state,
			   const char *path, bool time)
{
	struct step owner = owner_step(state), mode = mode_step(state);
	struct step *last = S_ISLNK(state->mode) ? &owner : &mode;

	if (time) {
		last->flags |= FILES_SET_MTIME;
		last->mtime_ns = state->mtime_ns;
	}
	add_step(&plan->steps, &owner, path, NULL);
	if (!S_ISLNK(state->mode))
		add_step(&plan->steps, &mode, path, NULL);
}

/* Steps back are taken from the last to the first. */
static void add_attributes_back(struct plan *plan, const struct tree_state *state,
				const char *path)
{
	const struct step owner = owner_step(state), mode = mode_step(state);

	if (!S_ISLNK(state->mode))
		add_back(plan, &mode, path, NULL);
	add_back(plan, &owner, path, NULL);
}

static bool is_dir(const struct tree_state *state)
{
	return S_ISDIR(state->mode);
}

/* It is made in the staging directory. */
static bool is_staged(const struct change *change)
{
	return change->content && change->after.mode && !is_dir(&change->after);
}

/* Something of another kind comes in its place, or in that of what it is in. */
static void find_what_is_in_the_way(struct changes *changes)
{
	const char *dir = NULL;
	size_t len = 0;

	for (size_t i = 0; i < changes->count; i++) {
		struct change *change = &changes->list[i];
		bool turns = change->before.mode && change->after.mode &&
			     is_dir(&change->before) != is_dir(&change->after);
		bool inside =
		    dir && strncmp(change->path, dir, len) == 0 && change->path[len] == '/';

		change->in_the_way = change->before.mode && (turns || inside);
		if (turns && is_dir(&change->before) && !inside) {
			dir = change->path;
			len = strlen(dir);
		}
	}
}

/* Where the new one is staged; or where the old one goes that is in the way. */
static void staged_path(const struct plan *plan, size_t i, const char *suffix,
			char path[128])
{
	snprintf(path, 128, "%s/%zu%s", plan->staging, i, suffix);
}

/* What was merged has no time yet but that of now. */
static void stage(struct plan *plan, struct change *change, size_t i)
{
	const struct tree_state *after = &change->after;
	struct step step = {.mode = after->mode, .uid = after->uid, .gid = after->gid};
	char path[128];

	staged_path(plan, i, "", path);
	if (S_ISREG(after->mode)) {
		step.kind = STEP_COPY;
		step.change = change;
	} else {
		step.op = S_ISLNK(after->mode) ? FILES_SYMLINK : FILES_MKNOD;
	}
	add_step(&plan->steps, &step, path, S_ISLNK(after->mode) ? after->target : NULL);
	add_attributes(plan, after, path, change->source);
}

static void move_away(struct plan *plan, const struct change *change, size_t i)
{
	const struct step move = {.op = FILES_RENAME, .flags = FILES_NOREPLACE};
	const struct step rmdir = {.op = FILES_RMDIR};
	const struct step mkdir = {.op = FILES_MKDIR, .mode = 0700};
	char path[128];

	if (is_dir(&change->before)) {
		add_attributes_back(plan, &change->before, change->path);
		add_back(plan, &mkdir, change->path, NULL);
		add_step(&plan->steps, &rmdir, change->path, NULL);
		return;
	}
	staged_path(plan, i, "-", path);
	add_back(plan, &move, path, change->path);
	add_step(&plan->steps, &move, change->path, path);
}

static void place_directory(struct plan *plan, const struct change *change)
{
	const struct step make = {.op = FILES_MKDIR, .mode = change->after.mode & 07777};
	const struct step rmdir = {.op = FILES_RMDIR};

	if (is_dir(&change->before)) {
		add_attributes_back(plan, &change->before, change->path);
	} else {
		add_back(plan, &rmdir, change->path, NULL);
		add_step(&plan->steps, &make, change->path, NULL);
	}
	add_attributes(plan, &change->after, change->path, false);
}

/* What was there is then where the new one was staged, and is looked at once more. */
static void place_staged(struct plan *plan, const struct change *change, size_t i)
{
	const bool exchange = change->before.mode && !change->in_the_way;
	const struct step move = {.op = FILES_RENAME,
				  .flags = exchange ? FILES_EXCHANGE : FILES_NOREPLACE};
	const struct step look = {.op = FILES_GETATTR, .was = change->before};
	char path[128];

	staged_path(plan, i, "", path);
	add_back(plan, &move, change->path, path);
	add_step(&plan->steps, &move, path, change->path);
	if (exchange && S_ISREG(change->before.mode))
		add_step(&plan->steps, &look, path, NULL);
}

static void place(struct plan *plan, const struct change *change, size_t i)
{
	if (is_dir(&change->after)) {
		place_directory(plan, change);
	} else if (is_staged(change)) {
		place_staged(plan, change, i);
	} else {
		add_attributes_back(plan, &change->before, change->path);
		add_attributes(plan, &change->after, change->path, false);
	}
}

static void add_removal(struct plan *plan, struct change *change)
{
	const struct step step = {
	    .op = is_dir(&change->before) ? FILES_RMDIR : FILES_UNLINK, .change = change};

	add_step(&plan->steps, &step, change->path, NULL);
}

static void add_cleaning(struct plan *plan, const struct changes *changes, bool early)
{
	const struct step unlink = {.op = FILES_UNLINK, .may_fail = true};
	const struct step rmdir = {.op = FILES_RMDIR, .may_fail = true};
	char path[128];

	for (size_t i = 0; i < changes->count; i++) {
		const struct change *change = &changes->list[i];
		bool replaces = change->before.mode && !change->in_the_way;

		staged_path(plan, i, "", path);
		if (is_staged(change) && (early || replaces))
			add_step(&plan->steps, &unlink, path, NULL);
		staged_path(plan, i, "-", path);
		if (change->in_the_way && !is_dir(&change->before))
			add_step(&plan->steps, &unlink, path, NULL);
	}
	add_step(&plan->steps, &rmdir, plan->staging, NULL);
}

void plan_make(struct plan *plan, struct changes *changes)
{
	const struct step make = {.op = FILES_MKDIR, .mode = 0700};
	const struct step hold = {.kind = STEP_HOLD}, look = {.kind = STEP_LOOK};
	struct change *list = changes->list;

	find_what_is_in_the_way(changes);
	add_step(&plan->steps, &make, plan->staging, NULL);
	for (size_t i = 0; i < changes->count; i++)
		if (is_staged(&list[i]))
			stage(plan, &list[i], i);
	add_step(&plan->steps, &hold, NULL, NULL);
	plan->look = plan->steps.count;
	add_step(&plan->steps, &look, NULL, NULL);
	for (size_t i = changes->count; i > 0; i--)
		if (list[i - 1].in_the_way)
			move_away(plan, &list[i - 1], i - 1);
	for (size_t i = 0; i < changes->count; i++)
		if (list[i].after.mode)
			place(plan, &list[i], i);
	plan->last = plan->steps.count;
	for (size_t i = changes->count; i > 0; i--)
		if (list[i - 1].before.mode && !list[i - 1].after.mode &&
		    !list[i - 1].in_the_way)
			add_removal(plan, &list[i - 1]);
	add_cleaning(plan, changes, false);
}

void plan_end_early(struct plan *plan, struct changes *changes, size_t at)
{
	for (size_t i = plan->back.count; i > 0 && at < plan->last; i--) {
		const struct step *back = &plan->back.list[i - 1];

		if (back->of < at)
			add_step(&plan->steps, back, back->path, back->path2);
	}
	add_cleaning(plan, changes, at < plan->last);
}

static void steps_fini(struct steps *steps)
{
	for (size_t i = 0; i < steps->count; i++) {
		free(steps->list[i].path);
		free(steps->list[i].path2);
	}
	free(steps->list);
	*steps = (struct steps){0};
}

void plan_fini(struct plan *plan)
{
	steps_fini(&plan->steps);
	steps_fini(&plan->back);
}
