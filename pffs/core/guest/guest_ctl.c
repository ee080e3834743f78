/*
 * The verbs of the `ctl` file.
 */
#include "pffs/core/guest/guest_parts.h"

#include "pffs/core/record/freeze.h"
#include "pffs/core/record/journal.h"

#include <errno.h>
#include <string.h>

/* Its machine is in a file, or on its way from there. */
static bool is_away(const struct sandbox *sb)
{
	return sb->state == SANDBOX_STORED || (sb->state == SANDBOX_STARTING && sb->freeze);
}

static int interrupt(struct sandbox *sb, struct error *err)
{
	if (!sb->current)
		return error_say(err, ESRCH, "no run is going on in %s", sb->name);
	if (is_away(sb)) {
		freeze_use_for(sb, "interrupt");
		return 0;
	}
	guest_signal(sb, AGENT_INTERRUPT);
	return 0;
}

/* A run that still waits for the machine is ended here; one in the guest, there. */
static int kill_run(struct sandbox *sb, struct error *err)
{
	struct run *queued = guest_first_queued(sb);

	if (sb->current && is_away(sb)) {
		freeze_use_for(sb, "kill");
	} else if (sb->current) {
		sb->current->killed = true;
		journal_flags(sb->current);
		guest_kill(sb);
	} else if (queued) {
		sandbox_end_run(sb, queued, EXIT_KILLED);
	} else {
		return error_say(err, ESRCH, "no run is going on in %s", sb->name);
	}
	return 0;
}

static int reset(struct sandbox *sb, struct error *err)
{
	size_t from;

	if (is_away(sb)) {
		freeze_use_for(sb, "reset");
		return 0;
	}
	if (sb->state == SANDBOX_STARTING)
		return error_say(err, EBUSY, "%s is starting", sb->name);
	from = sb->channel.out.len;
	agent_put(&sb->channel.out, sb->epoch, 0, AGENT_RESET, NULL, 0);
	journal_said(sb, from);
	vmm_flush(&sb->channel);
	sandbox_event(sb, "reset", NULL);
	return 0;
}

static int resume(struct sandbox *sb, struct error *err)
{
	if (freeze_holds(sb))
		return error_say(err, EBUSY, "%s is being frozen", sb->name);
	freeze_use(sb);
	return 0;
}

int guest_ctl(struct sandbox *sb, const char *verb, struct error *err)
{
	static const struct {
		const char *verb;
		int (*fn)(struct sandbox *sb, struct error *err);
	} verbs[] = {
	    {"interrupt", interrupt}, {"kill", kill_run}, {"reset", reset},
	    {"freeze", freeze_begin}, {"resume", resume},
	};

	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(verb, verbs[i].verb) != 0)
			continue;
		if (sb->state == SANDBOX_DEAD)
			return error_say(err, EIO, "%s is dead: %s", sb->name, sb->reason);
		if (sb->state == SANDBOX_FROZEN)
			return error_say(err, EBUSY, "%s stands still", sb->name);
		if (freeze_holds(sb))
			return error_say(err, EBUSY, "%s is being frozen: try again",
					 sb->name);
		return verbs[i].fn(sb, err);
	}
	return error_say(
	    err, EINVAL,
	    "ctl knows interrupt, kill, reset, freeze and resume, not \"%.40s\"", verb);
}
