/*
 * Fuzz target: a guest's bytes through the agent decoder, and the host's, which
 * the guest's agent decodes. Besides staying inside the input, what it takes must
 * be canonical: encoding it again gives the bytes that were read.
 */
#include "wire/agent.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A wake frame states its epoch twice and always has stream 0. */
static bool is_regular_wake(const struct agent_frame *f, const struct agent_wake *wake)
{
	return f->epoch == wake->epoch && f->stream == 0;
}

static void check_payload(const struct agent_frame *f, struct buf *again)
{
	struct agent_wake wake;
	struct agent_run run;
	struct agent_exit status;
	struct agent_limits limits;
	struct agent_terminal terminal;
	struct error err;
	uint32_t bytes;
	uint8_t sig;

	if (f->type == AGENT_WAKE && agent_get_wake(f, &wake, &err) == 0 &&
	    is_regular_wake(f, &wake))
		agent_put_wake(again, &wake);
	else if (f->type == AGENT_RUN && agent_get_run(f, &run, &err) == 0)
		agent_put_run(again, f->epoch, f->stream, &run);
	else if (f->type == AGENT_SIGNAL && agent_get_signal(f, &sig, &err) == 0)
		agent_put_signal(again, f->epoch, f->stream, sig);
	else if (f->type == AGENT_EXIT && agent_get_exit(f, &status, &err) == 0)
		agent_put_exit(again, f->epoch, f->stream, &status);
	else if (f->type == AGENT_STDIN_TAKEN &&
		 agent_get_stdin_taken(f, &bytes, &err) == 0)
		agent_put_stdin_taken(again, f->epoch, f->stream, bytes);
	else if (f->type == AGENT_TERMINAL && agent_get_terminal(f, &terminal, &err) == 0)
		agent_put_terminal(again, f->epoch, f->stream, &terminal.size,
				   terminal.command);
	else if (f->type == AGENT_TERMINAL_SIZE &&
		 agent_get_size(f, &terminal.size, &err) == 0)
		agent_put_size(again, f->epoch, f->stream, &terminal.size);
	else if (f->type == AGENT_HOLD && !f->stream &&
		 agent_get_hold(f, &bytes, &err) == 0)
		agent_put_hold(again, f->epoch, bytes);
	else if (f->type == AGENT_LIMITS && !f->stream &&
		 agent_get_limits(f, &limits, &err) == 0)
		agent_put_limits(again, f->epoch, &limits);
	else
		agent_put(again, f->epoch, f->stream, f->type, f->payload, f->len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf in = {0}, again = {0};
	struct agent_frame frame;
	struct error err;
	size_t used = 0;

	/* Not buf_append(): memory of the exact size shows a read past its end. */
	in.data = malloc(size ? size : 1);
	if (!in.data)
		return 0;
	memcpy(in.data, data, size);
	in.len = in.room = size;
	while (agent_next(&in, &frame, &err) == 1) {
		check_payload(&frame, &again);
		used += agent_frame_size(&frame);
		buf_consume(&in, agent_frame_size(&frame));
	}
	if (again.len != used || (used && memcmp(buf_peek(&again), data, used) != 0))
		abort();
	buf_fini(&again);
	buf_fini(&in);
	return 0;
}
