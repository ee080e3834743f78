#include "wire/policy.h"

#include <errno.h>

static bool leads_there(const struct policy *policy, const struct policy_entry *entry,
			struct policy_ports ports)
{
	for (size_t i = 0; i < policy->entry_count; i++)
		if (policy_entry_to(&policy->entries[i], entry) &&
		    policy_entry_ports(&policy->entries[i], ports))
			return true;
	return false;
}

bool policy_covers(const struct policy *policy, const struct policy_entry *entry)
{
	static const struct policy_ports all = {1, UINT16_MAX};

	for (unsigned i = 0; i < entry->port_count; i++)
		if (!leads_there(policy, entry, entry->ports[i]))
			return false;
	return entry->port_count || leads_there(policy, entry, all);
}

/* Where all is open that is not closed, names and other ranges need no entry. */
static bool needs_entry(const struct policy *outer, const struct policy_entry *entry)
{
	return outer->egress == POLICY_ALLOW ||
	       (entry->kind == POLICY_RANGE && policy_range_touches_closed(&entry->range));
}

static int check_entry(const struct policy *outer, const struct policy_entry *entry,
		       struct error *err)
{
	char text[POLICY_LINE_MAX];

	if (!needs_entry(outer, entry) || policy_covers(outer, entry))
		return 0;
	policy_entry_print(entry, text);
	return error_say(
	    err, EPERM,
	    "%.200s is not within what the parent was allowed: net/status shows "
	    "that as ceiling",
	    text);
}

int policy_within(const struct policy *inner, const struct policy *outer, struct error *err)
{
	int r = 0;

	if (inner->egress == POLICY_OFF)
		return 0;
	if (outer->egress == POLICY_OFF ||
	    (outer->egress == POLICY_ALLOW && inner->egress == POLICY_ON))
		return error_say(
		    err, EPERM, "egress %s is looser than the parent's, which was %s",
		    policy_egress_name(inner->egress), policy_egress_name(outer->egress));
	for (size_t i = 0; i < inner->entry_count && r == 0; i++)
		r = check_entry(outer, &inner->entries[i], err);
	return r;
}

bool policy_allows_name(const struct policy *policy, const char *name)
{
	if (policy->egress != POLICY_ALLOW)
		return policy->egress == POLICY_ON;
	for (size_t i = 0; i < policy->entry_count; i++)
		if (policy_entry_names(&policy->entries[i], name))
			return true;
	return false;
}
