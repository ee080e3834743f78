/*
 * Fuzz target: what a guest's agent and file server say, to a core that has a sandbox with
 * runs, a terminal and questions about files. The input is a script: frames whose length
 * is right and whose stream may be that of something under way, bytes that need not be
 * frames, and what users do meanwhile. What is wrong may end the sandbox, and nothing
 * else: `b`, which is there too, has to run on.
 */
#include "tests/fuzz/world.h"

#include "pffs/core/files/files.h"
#include "pffs/core/guest/guest.h"
#include "pffs/core/merge/merge_files.h"
#include "pffs/core/terminal.h"

struct script {
	struct cursor in;
	struct world w;
	struct sandbox *other;
	struct terminal *terminal;
};

static const enum agent_type types[] = {
    AGENT_READY,       AGENT_STARTED, AGENT_STDOUT,	 AGENT_STDERR,	      AGENT_EXIT,
    AGENT_STDIN_TAKEN, AGENT_AWAKE,   AGENT_RESET_DONE,	 AGENT_FILES_CHANGED, AGENT_CHANGES,
    AGENT_FIGURE,      AGENT_HELD,    AGENT_FILES_REPLY, AGENT_OUT_OF_MEMORY, AGENT_STARTED,
};

static void to_core(struct script *s, struct buf *frames)
{
	world_say(&s->w, s->w.box->vm, frames);
	buf_fini(frames);
	world_listen(&s->w);
	world_turn(&s->w);
}

static uint32_t get_stream(struct script *s)
{
	uint8_t which = cursor_get_u8(&s->in);

	if (which < 0x80)
		return which;
	if (which < 0xc0)
		return AGENT_TERMINALS + which % 4;
	return s->w.core.files_stream - which % 8;
}

static int step_frame(void *script)
{
	struct script *s = script;
	struct buf frames = {0};
	enum agent_type type =
	    types[cursor_get_u8(&s->in) % (sizeof(types) / sizeof(*types))];
	uint32_t stream = get_stream(s);
	size_t len = cursor_get_u8(&s->in);

	if (len > cursor_left(&s->in))
		len = cursor_left(&s->in);
	agent_put(&frames, 1, stream, type, cursor_get_raw(&s->in, len), len);
	to_core(s, &frames);
	return 0;
}

static int step_bytes(void *script)
{
	struct script *s = script;
	struct buf bytes = {0};
	size_t len = cursor_get_u8(&s->in);
	const void *data = cursor_get_raw(&s->in, len);

	if (data)
		buf_append(&bytes, data, len);
	to_core(s, &bytes);
	return 0;
}

static struct files_attr get_attr(struct cursor *in)
{
	return (struct files_attr){.ino = cursor_get_u8(in),
				   .mode = cursor_get_u16(in),
				   .nlink = cursor_get_u8(in),
				   .size = cursor_get_u16(in)};
}

/* A reply about files whose fields the input chooses. */
static int step_reply(void *script)
{
	struct script *s = script;
	struct buf frames = {0};
	uint8_t how = cursor_get_u8(&s->in);
	struct files_reply reply = {.watch = (int8_t)cursor_get_u8(&s->in),
				    .error = how & 1 ? cursor_get_u8(&s->in) : 0,
				    .handle = cursor_get_u8(&s->in),
				    .value = cursor_get_u8(&s->in),
				    .has_attr = how & 2,
				    .has_dir = how & 4,
				    .has_attr2 = how & 8,
				    .has_dir2 = how & 16,
				    .links_told = how & 32};
	uint32_t stream = get_stream(s);

	reply.attr = reply.attr2 = get_attr(&s->in);
	reply.dir = reply.dir2 = get_attr(&s->in);
	reply.data_len = cursor_get_u8(&s->in);
	reply.data = cursor_get_raw(&s->in, reply.data_len);
	if (!reply.data)
		return 1;
	put_reply(&frames, 1, stream, &reply);
	to_core(s, &frames);
	return 0;
}

static int step_run(void *script)
{
	struct script *s = script;
	struct run *run = sandbox_begin_run(s->w.box, AGENT_PYTHON, NULL);

	if (!run)
		return 1;
	run_write(run, "1\n", 2);
	sandbox_submit_run(run);
	world_turn(&s->w);
	return 0;
}

static int step_ctl(void *script)
{
	static const char *const verbs[] = {"interrupt", "kill", "reset"};
	struct script *s = script;
	struct error err;

	guest_ctl(s->w.box, verbs[cursor_get_u8(&s->in) % 3], &err);
	world_turn(&s->w);
	return 0;
}

static int step_type(void *script)
{
	static const char keys[1024];
	struct script *s = script;
	struct error err;

	terminal_type(s->terminal, keys, cursor_get_u8(&s->in) * 4ull, &err);
	world_turn(&s->w);
	return 0;
}

static void ignore_reply(void *ctx, const struct files_reply *reply)
{
	(void)ctx;
	(void)reply;
}

static int step_ask(void *script)
{
	struct script *s = script;
	struct files_request request = {.op = cursor_get_u8(&s->in) % FILES_OP_MAX + 1,
					.flags = cursor_get_u8(&s->in) & FILES_WATCH,
					.path = cursor_get_u8(&s->in) & 1 ? "d/f" : "",
					.path2 = "d/g",
					.handle = 1,
					.size = 4096};

	files_request(s->w.box, &request, ignore_reply, NULL, NULL);
	world_turn(&s->w);
	return 0;
}

static void ignore_merge(void *ctx, const struct error *err)
{
	(void)ctx;
	(void)err;
}

/* Its files are compared with those of a fork, and so its trees read. */
static int step_merge(void *script)
{
	static char name[] = "c", *names[] = {name};
	struct script *s = script;
	struct merge_files *merge;
	struct error err;

	merge_files_begin(s->w.box, names, 1, MERGE3_FAVOUR_NONE, ignore_merge, NULL,
			  &merge, &err);
	world_turn(&s->w);
	return 0;
}

static script_step *const steps[] = {
    step_frame, step_bytes, step_reply, step_run,   step_ctl,	step_type,
    step_ask,	step_merge, step_frame, step_reply, step_frame, step_reply,
};

static void have_fork(void *ctx, struct sandbox *const *children, const struct error *err)
{
	(void)children;
	*(bool *)ctx = !err;
}

static void begin(struct script *s)
{
	static const char *const names[] = {"b"}, *const fork_names[] = {"c"};
	struct fork_order other = {.folder = FOLDER_ROOT, .names = names, .count = 1};
	struct fork_order fork = {.names = fork_names, .count = 1};
	struct error err;
	bool made = false, forked = false;

	world_begin(&s->w);
	template_fork(&s->w.core, 0, &other, have_fork, &made, &err);
	fork.folder = FOLDER_FORKS(s->w.box->serial);
	fork_begin(s->w.box, &fork, have_fork, &forked, &err);
	world_turn(&s->w);
	if (!made || !forked)
		abort();
	s->other = sandbox_find(&s->w.core, FOLDER_ROOT, "b");
	s->terminal = terminal_new(s->w.box, "t", &err);
	terminal_start(s->terminal, &err);
	world_turn(&s->w);
	s->w.silent = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = {.in = cursor_over(data, size)};

	begin(&s);
	script_run(&s.in, steps, sizeof(steps) / sizeof(steps[0]), &s);
	if (strcmp(sandbox_state_name(s.other), "ready") != 0)
		abort();
	world_end(&s.w);
	return 0;
}
