/* The agent codec: round trips, every truncation, and guests that lie. */
#include "wire/agent.h"

#include "tests/unit/tap.h"

#include <errno.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void a_frame_comes_back(void)
{
	struct buf b = {0};
	struct agent_frame f;

	is_int(agent_put(&b, 0xbeef, 42, AGENT_STDOUT, "bytes", 5), 0,
	       "a frame is written");
	is_int(agent_next(&b, &f, NULL), 1, "and read");
	is_int(f.epoch, 0xbeef, "epoch");
	is_int(f.stream, 42, "stream");
	is_int(f.type, AGENT_STDOUT, "type");
	is_int(f.len, 5, "length");
	is_mem(f.payload, "bytes", 5, "payload");
	for (size_t len = 0; len < b.len; len++) {
		struct buf part = {0};

		buf_append(&part, buf_peek(&b), len);
		is_int(agent_next(&part, &f, NULL), 0, "%zu bytes: more are needed", len);
		buf_fini(&part);
	}
	buf_consume(&b, AGENT_HEADER + 5);
	is_int(b.len, 0, "nothing is left over");
	buf_fini(&b);
}

static void the_largest_payload_fits(void)
{
	struct buf b = {0};
	struct agent_frame f;
	static uint8_t big[AGENT_PAYLOAD_MAX + 1];

	is_int(agent_put(&b, 1, 1, AGENT_CODE, big, AGENT_PAYLOAD_MAX), 0,
	       "the largest is written");
	is_int(agent_next(&b, &f, NULL), 1, "and read");
	is_int(agent_frame_size(&f), AGENT_HEADER + AGENT_PAYLOAD_MAX, "whole");
	is_int(agent_put(&b, 1, 1, AGENT_CODE, big, AGENT_PAYLOAD_MAX + 1), -EMSGSIZE,
	       "one byte more is refused");
	buf_fini(&b);
}

static void hostile_headers_are_no_frames(void)
{
	static const struct {
		const char *what;
		uint8_t header[AGENT_HEADER];
	} cases[] = {
	    {"a payload of AGENT_PAYLOAD_MAX + 1", {1, 0x60, 4, 0, 0, 0, 0, 0, 66}},
	    {"a payload of 4 GiB", {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 66}},
	    {"a byte where zero belongs", {0, 0, 0, 0, 0, 0, 0, 0, 66, 1}},
	    {"terminal output", "root@sandbox"},
	};
	uint8_t header[AGENT_HEADER] = {0};
	struct agent_frame f;
	struct error err;
	int known = 0;

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct buf b = {0};

		err.text[0] = '\0';
		buf_append(&b, cases[i].header, AGENT_HEADER);
		is_int(agent_next(&b, &f, &err), -EPROTO, "%s", cases[i].what);
		ok(err.text[0], "and a sentence about it");
		buf_fini(&b);
	}
	for (int type = 0; type < 256; type++) {
		struct buf b = {0};

		header[8] = (uint8_t)type;
		buf_append(&b, header, AGENT_HEADER);
		known += agent_next(&b, &f, NULL) == 1;
		buf_fini(&b);
	}
	is_int(known, 34, "of 256 types, the 34 there are, are known");
}

/* Every decoder behind one signature, and a payload it takes. */
union decoded {
	struct agent_wake wake;
	struct agent_run run;
	struct agent_limits limits;
	struct agent_exit exit;
	struct agent_size size;
	struct agent_terminal terminal;
	uint8_t signal, stopped;
	uint16_t port;
	uint32_t taken, msecs;
};

static int get_wake(const struct agent_frame *f, union decoded *d, struct error *err)
{
	return agent_get_wake(f, &d->wake, err);
}

static int get_run(const struct agent_frame *f, union decoded *d, struct error *err)
{
	return agent_get_run(f, &d->run, err);
}

static int get_exit(const struct agent_frame *f, union decoded *d, struct error *err)
{
	return agent_get_exit(f, &d->exit, err);
}

static int get_signal(const struct agent_frame *f, union decoded *d, struct error *err)
{
	return agent_get_signal(f, &d->signal, err);
}

static int get_taken(const struct agent_frame *f, union decoded *d, struct error *err)
{
	return agent_get_stdin_taken(f, &d->taken, err);
}

static int get_port_open(const struct agent_frame *f, union decoded *d, struct error *err)
{
	return agent_get_port_open(f, &d->port, err);
}

static int get_port_taken(const struct agent_frame *f, union decoded *d, struct error *err)
{
	return agent_get_port_taken(f, &d->taken, err);
}

static int get_port_opened(const struct agent_frame *f, union decoded *d, struct error *err)
{
	return agent_get_port_opened(f, &d->taken, err);
}

static int get_hold(const struct agent_frame *f, union decoded *d, struct error *err)
{
	return agent_get_hold(f, &d->msecs, err);
}

static int get_limits(const struct agent_frame *f, union decoded *d, struct error *err)
{
	return agent_get_limits(f, &d->limits, err);
}

static int get_held(const struct agent_frame *f, union decoded *d, struct error *err)
{
	return agent_get_held(f, &d->stopped, err);
}

static int get_size(const struct agent_frame *f, union decoded *d, struct error *err)
{
	return agent_get_size(f, &d->size, err);
}

static int get_terminal(const struct agent_frame *f, union decoded *d, struct error *err)
{
	return agent_get_terminal(f, &d->terminal, err);
}

typedef int (*decoder)(const struct agent_frame *, union decoded *, struct error *);

/*
 * The one frame in @b decodes; its payload cut anywhere, or with a byte more,
 * does not. The cut copies lie in memory of their exact size, so that a
 * sanitizer sees a read past the end.
 */
static void exactly_its_size(struct buf *b, decoder get, union decoded *d, const char *what)
{
	struct agent_frame f, cut;

	is_int(agent_next(b, &f, NULL), 1, "%s: a whole frame", what);
	is_int(b->len, agent_frame_size(&f), "%s: and only that", what);
	for (uint32_t len = 0; len <= f.len + 1; len++) {
		uint8_t *exact = calloc(1, len ? len : 1);
		union decoded ignored;

		if (!exact || len == f.len) {
			free(exact);
			continue;
		}
		memcpy(exact, f.payload, len < f.len ? len : f.len);
		cut = f;
		cut.payload = exact;
		cut.len = len;
		is_int(get(&cut, &ignored, NULL), -EPROTO, "%s: %u bytes of %u are refused",
		       what, len, f.len);
		free(exact);
	}
	is_int(get(&f, d, NULL), 0, "%s: the whole is taken", what);
	buf_fini(b);
}

static void wake_comes_back(void)
{
	struct agent_wake wake = {.epoch = 7, .realtime_ns = 0x0123456789abcdef};
	struct buf b = {0};
	union decoded d;

	for (size_t i = 0; i < AGENT_ENTROPY; i++)
		wake.entropy[i] = (uint8_t)(i * 3);
	wake.frozen = 1;
	strcpy(wake.hostname, "demo");
	strcpy(wake.id, "sbx_0123456789abcdef0123456789abcdef");
	is_int(agent_put_wake(&b, &wake), 0, "wake: written");
	exactly_its_size(&b, get_wake, &d, "wake");
	is_int(d.wake.epoch, 7, "wake: epoch");
	is_int(d.wake.realtime_ns, 0x0123456789abcdef, "wake: clock");
	is_mem(d.wake.entropy, wake.entropy, AGENT_ENTROPY, "wake: entropy");
	is_str(d.wake.hostname, "demo", "wake: hostname");
	is_str(d.wake.id, wake.id, "wake: id");
	is_int(d.wake.frozen, 1, "wake: frozen");
}

static void names_of_full_length_fit(void)
{
	struct agent_wake wake = {.epoch = 1};
	struct buf b = {0};
	union decoded d;

	memset(wake.hostname, 'h', AGENT_NAME_MAX);
	memset(wake.id, 'i', AGENT_ID_MAX);
	is_int(agent_put_wake(&b, &wake), 0, "longest names: written");
	exactly_its_size(&b, get_wake, &d, "longest names");
	is_str(d.wake.hostname, wake.hostname, "longest names: hostname");
	is_str(d.wake.id, wake.id, "longest names: id");
}

static void run_comes_back(void)
{
	static const struct agent_run runs[] = {
	    {AGENT_PYTHON, 0, 0},
	    {AGENT_BASH, 1, 1234567},
	    {AGENT_SCRIPT, 0, AGENT_CODE_MAX},
	};

	for (size_t i = 0; i < COUNT(runs); i++) {
		struct buf b = {0};
		union decoded d;

		is_int(agent_put_run(&b, 1, 9, &runs[i]), 0, "run: written");
		exactly_its_size(&b, get_run, &d, "run");
		is_int(d.run.language, runs[i].language, "run: language");
		is_int(d.run.stdin_open, runs[i].stdin_open, "run: stdin");
		is_int(d.run.code_length, runs[i].code_length, "run: length");
	}
}

static void exit_signal_and_taken_come_back(void)
{
	struct agent_exit status = {1, 9};
	struct buf b = {0};
	union decoded d;

	agent_put_exit(&b, 1, 9, &status);
	exactly_its_size(&b, get_exit, &d, "exit");
	is_int(d.exit.signaled, 1, "exit: by a signal");
	is_int(d.exit.value, 9, "exit: which one");
	status = (struct agent_exit){0, 255};
	agent_put_exit(&b, 1, 9, &status);
	exactly_its_size(&b, get_exit, &d, "exit 255");
	is_int(d.exit.value, 255, "exit: the largest code");
	agent_put_signal(&b, 1, 9, AGENT_INTERRUPT);
	exactly_its_size(&b, get_signal, &d, "signal");
	is_int(d.signal, AGENT_INTERRUPT, "signal: which one");
	agent_put_stdin_taken(&b, 1, 9, AGENT_STDIN_WINDOW);
	exactly_its_size(&b, get_taken, &d, "stdin-taken");
	is_int(d.taken, AGENT_STDIN_WINDOW, "stdin-taken: the whole window");
}

static void limits_come_back(void)
{
	const struct agent_limits limits = {
	    .memory_mib = 1, .vcpus = 2, .pids = 3, .disk_mib = 4};
	struct buf b = {0};
	union decoded d;

	is_int(agent_put_limits(&b, 1, &limits), 0, "limits: written");
	exactly_its_size(&b, get_limits, &d, "limits");
	ok(memcmp(&d.limits, &limits, sizeof(limits)) == 0, "limits: all of them");
}

static void hold_comes_back(void)
{
	struct buf b = {0};
	union decoded d;

	is_int(agent_put_hold(&b, 1, 60000), 0, "hold: written");
	exactly_its_size(&b, get_hold, &d, "hold");
	is_int((int)d.msecs, 60000, "hold: how long");
	agent_put(&b, 1, 0, AGENT_HELD, &(uint8_t){1}, 1);
	exactly_its_size(&b, get_held, &d, "held");
	is_int(d.stopped, 1, "held: all have stopped");
}

static void terminal_comes_back(void)
{
	const struct agent_size size = {50, 132};
	char command[AGENT_COMMAND_MAX + 2];
	struct buf b = {0};
	union decoded d;

	is_int(agent_put_size(&b, 1, 9, &size), 0, "size: written");
	exactly_its_size(&b, get_size, &d, "size");
	is_int(d.size.rows * 1000 + d.size.cols, 50132, "size: rows and columns");
	is_int(agent_put_terminal(&b, 1, 9, &size, ""), 0, "terminal: written");
	exactly_its_size(&b, get_terminal, &d, "terminal");
	is_int(d.terminal.size.cols, 132, "terminal: its size");
	is_str(d.terminal.command, "", "terminal: no command");
	memset(command, 'c', sizeof(command));
	command[AGENT_COMMAND_MAX + 1] = '\0';
	is_int(agent_put_terminal(&b, 1, 9, &size, command), -EMSGSIZE,
	       "terminal: a longer command is refused");
	command[AGENT_COMMAND_MAX] = '\0';
	is_int(agent_put_terminal(&b, 1, 9, &size, command), 0,
	       "terminal: the longest is not");
	buf_fini(&b);
}

static void ports_come_back(void)
{
	struct buf b = {0};
	union decoded d;

	agent_put_port_open(&b, 1, AGENT_PORTS, 65535);
	exactly_its_size(&b, get_port_open, &d, "port-open");
	is_int(d.port, 65535, "port-open: which one");
	agent_put_port_taken(&b, 1, AGENT_PORTS, AGENT_PORT_WINDOW);
	exactly_its_size(&b, get_port_taken, &d, "port-taken");
	is_int(d.taken, AGENT_PORT_WINDOW, "port-taken: the whole window");
	agent_put_port_opened(&b, 1, AGENT_PORTS, ECONNREFUSED);
	exactly_its_size(&b, get_port_opened, &d, "port-opened");
	is_int(d.taken, ECONNREFUSED, "port-opened: why not");
	ok(agent_is_port(AGENT_PORTS) && agent_is_port(AGENT_TERMINALS - 1) &&
	       !agent_is_port(AGENT_PORTS - 1) && !agent_is_port(AGENT_TERMINALS),
	   "ports have streams of their own");
}

static void values_out_of_range_are_refused(void)
{
	static const struct {
		const char *what;
		decoder get;
		uint32_t len;
		uint8_t payload[8];
	} cases[] = {
	    {"language 0", get_run, 6, {0, 0, 0, 0, 0, 0}},
	    {"language 4", get_run, 6, {4, 0, 0, 0, 0, 0}},
	    {"stdin neither open nor closed", get_run, 6, {1, 2, 0, 0, 0, 0}},
	    {"code over 16 MiB", get_run, 6, {1, 0, 1, 0, 0, 1}},
	    {"code of 4 GiB", get_run, 6, {1, 0, 0xff, 0xff, 0xff, 0xff}},
	    {"signal 0", get_signal, 1, {0}},
	    {"signal 3", get_signal, 1, {3}},
	    {"exit that is neither code nor signal", get_exit, 2, {2, 0}},
	    {"exit by signal 128", get_exit, 2, {1, 128}},
	    {"held that is neither", get_held, 1, {2}},
	    {"more stdin taken than the window", get_taken, 4, {1, 0, 1, 0}},
	    {"a connection to port 0", get_port_open, 2, {0, 0}},
	    {"more room than the window", get_port_taken, 4, {1, 0, 2, 0}},
	    {"4 GiB of stdin taken", get_taken, 4, {0xff, 0xff, 0xff, 0xff}},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct agent_frame f = {.len = cases[i].len, .payload = cases[i].payload};
		struct error err = {0};
		union decoded d;

		is_int(cases[i].get(&f, &d, &err), -EPROTO, "%s", cases[i].what);
		ok(err.text[0], "and a sentence about it");
	}
}

/* The hostname's length field lies at this offset of a wake frame's payload. */
#define HOSTNAME_AT (2 + 8 + AGENT_ENTROPY)

static void hostile_names_are_refused(void)
{
	static const uint32_t lengths[] = {AGENT_NAME_MAX + 1, 0x7fffffff, 0x80000000,
					   0xfffffffc, UINT32_MAX};
	uint8_t payload[HOSTNAME_AT + 4 + AGENT_NAME_MAX + 1 + 4] = {0};
	struct agent_frame f = {.len = sizeof(payload), .payload = payload};
	struct agent_wake wake;

	memset(payload + HOSTNAME_AT + 4, 'a', AGENT_NAME_MAX + 1);
	for (size_t i = 0; i < COUNT(lengths); i++) {
		struct cursor c = cursor_into(payload + HOSTNAME_AT, 4);

		cursor_put_u32(&c, lengths[i]);
		is_int(agent_get_wake(&f, &wake, NULL), -EPROTO, "a hostname of 0x%x bytes",
		       lengths[i]);
		is_str(wake.hostname, "", "is not copied");
	}
}

int main(void)
{
	a_frame_comes_back();
	the_largest_payload_fits();
	hostile_headers_are_no_frames();
	wake_comes_back();
	names_of_full_length_fit();
	run_comes_back();
	exit_signal_and_taken_come_back();
	limits_come_back();
	hold_comes_back();
	terminal_comes_back();
	ports_come_back();
	values_out_of_range_are_refused();
	hostile_names_are_refused();
	return done_testing();
}
