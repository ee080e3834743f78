#include "pffs/api/states.h"

#include "pffs/core/record/freeze.h"
#include "pffs/core/sandbox.h"

#include <errno.h>

static bool is_so(const struct sandbox *sb, enum states_wanted wanted)
{
	if (wanted == STATES_FROZEN)
		return sb->state == SANDBOX_STORED && !freeze_settles(sb);
	return sb->state == SANDBOX_READY && !freeze_holds(sb);
}

/* One that neither is what it should be, nor on its way there, has said why. */
static bool is_lost(const struct sandbox *sb, enum states_wanted wanted, struct error *err)
{
	if (sb->gone)
		error_say(err, ENOENT, "%s has been removed", sb->name);
	else if (sb->state == SANDBOX_DEAD)
		error_say(err, EIO, "%s is dead: %s", sb->name, sb->reason);
	else if (sb->freeze || sb->state == SANDBOX_STARTING)
		return false;
	else if (sb->error.code && (wanted == STATES_FROZEN || sb->state == SANDBOX_STORED))
		*err = sb->error;
	else
		error_say(err, EBUSY, "%s is %s: somebody else wanted that meanwhile",
			  sb->name, sandbox_state_name(sb));
	return true;
}

static void look(struct request *r)
{
	struct sandbox *sb = r->awaited;
	struct error err;

	if (!sb->gone && is_so(sb, r->wanted))
		r->reached(r, sb, NULL);
	else if (is_lost(sb, r->wanted, &err))
		r->reached(r, sb, &err);
}

void states_await(struct request *r, struct sandbox *sb, enum states_wanted wanted,
		  void (*done)(struct request *r, struct sandbox *sb,
			       const struct error *err))
{
	r->awaited = sb;
	r->wanted = wanted;
	r->reached = done;
	request_watch(r, &r->core->events.watchers, look);
	request_look(r, 0);
}
