/*
 * Theory of operation
 *
 * To the server, AGENT_RUN with a run's stream says that it is about to start, which is
 * answered by AGENT_STARTED, and AGENT_EXIT that it has ended, with a byte that says
 * whether nothing of the user's is left that could change files; that is answered by
 * AGENT_CHANGES frames, of which the one that ends them has one byte. A step is asked for
 * when the one before was answered, since the server has many threads. So a run's exit
 * never waits, and the next run's start does.
 */
#include "guest/agent/changes.h"

#include "guest/agent/agent.h"
#include "guest/agent/run.h"

#include <string.h>

struct step {
	uint32_t stream;
	uint8_t type; /* AGENT_RUN or AGENT_EXIT */
	uint8_t quiet;
};

static struct step first_step(const struct changes_queue *queue)
{
	struct step step;

	memcpy(&step, buf_peek(&queue->steps), sizeof(step));
	return step;
}

static void tell(struct files *files, uint32_t stream, enum agent_change last)
{
	const uint8_t payload = (uint8_t)last;

	port_send(&files->agent->port, stream, AGENT_CHANGES, &payload, 1);
}

/* Ask for the first step, unless that was done. */
static void ask(struct files *files)
{
	struct changes_queue *queue = &files->changes;
	struct agent_frame frame = {0};
	struct step step;

	if (queue->asked || !queue->steps.len)
		return;
	step = first_step(queue);
	frame = (struct agent_frame){.stream = step.stream,
				     .type = step.type,
				     .len = step.type == AGENT_EXIT,
				     .payload = &step.quiet};
	queue->asked = true;
	files_pass(files, &frame);
}

static bool add_step(struct files *files, uint32_t stream, enum agent_type type, bool quiet)
{
	const struct step step = {stream, (uint8_t)type, quiet};

	if (!files_has_server(files) ||
	    buf_append(&files->changes.steps, &step, sizeof(step)) < 0)
		return false;
	ask(files);
	return true;
}

static void drop_step(struct changes_queue *queue)
{
	buf_consume(&queue->steps, sizeof(struct step));
	queue->asked = false;
}

bool changes_before(struct files *files, struct run *run)
{
	run->looked_at = files->layers.upper >= 0;
	return run->looked_at && add_step(files, run->stream, AGENT_RUN, false);
}

/* A run that never came to its start has changed nothing. */
void changes_after(struct files *files, const struct run *run, bool quiet)
{
	if (!run->looked_at)
		tell(files, run->stream,
		     run->pid || run->started ? AGENT_CHANGES_UNKNOWN : AGENT_CHANGES_END);
	else if (!add_step(files, run->stream, AGENT_EXIT, quiet))
		tell(files, run->stream, AGENT_CHANGES_UNKNOWN);
}

bool changes_frame(struct files *files, const struct agent_frame *frame)
{
	struct changes_queue *queue = &files->changes;
	struct step step;

	if ((frame->type != AGENT_STARTED && frame->type != AGENT_CHANGES) || !queue->asked)
		return false;
	step = first_step(queue);
	if (frame->stream != step.stream)
		return false;
	if (frame->type == AGENT_CHANGES)
		port_send(&files->agent->port, frame->stream, AGENT_CHANGES, frame->payload,
			  frame->len);
	if (frame->type == AGENT_CHANGES && frame->len != 1)
		return true;
	drop_step(queue);
	ask(files);
	if (frame->type == AGENT_STARTED)
		runs_launch(files->agent, frame->stream);
	return true;
}

void changes_lost(struct files *files)
{
	struct changes_queue *queue = &files->changes;
	struct step step;

	while (queue->steps.len) {
		step = first_step(queue);
		drop_step(queue);
		if (step.type == AGENT_EXIT)
			tell(files, step.stream, AGENT_CHANGES_UNKNOWN);
		else
			runs_launch(files->agent, step.stream);
	}
}
