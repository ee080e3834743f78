#include "pffs/core/files/files.h"

#include "pffs/core/files/files_cache.h"
#include "pffs/core/files/files_node.h"
#include "pffs/core/fork.h"
#include "pffs/core/merge/merge.h"
#include "pffs/core/record/freeze.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#define LOCKS_AT_ONCE 32u /* that are tried again, so often: */
#define LOCKS_MS      50u

struct files_call {
	struct link link; /* on files->waiting, files->flying or files->locking */
	struct files *files;
	files_done_fn *done; /* NULL: nobody waits */
	void *ctx;
	struct buf frame;
	uint32_t stream; /* 0 until it was sent */
	bool has_handle; /* it names one */
	bool opens;	 /* its reply has one */
	bool waits;	 /* for a lock, in the guest */
	bool changes;	 /* something that is known of directories, perhaps */
	bool tries;	 /* was sent to take it or not, but not to wait */
	struct lock_call {
		uint8_t op; /* FILES_SETLK, FILES_FLOCK, or 0 */
		uint32_t handle, mode;
		uint64_t owner, offset, size;
	} lock;
};

static void try_locks(struct loop_timer *timer);

struct files *files_of(struct sandbox *sb)
{
	struct files *files = sb->files;

	if (files)
		return files;
	files = calloc(1, sizeof(*files));
	if (!files)
		return NULL;
	files->sb = sb;
	files->epoch = 1;
	list_init(&files->waiting);
	list_init(&files->flying);
	list_init(&files->locking);
	loop_timer_init(&files->lock_timer, try_locks);
	sb->files = files;
	return files;
}

/* It is not in flight any more. */
static void land(struct files_call *call)
{
	if (!call->stream)
		return;
	call->files->in_flight--;
	call->files->bytes_in_flight -= call->frame.len;
	call->files->waits -= call->waits && !call->tries;
	call->stream = 0;
}

static void call_free(struct files_call *call)
{
	land(call);
	list_del(&call->link);
	buf_fini(&call->frame);
	free(call);
}

static void close_handle(struct sandbox *sb, uint32_t handle)
{
	const struct files_request request = {.op = FILES_CLOSE, .handle = handle};

	files_request(sb, &request, NULL, NULL, NULL);
}

/* Without waiting. */
static struct files_request lock_request(const struct lock_call *lock)
{
	return (struct files_request){
	    .op = lock->op,
	    .handle = lock->handle,
	    .mode = lock->mode,
	    .owner = lock->owner,
	    .offset = lock->offset,
	    .size = lock->size,
	};
}

static void unlock(struct sandbox *sb, const struct lock_call *lock)
{
	struct files_request request = lock_request(lock);

	request.mode = lock->op == FILES_FLOCK ? LOCK_UN : F_UNLCK;
	files_request(sb, &request, NULL, NULL, NULL);
}

/* What the guest gave to nobody: it did so before it heard that nobody waits. */
static void give_back(struct sandbox *sb, const struct lock_call *lock, uint32_t handle)
{
	if (handle)
		close_handle(sb, handle);
	if (lock->op)
		unlock(sb, lock);
}

/* What a program may be told. ENOSYS would turn the operation off for the whole mount,
 * and the kernel takes nothing above 511. */
static int shown_errno(int error)
{
	if (error == ENOSYS)
		return EOPNOTSUPP;
	return error < 0 || error > 511 ? EIO : error;
}

static void finish(struct files_call *call, struct files_reply *reply)
{
	struct sandbox *sb = call->files->sb;
	files_done_fn *done = call->done;
	void *ctx = call->ctx;
	struct lock_call lock = call->lock;
	uint32_t handle = call->opens ? reply->handle : 0;
	bool unknown = !done && call->changes; /* nobody learns what it has changed */

	if (call->changes)
		files_statfs_drop(sb);
	call_free(call);
	if (unknown)
		files_cache_clear(sb->files);
	limits_used(sb);
	reply->error = shown_errno(reply->error);
	if (done)
		done(ctx, reply);
	else if (!reply->error)
		give_back(sb, &lock, handle);
}

static void fail(struct files_call *call, int error)
{
	struct files_reply reply = {.error = error, .watch = -1};

	finish(call, &reply);
}

static bool may_send(const struct sandbox *sb)
{
	const struct files *files = sb->files;

	return sb->state == SANDBOX_READY && sb->channel.vmm && !fork_waits(sb) &&
	       !freeze_holds(sb) && !merge_holds_files(sb) &&
	       files->in_flight < FILES_IN_FLIGHT &&
	       files->bytes_in_flight < FILES_BYTES_IN_FLIGHT;
}

/* Streams are one pffs's, not one sandbox's, so that what a fork's guest still answers
 * to its parent's pffs meets no call of its own. */
static uint32_t next_stream(struct core *core)
{
	if (++core->files_stream == 0)
		core->files_stream++;
	return core->files_stream;
}

static int put_call(struct files_call *call, uint32_t stream)
{
	struct sandbox *sb = call->files->sb;
	struct files_request request;

	if (!call->tries)
		return agent_put(&sb->channel.out, sb->epoch, stream, AGENT_FILES,
				 buf_peek(&call->frame) + AGENT_HEADER,
				 call->frame.len - AGENT_HEADER);
	request = lock_request(&call->lock);
	return files_put_request(&sb->channel.out, sb->epoch, stream, &request);
}

static int send_call(struct files_call *call)
{
	struct files *files = call->files;
	uint32_t stream = next_stream(files->sb->core);
	int r;

	call->tries = call->waits && files->waits >= FILES_WAITS;
	r = put_call(call, stream);
	if (r < 0)
		return r;
	call->stream = stream;
	files->waits += call->waits && !call->tries;
	files->in_flight++;
	files->bytes_in_flight += call->frame.len;
	list_del(&call->link);
	list_add_before(&files->flying, &call->link);
	return 0;
}

static bool is_awaited(const struct link *calls)
{
	const struct files_call *call;

	list_for_each (call, calls, struct files_call, link)
		if (call->done)
			return true;
	return false;
}

void files_next(struct sandbox *sb)
{
	struct files *files = sb->files;
	bool sent = false;

	if (!files)
		return;
	if (is_awaited(&files->waiting))
		freeze_use(sb);
	while (!list_empty(&files->waiting) && may_send(sb)) {
		if (send_call(container_of(files->waiting.next, struct files_call, link)) <
		    0)
			break;
		sent = true;
	}
	if (sent)
		vmm_flush(&sb->channel);
}

/* It was tried, and another holds the lock. */
static void try_later(struct files_call *call)
{
	struct files *files = call->files;

	land(call);
	list_del(&call->link);
	if (list_empty(&files->locking))
		loop_timer_set(files->sb->core->loop, &files->lock_timer, LOCKS_MS);
	list_add_before(&files->locking, &call->link);
}

/* In turn, so that each is tried again and again. */
static void try_locks(struct loop_timer *timer)
{
	struct files *files = container_of(timer, struct files, lock_timer);
	struct link *first;

	for (unsigned i = 0; i < LOCKS_AT_ONCE && !list_empty(&files->locking); i++) {
		first = files->locking.next;
		list_del(first);
		list_add_before(&files->waiting, first);
	}
	if (!list_empty(&files->locking))
		loop_timer_set(files->sb->core->loop, timer, LOCKS_MS);
	files_next(files->sb);
}

/* The machine of a template answers nobody any more; others that are hidden do. */
static int check(const struct sandbox *sb)
{
	if (sb->state == SANDBOX_STORED && !vmm_connected(&sb->core->vmm))
		return -EIO;
	if (sb->state == SANDBOX_DEAD || sb->gone ||
	    sb->core->templates.list[sb->template].machine == sb)
		return -EIO;
	return 0;
}

int files_request(struct sandbox *sb, const struct files_request *request,
		  files_done_fn *done, void *ctx, struct files_call **call_out)
{
	int r = check(sb);
	struct files *files = r < 0 ? NULL : files_of(sb);
	struct files_call *call = files ? calloc(1, sizeof(*call)) : NULL;

	if (!call)
		return r < 0 ? r : -ENOMEM;
	*call = (struct files_call){
	    .files = files,
	    .done = done,
	    .ctx = ctx,
	    .has_handle = request->handle || request->handle2,
	    .opens = request->op == FILES_OPEN || request->op == FILES_TREE ||
		     request->flags & FILES_KEEP,
	    .waits = done && request->flags & FILES_WAIT,
	    .changes = done && files_asks_change(request),
	};
	if (done && (request->op == FILES_SETLK || request->op == FILES_FLOCK))
		call->lock =
		    (struct lock_call){request->op,    request->handle, request->mode,
				       request->owner, request->offset, request->size};
	list_add_before(&files->waiting, &call->link);
	r = files_put_request(&call->frame, 0, 0, request);
	if (r < 0) {
		call_free(call);
		return r;
	}
	if (call_out)
		*call_out = call;
	files_next(sb);
	return 0;
}

bool files_sent(const struct files_call *call)
{
	return call->stream;
}

void files_cancel(struct files_call *call)
{
	struct sandbox *sb = call->files->sb;

	call->done = NULL;
	if (!call->stream) {
		call_free(call);
		return;
	}
	if (agent_put(&sb->channel.out, sb->epoch, call->stream, AGENT_FILES_CANCEL, NULL,
		      0) == 0)
		vmm_flush(&sb->channel);
}

static struct files_call *find_call(const struct files *files, uint32_t stream)
{
	struct files_call *call;

	list_for_each (call, &files->flying, struct files_call, link)
		if (call->stream == stream)
			return call;
	return NULL;
}

/* A reply that nobody asked for is a late one, to a parent or in an epoch before. */
static int take_reply(struct sandbox *sb, const struct agent_frame *frame,
		      struct error *err)
{
	struct files_call *call = sb->files ? find_call(sb->files, frame->stream) : NULL;
	struct files_reply reply;
	int r = files_get_reply(frame, &reply, err);

	if (r < 0 || !call)
		return r;
	if (reply.watch > 0)
		sb->files->links_told = reply.links_told;
	if (call->tries && call->done && reply.error == EAGAIN)
		try_later(call);
	else
		finish(call, &reply);
	merge_files_rest(sb);
	freeze_next(sb);
	files_next(sb);
	return 0;
}

static int take_changed(struct sandbox *sb, const struct agent_frame *frame,
			struct error *err)
{
	struct cursor c = cursor_over(frame->payload, frame->len);
	bool all = false;

	while (cursor_left(&c) && !c.overflow) {
		uint32_t watch = cursor_get_u32(&c);

		if (!c.overflow && sb->files && !all)
			files_cache_changed(sb->files, watch);
		all |= watch == UINT32_MAX;
	}
	return c.overflow ? error_say(err, EPROTO, "a list of watches is malformed") : 0;
}

int files_frame(struct sandbox *sb, const struct agent_frame *frame, struct error *err)
{
	return frame->type == AGENT_FILES_REPLY ? take_reply(sb, frame, err)
						: take_changed(sb, frame, err);
}

/* Back to the front of the queue, in the order in which they were sent. */
static void send_again(struct files *files)
{
	struct link *front = files->waiting.next;
	struct files_call *call;

	list_for_each (call, &files->flying, struct files_call, link) {
		land(call);
		list_del(&call->link);
		list_add_before(front, &call->link);
	}
	list_for_each (call, &files->locking, struct files_call, link) {
		list_del(&call->link);
		list_add_before(&files->waiting, &call->link);
	}
}

static struct files_call *find_of_old_epoch(const struct files *files)
{
	struct files_call *call;

	list_for_each (call, &files->waiting, struct files_call, link)
		if (call->has_handle || !call->done)
			return call;
	return NULL;
}

void files_epoch_changed(struct sandbox *sb)
{
	struct files *files = sb->files;
	struct files_call *call;

	if (!files)
		return;
	files->epoch++;
	files_cache_clear(files);
	files_statfs_drop(sb);
	send_again(files);
	/* An answer may make calls; these are of the new epoch, and have no handles yet. */
	while ((call = find_of_old_epoch(files)))
		fail(call, EBADF);
}

bool files_busy(const struct sandbox *sb)
{
	const struct files *files = sb->files;

	return files && (is_awaited(&files->waiting) || is_awaited(&files->flying) ||
			 is_awaited(&files->locking));
}

bool files_at_work(const struct sandbox *sb)
{
	const struct files_call *call;

	if (!sb->files)
		return false;
	list_for_each (call, &sb->files->flying, struct files_call, link)
		if (call->done && (!call->waits || call->tries))
			return true;
	return false;
}

void files_end(struct sandbox *sb)
{
	struct files *files = sb->files;

	if (!files)
		return;
	files_cache_clear(files);
	send_again(files);
	while (!list_empty(&files->waiting))
		fail(container_of(files->waiting.next, struct files_call, link), EIO);
}

void files_free(struct sandbox *sb)
{
	struct files *files = sb->files;

	if (!files)
		return;
	files_end(sb);
	files_cache_clear(files);
	loop_timer_cancel(&files->lock_timer);
	files_nodes_free(files);
	free(files->watches);
	free(files);
	sb->files = NULL;
}
