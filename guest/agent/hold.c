#include "guest/agent/hold.h"

#include "guest/agent/group.h"
#include "guest/agent/log.h"

#define LOOK_MSEC 2    /* between two looks whether processes have stopped */
#define LOOKS	  1000 /* that they get to; on a machine that stands still one is longer */

static struct {
	struct port *port;
	struct loop_timer look; /* until all have stopped */
	struct loop_timer end;
	unsigned looks; /* that are left */
	bool on;
} hold;

void hold_end(void)
{
	if (!hold.on)
		return;
	hold.on = false;
	loop_timer_cancel(&hold.look);
	loop_timer_cancel(&hold.end);
	groups_hold(false);
}

static void time_is_over(struct loop_timer *timer)
{
	(void)timer;
	log_say("the host has not said that processes may go on");
	hold_end();
}

static void tell(bool stopped)
{
	const uint8_t payload = stopped;

	port_send(hold.port, 0, AGENT_HELD, &payload, 1);
	if (!stopped)
		hold_end();
}

static void look(struct loop_timer *timer)
{
	bool stopped = groups_have_stopped();

	if (stopped || !hold.looks--)
		tell(stopped);
	else
		loop_timer_set(hold.port->loop, timer, LOOK_MSEC);
}

static void begin(struct port *port, uint32_t msecs)
{
	hold.port = port;
	if (!hold.on) {
		loop_timer_init(&hold.look, look);
		loop_timer_init(&hold.end, time_is_over);
		hold.on = true;
		hold.looks = LOOKS;
		groups_hold(true);
		look(&hold.look);
	}
	if (hold.on)
		loop_timer_set(port->loop, &hold.end, msecs);
}

void hold_frame(struct port *port, const struct agent_frame *frame)
{
	uint32_t msecs;
	struct error err;

	if (agent_get_hold(frame, &msecs, &err) < 0)
		log_say("%s", err.text);
	else if (msecs)
		begin(port, msecs);
	else
		hold_end();
}
