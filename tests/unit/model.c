/*
 * For tests/unit/model.t: sandboxes whose guests are agents, ordinary processes each with
 * an overlay of its own, and a vmctl that this program plays.
 *
 * model DIR: DIR/lower is the image, DIR/NAME/root and DIR/NAME/upper are the files of a
 * machine: of demo, of its forks a and b, and of point, what it was when it was forked;
 * DIR/idle.py is what they have for a REPL.
 * Each line of standard input is an order, "diff FROM TO", "changes NAME", "patch FROM TO"
 * or "merge" and what is written to demo's merge behind "files". What comes of it is
 * printed, and behind it a line with the errno, 0 for none.
 */
#define SPIN_MS 1
#include "tests/unit/forks.h"

#include "pffs/core/diff/diff.h"
#include "pffs/core/merge/merge_files.h"
#include "util/cleanup.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#define ORDER_MAX   4096
#define WORDS_MAX   8
#define PATIENCE_MS 60000u /* for one order */

struct machine {
	const char *name;
	uint32_t vm;
	pid_t pid;
	struct loop_source source;
	struct buf out; /* to its agent */
};

static struct machine machines[] = {
    {.name = "demo", .vm = PARENT},
    {.name = "a", .vm = 6},
    {.name = "b", .vm = 7},
    {.name = "point", .vm = FIRST_TWIN},
};

#define MACHINES (sizeof(machines) / sizeof(machines[0]))

static struct loop_source link_source; /* the other end of the core's link */
static struct buf to_core;
static int result; /* of the order: an errno */

static void flush(struct loop_source *source, struct buf *out)
{
	if (buf_flush(out, source->fd) < 0)
		exit(1);
	loop_mod(&loop, source, out->len ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void from_agent(struct loop_source *source, uint32_t revents)
{
	struct machine *machine = container_of(source, struct machine, source);
	struct buf in = {0};
	ssize_t n;

	if (revents & EPOLLOUT)
		flush(source, &machine->out);
	n = buf_fill(&in, source->fd, 65536);
	if (n == 0 || (n < 0 && n != -EAGAIN))
		loop_del(&loop, source);
	if (n > 0)
		link_put(&to_core, machine->vm, LINK_DATA, buf_peek(&in), in.len);
	buf_fini(&in);
	flush(&link_source, &to_core);
}

static void to_agent(uint32_t vm, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < MACHINES; i++) {
		if (machines[i].vm != vm || machines[i].source.fd < 0)
			continue;
		buf_append(&machines[i].out, data, len);
		flush(&machines[i].source, &machines[i].out);
	}
}

/* What is asked of vmctl when all machines are there it only has to agree to. */
static void from_core(struct loop_source *source, uint32_t revents)
{
	struct link_frame frame;

	(void)source;
	(void)revents;
	while (buf_fill(&peer_in, peer, 65536) > 0)
		;
	while (link_next(&peer_in, &frame, NULL) == 1) {
		if (frame.type == LINK_DATA) {
			to_agent(frame.channel, frame.payload, frame.len);
			link_put_credit(&to_core, frame.channel, frame.len);
		} else if (frame.type == LINK_CONTROL) {
			json_t *order =
			    json_loadb((const char *)frame.payload, frame.len, 0, NULL);
			char text[64];

			snprintf(text, sizeof(text), "{\"seq\":%d}",
				 (int)json_integer_value(json_object_get(order, "seq")));
			link_put(&to_core, 0, LINK_CONTROL, text, strlen(text));
			json_decref(order);
		}
		buf_consume(&peer_in, link_frame_size(&frame));
	}
	flush(&link_source, &to_core);
}

static void set_folder(const char *variable, const char *dir, const char *name,
		       const char *what)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s/%s", dir, name, what);
	setenv(variable, path, 1);
}

static void __attribute__((noreturn))
be_agent(const char *agent, const char *dir, const char *name, int fd)
{
	char number[16];

	set_folder("PFFS_FILES_ROOT", dir, name, "root");
	set_folder("PFFS_FILES_UPPER", dir, name, "upper");
	set_folder("PFFS_FILES_LOWER", dir, "lower", ".");
	setenv("PFFS_RUN_DIR", dir, 1);
	set_folder("PFFS_REPL", dir, ".", "idle.py");
	snprintf(number, sizeof(number), "%d", fd);
	fcntl(fd, F_SETFD, 0);
	execl(agent, agent, "--port", number, (char *)NULL);
	_exit(127);
}

static void start_agent(struct machine *machine, const char *agent, const char *dir)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		exit(1);
	machine->pid = fork();
	if (machine->pid == 0)
		be_agent(agent, dir, machine->name, fds[1]);
	close(fds[1]);
	io_set_nonblock(fds[0], true);
	machine->source = LOOP_SOURCE_NONE;
	loop_add(&loop, &machine->source, fds[0], EPOLLIN, from_agent);
}

static void end_agents(void)
{
	for (size_t i = 0; i < MACHINES; i++) {
		loop_del(&loop, &machines[i].source);
		kill(machines[i].pid, SIGKILL);
		waitpid(machines[i].pid, NULL, 0);
		buf_fini(&machines[i].out);
	}
}

static struct sandbox *sandbox_of(struct sandbox *demo, const char *name)
{
	return strcmp(name, "demo") == 0 ? demo : child(demo, name);
}

static void told_diff(void *ctx, char *text, size_t len, const struct error *err)
{
	(void)ctx;
	result = err ? -err->code : 0;
	if (text)
		fwrite(text, 1, len, stdout);
	free(text);
	loop_stop(&loop);
}

static void told_merge(void *ctx, const struct error *err)
{
	(void)ctx;
	result = err ? -err->code : 0;
	loop_stop(&loop);
}

static void merge(struct sandbox *demo, char **words, size_t count)
{
	enum merge3_favour favour = MERGE3_FAVOUR_NONE;
	struct merge_files *handle;
	struct error err;

	if (strcmp(words[0], "--ours") == 0)
		favour = MERGE3_FAVOUR_OURS;
	if (strcmp(words[0], "--theirs") == 0)
		favour = MERGE3_FAVOUR_THEIRS;
	if (merge_files_begin(demo, words + !!favour, count - !!favour, favour, told_merge,
			      NULL, &handle, &err) < 0)
		result = -err.code;
	else
		loop_run(&loop);
	fputs(demo->merge_report ? demo->merge_report : "", stdout);
}

static void diff(struct sandbox *demo, char **words)
{
	struct diff_order order = {.from = sandbox_of(demo, words[1]),
				   .to = sandbox_of(demo, words[2] ? words[2] : words[1]),
				   .form = *words[0] == 'p' ? DIFF_PATCH : DIFF_LIST};

	if (*words[0] == 'c')
		order.from_of = DIFF_FORK_POINT;
	result = -1;
	diff_begin(&order, told_diff, NULL);
	if (result < 0)
		loop_run(&loop);
}

static void too_late(struct loop_timer *timer)
{
	(void)timer;
	fprintf(stderr, "model: an order takes too long\n");
	exit(1);
}

static void obey(struct sandbox *demo, char *line)
{
	char *words[WORDS_MAX + 1] = {0}, *rest = line, *word;
	struct loop_timer limit;
	size_t count = 0;

	while ((word = strsep(&rest, " \n")) && count < WORDS_MAX)
		if (*word)
			words[count++] = word;
	if (count < 2)
		exit(2);
	result = 0;
	loop_timer_init(&limit, too_late);
	loop_timer_set(&loop, &limit, PATIENCE_MS);
	if (strcmp(words[0], "merge") == 0)
		merge(demo, words + 1, count - 1);
	else
		diff(demo, words);
	loop_timer_cancel(&limit);
	printf("%d\n", result);
	fflush(stdout);
}

static struct sandbox *make_world(void)
{
	static const char *const names[] = {"a", "b"};
	struct sandbox *demo;

	begin_world();
	demo = make_parent();
	order(demo, names, 2);
	listen_to_core();
	answer_vms(machines[1].vm, 2);
	awake(machines[1].vm, 2);
	awake(machines[2].vm, 2);
	return demo;
}

int main(int argc, char **argv)
{
	const char *agent = getenv("PFFS_AGENT");
	char line[ORDER_MAX];
	struct sandbox *demo;
	int out;

	if (argc != 2 || !agent)
		return 2;
	out = dup(STDOUT_FILENO);
	if (out < 0 || !freopen("/dev/null", "w", stdout)) /* what the harness says */
		return 1;
	signal(SIGPIPE, SIG_IGN);
	demo = make_world();
	dup2(out, STDOUT_FILENO);
	for (size_t i = 0; i < MACHINES; i++)
		start_agent(&machines[i], agent, argv[1]);
	link_source = LOOP_SOURCE_NONE;
	loop_add(&loop, &link_source, peer, EPOLLIN, from_core);
	for (size_t i = 0; i < MACHINES; i++) { /* who it is, above all */
		const struct buf *told = &channels[machines[i].vm];

		to_agent(machines[i].vm, buf_peek(told), told->len);
	}
	while (fgets(line, sizeof(line), stdin))
		obey(demo, line);
	end_agents();
	loop_del(&loop, &link_source);
	buf_fini(&to_core);
	end_world();
	return 0;
}
