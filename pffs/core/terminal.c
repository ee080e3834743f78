#include "pffs/core/terminal.h"

#include "pffs/core/fork.h"
#include "pffs/core/record/freeze.h"
#include "pffs/core/record/journal.h"
#include "pffs/core/watch.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_MAX   0xffffffu /* of an inode number's 24 bits */
#define LINE_MAX     4096u     /* how far the end of a line is looked for */
#define EXIT_HANGUP  (128 + SIGHUP)
#define DEFAULT_SIZE ((struct agent_size){.rows = 24, .cols = 80})

static uint32_t stream_of(const struct terminal *t)
{
	return AGENT_TERMINALS | t->guest_id;
}

struct terminal *terminal_ref(struct terminal *t)
{
	t->refs++;
	return t;
}

void terminal_unref(struct terminal *t)
{
	if (!t || --t->refs)
		return;
	stream_fini(&t->screen);
	stream_fini(&t->keys);
	free(t->command);
	free(t);
}

/* The sandbox's own reference goes. */
static void let_go(struct terminal *t)
{
	list_del(&t->link);
	t->sandbox = NULL;
	terminal_unref(t);
}

static void end(struct terminal *t, int exit_code)
{
	if (t->ended)
		return;
	t->ended = true;
	t->exit_code = exit_code;
	t->sent = t->keys.size;
	stream_drop(&t->keys, t->sent);
	if (t->started && !t->removed)
		sandbox_event(
		    t->sandbox, "terminal_ended",
		    json_pack("{s:s, s:i}", "terminal", t->name, "exit", exit_code));
	watch_notify(&t->watchers);
}

struct terminal *terminal_find(const struct sandbox *sb, const char *name)
{
	struct terminal *t;

	list_for_each (t, &sb->terminals, struct terminal, link)
		if (!t->removed && strcmp(t->name, name) == 0)
			return t;
	return NULL;
}

static struct terminal *find_number(const struct sandbox *sb, uint32_t number)
{
	struct terminal *t;

	list_for_each (t, &sb->terminals, struct terminal, link)
		if (t->number == number)
			return t;
	return NULL;
}

struct terminal *terminal_at(const struct sandbox *sb, uint32_t number)
{
	struct terminal *t = find_number(sb, number);

	return t && !t->removed ? t : NULL;
}

struct terminal *terminal_add(struct sandbox *sb, const char *name, uint32_t number)
{
	struct terminal *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	*t = (struct terminal){
	    .refs = 1,
	    .sandbox = sb,
	    .number = number,
	    .guest_id = number,
	    .size = DEFAULT_SIZE,
	    .screen = STREAM_EMPTY,
	    .keys = STREAM_EMPTY,
	    .window = AGENT_STDIN_WINDOW,
	};
	snprintf(t->name, sizeof(t->name), "%s", name);
	clock_gettime(CLOCK_REALTIME, &t->created);
	list_init(&t->watchers);
	list_add_before(&sb->terminals, &t->link);
	if (sb->last_terminal < number)
		sb->last_terminal = number;
	return t;
}

static unsigned count(const struct sandbox *sb)
{
	unsigned n = 0;

	for (const struct link *at = sb->terminals.next; at != &sb->terminals;
	     at = at->next)
		n++;
	return n;
}

struct terminal *terminal_new(struct sandbox *sb, const char *name, struct error *err)
{
	struct terminal *t;

	if (sb->state == SANDBOX_DEAD)
		error_say(err, EIO, "%s is dead: %s", sb->name, sb->reason);
	else if (!core_name_ok(name))
		error_say(err, EINVAL,
			  "a terminal's name is 1 to 64 of A-Z a-z 0-9 . _ - and does not "
			  "start with a dot");
	else if (terminal_find(sb, name))
		error_say(err, EEXIST, "%s has a terminal %s already", sb->name, name);
	else if (count(sb) >= TERMINALS_MAX || sb->last_terminal >= NUMBER_MAX)
		error_say(err, ENOSPC, "%s has %d terminals, which is all it can have",
			  sb->name, TERMINALS_MAX);
	else if (!(t = terminal_add(sb, name, sb->last_terminal + 1)))
		error_say(err, ENOMEM, "no memory for another terminal");
	else {
		limits_used(sb);
		journal_terminal(t);
		return t;
	}
	return NULL;
}

static void send_start(struct terminal *t)
{
	struct sandbox *sb = t->sandbox;

	t->started = t->sized = true;
	agent_put_terminal(&sb->channel.out, sb->epoch, stream_of(t), &t->size,
			   t->command ? t->command : "");
	sandbox_event(sb, "terminal_started", json_pack("{s:s}", "terminal", t->name));
}

static void send_keys(struct terminal *t)
{
	struct sandbox *sb = t->sandbox;
	bool full = !terminal_takes_keys(t);
	uint8_t piece[16384];

	while (t->window && t->sent < t->keys.size) {
		size_t room = t->window < sizeof(piece) ? t->window : sizeof(piece);
		ssize_t n = stream_read(&t->keys, t->sent, piece, room);

		if (n <= 0 || agent_put(&sb->channel.out, sb->epoch, stream_of(t),
					AGENT_STDIN, piece, (size_t)n) < 0)
			break;
		t->sent += (uint64_t)n;
		t->window -= (uint32_t)n;
	}
	stream_drop(&t->keys, t->sent);
	if (full && terminal_takes_keys(t))
		watch_notify(&t->watchers);
}

/* Is there anything that the guest does not know yet? */
static bool is_due(const struct terminal *t)
{
	if (t->removed)
		return true;
	return t->wanted && !t->ended &&
	       (!t->started || !t->sized || (t->window && t->sent < t->keys.size));
}

static void tell_guest(struct terminal *t)
{
	struct sandbox *sb = t->sandbox;

	if (t->removed) {
		if (t->started)
			agent_put(&sb->channel.out, sb->epoch, stream_of(t),
				  AGENT_TERMINAL_CLOSE, NULL, 0);
		let_go(t);
		return;
	}
	if (!t->started)
		send_start(t);
	if (!t->sized)
		agent_put_size(&sb->channel.out, sb->epoch, stream_of(t), &t->size);
	t->sized = true;
	send_keys(t);
}

void terminals_resume(struct sandbox *sb)
{
	struct terminal *t;
	bool due = false;
	size_t from;

	list_for_each (t, &sb->terminals, struct terminal, link)
		due = due || is_due(t);
	if (!due || fork_in_flight(sb) || freeze_holds(sb) || sb->making)
		return;
	freeze_use(sb);
	if (sb->state != SANDBOX_READY)
		return;
	from = sb->channel.out.len;
	list_for_each (t, &sb->terminals, struct terminal, link)
		if (is_due(t))
			tell_guest(t);
	journal_said(sb, from);
	sb->typed_ns = sb->said_ns;
	vmm_flush(&sb->channel);
}

int terminal_start(struct terminal *t, struct error *err)
{
	if (t->wanted)
		return 0;
	if (!t->sandbox || t->sandbox->state == SANDBOX_DEAD)
		return error_say(err, EIO, "the terminal %s has no machine", t->name);
	t->wanted = true;
	journal_terminal(t);
	terminals_resume(t->sandbox);
	return 0;
}

bool terminal_takes_keys(const struct terminal *t)
{
	return t->ended || t->keys.size - t->sent < TERMINAL_KEYS_MAX;
}

int terminal_type(struct terminal *t, const void *data, size_t len, struct error *err)
{
	int r;

	if (t->ended || t->removed)
		return error_say(err, EIO, "what ran in the terminal %s has ended",
				 t->name);
	if (!terminal_takes_keys(t))
		return error_say(err, EAGAIN,
				 "what runs in the terminal %s does not read what was "
				 "typed: try again later",
				 t->name);
	r = stream_append(&t->keys, data, len);
	if (r < 0)
		return error_set(err, -r, "cannot keep what was typed");
	limits_used(t->sandbox);
	journal_keys(t, data, len);
	terminals_resume(t->sandbox);
	return 0;
}

void terminal_set_size(struct terminal *t, struct agent_size size)
{
	if (t->size.rows == size.rows && t->size.cols == size.cols)
		return;
	t->size = size;
	t->sized = false;
	if (!t->sandbox)
		return;
	journal_terminal(t);
	terminals_resume(t->sandbox);
}

int terminal_set_command(struct terminal *t, const char *command, struct error *err)
{
	char *copy;

	if (t->wanted)
		return error_say(err, EBUSY, "the terminal %s has begun already", t->name);
	if (strlen(command) > AGENT_COMMAND_MAX)
		return error_say(err, EINVAL, "a command is at most %d bytes",
				 AGENT_COMMAND_MAX);
	copy = strdup(command);
	if (!copy)
		return error_set(err, ENOMEM, "cannot keep a command");
	free(t->command);
	t->command = copy;
	if (t->sandbox)
		journal_terminal(t);
	return 0;
}

void terminal_remove(struct terminal *t)
{
	struct sandbox *sb = t->sandbox;

	end(t, EXIT_HANGUP);
	t->removed = true;
	journal_terminal(t);
	if (t->started && sb->state != SANDBOX_DEAD)
		terminals_resume(sb);
	else
		let_go(t);
}

/* Forget the oldest, up to the end of a line if there is one nearby. */
static void trim(struct terminal *t)
{
	uint64_t from = t->screen.size - TERMINAL_KEPT;
	uint8_t piece[LINE_MAX];
	const uint8_t *newline;
	ssize_t n;

	if (t->screen.size < t->kept + TERMINAL_KEPT + 4ull * LINE_MAX)
		return;
	n = stream_read(&t->screen, from, piece, sizeof(piece));
	newline = n > 0 ? memchr(piece, '\n', (size_t)n) : NULL;
	if (newline)
		from += (uint64_t)(newline + 1 - piece);
	stream_drop(&t->screen, from);
	t->kept = from;
}

/* Without memory, some of what was shown is missing. */
static void show(struct terminal *t, const struct agent_frame *frame)
{
	if (stream_append(&t->screen, frame->payload, frame->len) < 0)
		return;
	trim(t);
	watch_notify(&t->watchers);
}

static int handle_taken(struct terminal *t, const struct agent_frame *frame,
			struct error *err)
{
	uint32_t bytes;
	int r = agent_get_stdin_taken(frame, &bytes, err);

	if (r < 0)
		return r;
	if (bytes > AGENT_STDIN_WINDOW - t->window)
		return error_say(err, EPROTO, "the guest took more keys than it was given");
	t->window += bytes;
	terminals_resume(t->sandbox);
	return 0;
}

static int handle_exit(struct terminal *t, const struct agent_frame *frame,
		       struct error *err)
{
	struct agent_exit status;
	int r = agent_get_exit(frame, &status, err);

	if (r == 0)
		end(t, agent_exit_code(&status));
	return r;
}

static struct terminal *find_of(const struct sandbox *sb, uint32_t stream)
{
	struct terminal *t;

	list_for_each (t, &sb->terminals, struct terminal, link)
		if (stream_of(t) == stream)
			return t;
	return NULL;
}

/* A frame of one that has gone crossed its end on the way. */
int terminals_frame(struct sandbox *sb, const struct agent_frame *frame, struct error *err)
{
	struct terminal *t = find_of(sb, frame->stream);
	int r = 0;

	if (!t || !t->started || t->ended)
		return 0;
	journal_heard(sb, frame);
	if (frame->type == AGENT_STDOUT)
		show(t, frame);
	else if (frame->type == AGENT_STDIN_TAKEN)
		r = handle_taken(t, frame, err);
	else if (frame->type == AGENT_EXIT)
		r = handle_exit(t, frame, err);
	journal_tidy(sb);
	return r;
}

void terminals_said(struct sandbox *sb, const struct agent_frame *frame)
{
	struct terminal *t = find_of(sb, frame->stream);

	if (!t)
		return;
	if (frame->type == AGENT_TERMINAL) {
		t->started = t->sized = true;
	} else if (frame->type == AGENT_TERMINAL_SIZE) {
		t->sized = true;
	} else if (frame->type == AGENT_TERMINAL_CLOSE) {
		let_go(t);
	} else if (frame->type == AGENT_STDIN) {
		t->sent += frame->len;
		t->window -= (uint32_t)frame->len;
		stream_drop(&t->keys, t->sent);
	}
}

int terminal_restore(struct sandbox *sb, const struct terminal *facts)
{
	struct terminal *t = find_number(sb, facts->number);

	if (!t)
		t = terminal_add(sb, facts->name, facts->number);
	if (!t)
		return -ENOMEM;
	t->wanted = facts->wanted;
	t->sized &= t->size.rows == facts->size.rows && t->size.cols == facts->size.cols;
	t->size = facts->size;
	free(t->command);
	t->command = facts->command ? strdup(facts->command) : NULL;
	if (!facts->removed)
		return 0;
	end(t, EXIT_HANGUP);
	t->removed = true;
	if (!t->started)
		let_go(t);
	return 0;
}

static int copy_streams(struct terminal *to, const struct terminal *from)
{
	int r;

	to->screen.size = to->kept = from->kept;
	r = stream_copy(&to->screen, &from->screen, from->kept);
	if (r < 0)
		return r;
	to->keys.size = to->sent = from->sent;
	return stream_copy(&to->keys, &from->keys, from->sent);
}

static int copy_one(struct sandbox *child, const struct terminal *from)
{
	bool taken = terminal_find(child, from->name);
	struct terminal *to = terminal_add(child, from->name, child->last_terminal + 1);

	if (!to)
		return -ENOMEM;
	to->guest_id = from->guest_id;
	to->size = from->size;
	to->wanted = from->wanted;
	to->started = from->started;
	to->sized = from->sized;
	to->removed = from->removed || taken;
	to->ended = from->ended;
	to->exit_code = from->exit_code;
	to->window = from->window;
	if (from->command && !(to->command = strdup(from->command)))
		return -ENOMEM;
	return copy_streams(to, from);
}

int terminals_fork(struct sandbox *child, const struct sandbox *parent)
{
	const struct terminal *from;
	struct terminal *own;
	int r = 0;

	if (child->last_terminal < parent->last_terminal)
		child->last_terminal = parent->last_terminal;
	list_for_each (own, &child->terminals, struct terminal, link)
		own->guest_id = ++child->last_terminal;
	list_for_each (from, &parent->terminals, struct terminal, link)
		if (r == 0)
			r = copy_one(child, from);
	return r;
}

/* A new number: one of its own terminals may have had the old one. */
void terminals_move(struct sandbox *sb, struct sandbox *from)
{
	struct terminal *t;

	terminals_drop(sb);
	if (sb->last_terminal < from->last_terminal)
		sb->last_terminal = from->last_terminal;
	list_for_each (t, &from->terminals, struct terminal, link) {
		list_del(&t->link);
		t->sandbox = sb;
		t->number = ++sb->last_terminal;
		list_add_before(&sb->terminals, &t->link);
	}
}

bool terminals_watched(const struct sandbox *sb)
{
	const struct terminal *t;

	list_for_each (t, &sb->terminals, struct terminal, link)
		if (!t->ended && !list_empty(&t->watchers))
			return true;
	return false;
}

void terminals_end(struct sandbox *sb)
{
	struct terminal *t;

	list_for_each (t, &sb->terminals, struct terminal, link) {
		end(t, EXIT_KILLED);
		if (t->removed)
			let_go(t);
	}
}

void terminals_drop(struct sandbox *sb)
{
	struct terminal *t;

	list_for_each (t, &sb->terminals, struct terminal, link) {
		end(t, EXIT_KILLED);
		t->removed = true;
		let_go(t);
	}
}
