#include "pffs/core/merge_apply.h"

#include "pffs/core/fetch.h"
#include "pffs/core/files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

enum step_kind { STEP_ASK, STEP_COPY, STEP_LOOK };

struct step {
	enum step_kind kind;
	uint8_t op; /* of STEP_ASK */
	uint32_t flags, mode, uid, gid;
	int64_t mtime_ns;
	char *path, *path2;
	const struct change *change; /* of STEP_COPY */
	int may_fail;		     /* errno that means nothing */
};

struct apply {
	struct sandbox *sb; /* reference */
	const struct changes *changes;
	const struct tree *ours;
	char staging[64];
	struct step *steps;
	size_t count, room, at;
	struct loop_timer next; /* takes the step that is next */
	bool failed;
	struct error err;
	uint32_t from, to; /* handles of a copy */
	uint64_t copied;
	size_t sent; /* of which the guest is to say how much it has written */
	apply_fn *done;
	void *ctx;
};

static void apply_free(struct apply *apply)
{
	for (size_t i = 0; i < apply->count; i++) {
		free(apply->steps[i].path);
		free(apply->steps[i].path2);
	}
	loop_timer_cancel(&apply->next);
	free(apply->steps);
	sandbox_unref(apply->sb);
	free(apply);
}

static void finish(struct apply *apply)
{
	apply->done(apply->ctx, apply->failed ? &apply->err : NULL);
	apply_free(apply);
}

static void add_step(struct apply *apply, const struct step *step, const char *path,
		     const char *path2)
{
	struct step *grown = apply->steps;

	if (apply->count == apply->room) {
		apply->room = apply->room ? 2 * apply->room : 64;
		grown = realloc(apply->steps, apply->room * sizeof(*grown));
	}
	if (!grown) {
		apply->failed = true;
		apply->room = apply->count;
		error_set(&apply->err, ENOMEM, "cannot merge");
		return;
	}
	apply->steps = grown;
	grown[apply->count] = *step;
	grown[apply->count].path = path ? strdup(path) : NULL;
	grown[apply->count].path2 = path2 ? strdup(path2) : NULL;
	apply->count++;
}

static void staged_path(const struct apply *apply, const struct change *change,
			char path[128])
{
	snprintf(path, 128, "%s/%zu", apply->staging,
		 (size_t)(change - apply->changes->list));
}

#define SET_ATTRIBUTES (FILES_SET_MODE | FILES_SET_UID | FILES_SET_GID)

/* Owner first: a change of it takes setuid bits away. */
static void add_attributes(struct apply *apply, const struct tree_state *state,
			   const char *path, uint32_t more)
{
	const struct step owner = {.op = FILES_SETATTR,
				   .flags = FILES_SET_UID | FILES_SET_GID,
				   .uid = state->uid,
				   .gid = state->gid};
	const struct step mode = {.op = FILES_SETATTR,
				  .flags = FILES_SET_MODE | more,
				  .mode = state->mode & 07777,
				  .mtime_ns = state->mtime_ns};

	add_step(apply, &owner, path, NULL);
	if (!S_ISLNK(state->mode))
		add_step(apply, &mode, path, NULL);
}

/* Make in the staging directory what is no directory. What was merged is new today. */
static void stage(struct apply *apply, const struct change *change)
{
	const struct tree_state *after = &change->after;
	struct step step = {.mode = after->mode, .uid = after->uid, .gid = after->gid};
	char path[128];

	staged_path(apply, change, path);
	if (S_ISREG(after->mode)) {
		step.kind = STEP_COPY;
		step.change = change;
		add_step(apply, &step, path, NULL);
	} else if (S_ISLNK(after->mode)) {
		step.op = FILES_SYMLINK;
		add_step(apply, &step, path, after->target);
	} else {
		step.op = FILES_MKNOD;
		add_step(apply, &step, path, NULL);
	}
	add_attributes(apply, after, path,
		       change->source && S_ISREG(after->mode) ? FILES_SET_MTIME : 0);
}

static bool is_dir(const struct tree_state *state)
{
	return S_ISDIR(state->mode);
}

/* It has to be out of the way before what comes in its place. */
static bool goes_first(const struct change *change)
{
	return change->before.mode &&
	       (!change->after.mode || is_dir(&change->before) != is_dir(&change->after));
}

static void place(struct apply *apply, const struct change *change)
{
	const struct step make = {.op = FILES_MKDIR, .mode = change->after.mode & 07777};
	const struct step move = {.op = FILES_RENAME};
	char from[128];

	if (!change->after.mode)
		return;
	if (is_dir(&change->after)) {
		if (!is_dir(&change->before))
			add_step(apply, &make, change->path, NULL);
		add_attributes(apply, &change->after, change->path, 0);
	} else if (change->content) {
		staged_path(apply, change, from);
		add_step(apply, &move, from, change->path);
	} else {
		add_attributes(apply, &change->after, change->path, 0);
	}
}

static void plan(struct apply *apply)
{
	const struct changes *changes = apply->changes;
	const struct step make = {.op = FILES_MKDIR, .mode = 0700};
	const struct step look = {.kind = STEP_LOOK}, unlink = {.op = FILES_UNLINK};
	const struct step rmdir = {.op = FILES_RMDIR};

	add_step(apply, &make, apply->staging, NULL);
	for (size_t i = 0; i < changes->count; i++)
		if (changes->list[i].content && !is_dir(&changes->list[i].after))
			stage(apply, &changes->list[i]);
	add_step(apply, &look, NULL, NULL);
	for (size_t i = changes->count; i > 0; i--)
		if (goes_first(&changes->list[i - 1]))
			add_step(apply,
				 is_dir(&changes->list[i - 1].before) ? &rmdir : &unlink,
				 changes->list[i - 1].path, NULL);
	for (size_t i = 0; i < changes->count; i++)
		place(apply, &changes->list[i]);
	add_step(apply, &rmdir, apply->staging, NULL);
}

/* From the event loop, so that steps do not pile up on the stack. */
static void go_on(struct apply *apply, size_t step)
{
	apply->at = step;
	loop_timer_set(apply->sb->core->loop, &apply->next, 0);
}

/* Only what was staged goes again: these are steps like all others, but may fail. */
static void clean_up(struct apply *apply)
{
	const struct step unlink = {.op = FILES_UNLINK, .may_fail = -1};
	const struct step rmdir = {.op = FILES_RMDIR, .may_fail = -1};
	size_t first = apply->count;
	char path[128];

	for (size_t i = 0; i < apply->changes->count; i++) {
		staged_path(apply, &apply->changes->list[i], path);
		if (apply->changes->list[i].content)
			add_step(apply, &unlink, path, NULL);
	}
	add_step(apply, &rmdir, apply->staging, NULL);
	go_on(apply, first);
}

static void fail(struct apply *apply, const struct error *err)
{
	if (apply->failed) { /* while cleaning up: what cannot be done is left */
		finish(apply);
		return;
	}
	apply->failed = true;
	apply->err = *err;
	clean_up(apply);
}

static void fail_with(struct apply *apply, int code, const char *path)
{
	struct error err;

	error_set(&err, code, "cannot merge %.200s into %s", path ? path : "files",
		  apply->sb->name);
	fail(apply, &err);
}

static void asked(void *ctx, const struct files_reply *reply)
{
	struct apply *apply = ctx;
	const struct step *step = &apply->steps[apply->at];

	if (reply->error && step->may_fail != -1 && reply->error != step->may_fail) {
		fail_with(apply, reply->error, step->path2 ? step->path2 : step->path);
		return;
	}
	go_on(apply, apply->at + 1);
}

static void send(struct apply *apply, struct sandbox *sb,
		 const struct files_request *request, files_done_fn *done)
{
	int r = files_request(sb, request, done, apply, NULL);

	if (r < 0)
		fail_with(apply, -r, request->path);
}

static void ask(struct apply *apply, const struct step *step)
{
	const struct files_request request = {
	    .op = step->op,
	    .flags = step->flags,
	    .mode = step->mode,
	    .uid = step->uid,
	    .gid = step->gid,
	    .mtime_ns = step->mtime_ns,
	    .path = step->path,
	    .path2 = step->path2,
	};

	send(apply, apply->sb, &request, asked);
}

static void close_handle(struct sandbox *sb, uint32_t handle)
{
	const struct files_request request = {.op = FILES_CLOSE, .handle = handle};

	if (handle && sb)
		files_request(sb, &request, NULL, NULL, NULL);
}

static void end_copy(struct apply *apply, int error)
{
	const struct step *step = &apply->steps[apply->at];

	close_handle(step->change->source, apply->from);
	close_handle(apply->sb, apply->to);
	apply->from = apply->to = 0;
	if (error) {
		fail_with(apply, error, step->change->path);
		return;
	}
	go_on(apply, apply->at + 1);
}

static void copy_on(struct apply *apply);

static void copy_request(struct apply *apply, struct sandbox *sb,
			 const struct files_request *request, files_done_fn *done)
{
	int r = files_request(sb, request, done, apply, NULL);

	if (r < 0)
		end_copy(apply, -r);
}

static void written(void *ctx, const struct files_reply *reply)
{
	struct apply *apply = ctx;

	if (reply->error || !reply->value || reply->value > apply->sent) {
		end_copy(apply, reply->error ? reply->error : EIO);
		return;
	}
	apply->copied += reply->value;
	copy_on(apply);
}

static void write_piece(struct apply *apply, const uint8_t *data, size_t len)
{
	const struct files_request request = {.op = FILES_WRITE,
					      .handle = apply->to,
					      .offset = apply->copied,
					      .data = data,
					      .data_len = (uint32_t)len};

	apply->sent = len;
	if (len)
		copy_request(apply, apply->sb, &request, written);
	else
		end_copy(apply, 0);
}

/* It may be more than what was asked for: the guest is hostile. */
static void have_read(void *ctx, const struct files_reply *reply)
{
	struct apply *apply = ctx;
	const struct change *change = apply->steps[apply->at].change;

	if (reply->error)
		end_copy(apply, reply->error);
	else if (reply->data_len > change->after.size - apply->copied)
		end_copy(apply, EIO);
	else
		write_piece(apply, reply->data, reply->data_len);
}

static void copy_on(struct apply *apply)
{
	const struct change *change = apply->steps[apply->at].change;
	uint64_t left = change->after.size - apply->copied;
	size_t len = left < FILES_IO_MAX ? left : FILES_IO_MAX;
	const struct files_request request = {
	    .op = FILES_READ, .handle = apply->from, .offset = apply->copied, .size = len};

	if (!len)
		end_copy(apply, 0);
	else if (change->source)
		copy_request(apply, change->source, &request, have_read);
	else
		write_piece(apply, buf_peek(&change->bytes) + apply->copied, len);
}

static void target_opened(void *ctx, const struct files_reply *reply)
{
	struct apply *apply = ctx;

	apply->to = reply->error ? 0 : reply->handle;
	if (reply->error)
		end_copy(apply, reply->error);
	else
		copy_on(apply);
}

static void open_target(struct apply *apply)
{
	const struct files_request request = {
	    .op = FILES_OPEN,
	    .flags = FILES_O_WRITE | FILES_O_CREAT | FILES_O_EXCL,
	    .mode = 0600,
	    .path = apply->steps[apply->at].path,
	};

	copy_request(apply, apply->sb, &request, target_opened);
}

static void source_opened(void *ctx, const struct files_reply *reply)
{
	struct apply *apply = ctx;

	apply->from = reply->error ? 0 : reply->handle;
	if (reply->error)
		end_copy(apply, reply->error);
	else
		open_target(apply);
}

static void copy(struct apply *apply, const struct step *step)
{
	const struct files_request request = {
	    .op = FILES_OPEN, .flags = FILES_O_READ, .path = step->change->path};

	apply->copied = 0;
	if (step->change->source)
		copy_request(apply, step->change->source, &request, source_opened);
	else
		open_target(apply);
}

static bool is_as_before(const struct change *change, const struct tree *was,
			 const struct tree *is)
{
	const struct tree_entry *a = tree_find(was, change->path);
	const struct tree_entry *b = tree_find(is, change->path);

	if (!a || !b)
		return !a == !b;
	return a->now.mode == b->now.mode && a->now.ino == b->now.ino &&
	       a->now.size == b->now.size && a->now.mtime_ns == b->now.mtime_ns &&
	       a->now.uid == b->now.uid && a->now.gid == b->now.gid;
}

static void looked(void *ctx, struct tree *tree, const struct error *failed)
{
	struct apply *apply = ctx;
	struct error err;

	if (!tree) {
		fail(apply, failed);
		return;
	}
	for (size_t i = 0; i < apply->changes->count; i++) {
		if (is_as_before(&apply->changes->list[i], apply->ours, tree))
			continue;
		error_say(&err, EAGAIN, "%s changed %.200s meanwhile: try again",
			  apply->sb->name, apply->changes->list[i].path);
		fail(apply, &err);
		return;
	}
	go_on(apply, apply->at + 1);
}

static void take_step(struct loop_timer *timer)
{
	struct apply *apply = container_of(timer, struct apply, next);
	const struct step *step = &apply->steps[apply->at];

	if (apply->at == apply->count)
		finish(apply);
	else if (step->kind == STEP_COPY)
		copy(apply, step);
	else if (step->kind == STEP_LOOK)
		fetch_tree(apply->sb, looked, apply);
	else
		ask(apply, step);
}

void apply_begin(struct sandbox *sb, const struct changes *changes, const struct tree *ours,
		 apply_fn *done, void *ctx)
{
	struct apply *apply = calloc(1, sizeof(*apply));
	struct error err;
	uint64_t number;

	if (!apply || getrandom(&number, sizeof(number), 0) != sizeof(number)) {
		free(apply);
		error_set(&err, ENOMEM, "cannot merge");
		done(ctx, &err);
		return;
	}
	*apply = (struct apply){.sb = sandbox_ref(sb),
				.changes = changes,
				.ours = ours,
				.done = done,
				.ctx = ctx};
	loop_timer_init(&apply->next, take_step);
	snprintf(apply->staging, sizeof(apply->staging), ".pffs-merge-%016llx",
		 (unsigned long long)number);
	plan(apply);
	if (apply->failed)
		finish(apply);
	else
		go_on(apply, 0);
}
