/*
 * Fuzz target: what the broker is told by the process of a VM, which its guest may have
 * taken over, and by its clients. The broker is the real one, with a VM that it believes a
 * former broker has left to it; the target is the other end of that VM's sockets, and two
 * clients. The input is a script of messages, spelt in the words of the protocols.
 */
#include "tests/fuzz/script.h"
#include "tests/fuzz/tokens.h"

#include "util/io.h"
#include "vmctl/broker.h"
#include "vmctl/client.h"
#include "vmctl/spawn.h"
#include "vmctl/vmproc.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS	    2u
#define QUIET_STEPS 2

static const char *const words[] = {
    /* Whole messages, */
    "{\"op\":\"attach\",\"seq\":1,\"vm\":1}",
    "{\"op\":\"fork\",\"seq\":2,\"vm\":1,\"names\":[\"b\",\"c\"]}",
    "{\"op\":\"fork\",\"seq\":2,\"vm\":1,\"names\":[\"b\"],\"twin\":\"t\"}",
    "{\"op\":\"stat\",\"seq\":3,\"vm\":1}",
    "{\"op\":\"stat\",\"seq\":3}",
    "{\"op\":\"list\",\"seq\":4}",
    "{\"op\":\"log\",\"seq\":4,\"vm\":1}",
    "{\"op\":\"kill\",\"seq\":4,\"vm\":1}",
    "{\"op\":\"park\",\"seq\":5,\"vm\":1}",
    "{\"op\":\"resume\",\"seq\":6,\"vm\":1}",
    "{\"op\":\"destroy\",\"seq\":7,\"vm\":1}",
    "{\"op\":\"limit\",\"seq\":8,\"vm\":1,\"cpu_percent\":5}",
    "{\"op\":\"freeze\",\"seq\":9,\"vm\":1,\"image\":\"a\"}",
    "{\"op\":\"create\",\"seq\":9,\"name\":\"b\",\"template\":\"default\"}",
    "{\"op\":\"policy\",\"seq\":9,\"vm\":1,\"policy\":{\"egress\":\"off\"}}",
    "{\"op\":\"network\",\"seq\":9,\"dns\":[\"127.0.0.1\"]}",
    "{\"seq\":1}",
    "{\"seq\":2}",
    "{\"seq\":3}",
    "{\"event\":\"started\"}",
    "{\"event\":\"busy\"}",
    "{\"event\":\"dead\",\"reason\":\"a\",\"log\":\"b\",\"errno\":5}",
    "{\"event\":\"child\",\"pid\":1,\"status\":0}",
    "{\"seq\":1,\"error\":\"a\",\"errno\":5}",
    "{\"seq\":1,\"pids\":[1,2],\"pause_usec\":1}",
    /* and parts of others. */
    "{\"op\":\"",
    "{\"event\":\"",
    "\",\"seq\":",
    ",\"vm\":",
    ",\"pid\":",
    "}",
    "{\"seq\":",
    "\",\"",
    "\":\"",
    "\":",
    ",\"",
    "\"",
    "[",
    "]",
    "fork",
    "stat",
    "list",
    "attach",
    "detach",
    "create",
    "destroy",
    "park",
    "resume",
    "freeze",
    "save",
    "thaw",
    "limit",
    "images",
    "drop",
    "bye",
    "policy",
    "network",
    "names",
    "vms",
    "twin",
    "error",
    "errno",
    "started",
    "busy",
    "dead",
    "child",
    "reason",
    "log",
    "status",
    "bytes",
    "sent",
    "received",
    "agent_in",
    "agent_out",
    "pause_usec",
    "image",
    "group",
    "name",
    "template",
    "from",
    "after",
    "percent",
    "memory",
    "1",
    "2",
    "0",
    "-1",
    "4294967296",
    "true",
    "null",
    "a",
    "{}",
    "pids",
    "count",
    "usec",
    "cpu_percent",
    "1.5",
};

/* In place of one that starts processes. */
pid_t __wrap_spawn(const char *program, const char *const argv[],
		   const struct spawn_options *options, struct error *err);

pid_t __wrap_spawn(const char *program, const char *const argv[],
		   const struct spawn_options *options, struct error *err)
{
	(void)argv;
	(void)options;
	return error_say(err, EAGAIN, "%s is not started", program);
}

struct script {
	struct cursor in;
	int vm, agent; /* the process of the VM, as it speaks */
	int clients[CLIENTS];
};

static struct broker broker;

static void begin_broker(void)
{
	const struct broker_config config = {
	    .images = "/nowhere", .engine = "kvm", .vm_program = "/bin/false"};
	struct error err;

	if (broker_init(&broker, &config, &err) < 0)
		abort();
	broker.limits_cpu = false; /* there is no process to limit */
}

static void open_pair(int type, int *ours, int *theirs)
{
	int fds[2];

	if (socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
		abort();
	*ours = fds[0];
	*theirs = fds[1];
}

static void adopt(struct script *s)
{
	int fds[KEEP_FDS_MAX] = {-1, -1, -1, open("/dev/null", O_WRONLY | O_CLOEXEC), -1},
	    yes = 1;
	struct error err;
	struct kept *kept = kept_new(&fds[2], &err);

	if (!kept)
		abort();
	kept->facts = (struct vm_facts){
	    .id = 1, .memory_mib = 128, .vcpus = 1, .seen = true, .started = true};
	strcpy(kept->facts.name, "a");
	strcpy(kept->facts.template, "default");
	kept_free(kept);
	open_pair(SOCK_SEQPACKET, &s->vm, &fds[0]);
	open_pair(SOCK_STREAM, &s->agent, &fds[1]);
	setsockopt(fds[0], SOL_SOCKET, SO_PASSCRED, &yes, sizeof(yes));
	if (vmproc_adopt(&broker, fds, &err) < 0)
		abort();
}

static void stop(struct loop_timer *timer)
{
	(void)timer;
	loop_stop(&broker.loop);
}

/* The broker deals with what has come. What it says is thrown away. */
static void turn(struct script *s)
{
	static uint8_t heard[65536];
	struct loop_timer timer;

	for (int i = 0; i < QUIET_STEPS; i++) {
		loop_timer_init(&timer, stop);
		loop_timer_set(&broker.loop, &timer, 0);
		loop_run(&broker.loop);
		loop_timer_cancel(&timer);
		while (recv(s->vm, heard, sizeof(heard), 0) > 0)
			;
		while (recv(s->agent, heard, sizeof(heard), 0) > 0)
			;
		for (unsigned n = 0; n < CLIENTS; n++)
			while (recv(s->clients[n], heard, sizeof(heard), 0) > 0)
				;
	}
}

static void spell(struct script *s, struct buf *out)
{
	tokens_spell(out, &s->in, cursor_get_u8(&s->in), words,
		     sizeof(words) / sizeof(words[0]));
}

/* The VM's process says something. */
static int step_process(void *script)
{
	struct script *s = script;
	struct buf text = {0};

	spell(s, &text);
	send(s->vm, buf_peek(&text), text.len, MSG_NOSIGNAL);
	turn(s);
	buf_fini(&text);
	return 0;
}

static int step_agent(void *script)
{
	struct script *s = script;
	size_t len = cursor_get_u8(&s->in);
	const void *bytes = cursor_get_raw(&s->in, len);

	if (bytes)
		send(s->agent, bytes, len, MSG_NOSIGNAL);
	turn(s);
	return 0;
}

static int step_client(void *script)
{
	struct script *s = script;
	int fd = s->clients[cursor_get_u8(&s->in) % CLIENTS];
	struct buf text = {0}, frame = {0};

	spell(s, &text);
	link_put(&frame, 0, LINK_CONTROL, buf_peek(&text), text.len);
	send(fd, buf_peek(&frame), frame.len, MSG_NOSIGNAL);
	turn(s);
	buf_fini(&text);
	buf_fini(&frame);
	return 0;
}

/* A frame of another type, or of a channel. */
static int step_frame(void *script)
{
	struct script *s = script;
	int fd = s->clients[cursor_get_u8(&s->in) % CLIENTS];
	uint8_t channel = cursor_get_u8(&s->in), type = cursor_get_u8(&s->in);
	size_t len = cursor_get_u8(&s->in);
	const void *bytes = cursor_get_raw(&s->in, len);
	struct buf frame = {0};

	if (!bytes)
		return 1;
	link_put(&frame, channel % 4, type % 8, bytes, len);
	send(fd, buf_peek(&frame), frame.len, MSG_NOSIGNAL);
	turn(s);
	buf_fini(&frame);
	return 0;
}

static script_step *const steps[] = {
    step_process, step_client, step_process, step_client, step_agent, step_frame,
};

/* Two clients, of whom the first has the VM. */
static void begin(struct script *s)
{
	static const char attach[] = "{\"op\":\"attach\",\"seq\":1,\"vm\":1}";
	static const uint8_t nonce[LINK_NONCE];
	struct error err;

	adopt(s);
	for (unsigned i = 0; i < CLIENTS; i++) {
		struct buf hello = {0};
		int fd;

		open_pair(SOCK_STREAM, &s->clients[i], &fd);
		if (client_add(&broker, fd, false, &err) < 0)
			abort();
		link_put_hello(&hello, nonce);
		if (i == 0)
			link_put(&hello, 0, LINK_CONTROL, attach, strlen(attach));
		send(s->clients[i], buf_peek(&hello), hello.len, MSG_NOSIGNAL);
		buf_fini(&hello);
	}
	turn(s);
}

/* All VMs go, those as well that the script had it make. */
static void end(struct script *s)
{
	struct client *client;

	list_for_each (client, &broker.clients, struct client, link)
		client_free(client);
	while (!list_empty(&broker.vms)) {
		struct vmproc *vm = container_of(broker.vms.next, struct vmproc, link);

		if (!vm->facts->destroying)
			vmproc_destroy(vm);
		else
			vmproc_reaped(vm, 0);
	}
	close(s->vm);
	close(s->agent);
	for (unsigned i = 0; i < CLIENTS; i++)
		close(s->clients[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = {.in = cursor_over(data, size)};

	if (!broker.started_ns)
		begin_broker();
	begin(&s);
	script_run(&s.in, steps, sizeof(steps) / sizeof(steps[0]), &s);
	end(&s);
	return 0;
}
