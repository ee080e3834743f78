/*
 * How many slots there are, told to the broker for `vmctl stat`.
 *
 * What is counted is what the kernel has, so that a link or a descriptor that was
 * forgotten would be seen: each slot is a link of the hub and a descriptor, its tap.
 */
#include "vmctl/net/net_parts.h"
#include "vmctl/procfs.h"

#include <ctype.h>
#include <net/if.h>

#define CENSUS_MS 200

/* The links of the hub that lead to slots, by their names (address.h). */
static int links(void)
{
	struct if_nameindex *all = if_nameindex();
	int count = 0;

	for (const struct if_nameindex *link = all; link && link->if_index; link++)
		count +=
		    link->if_name[0] == 's' && isdigit((unsigned char)link->if_name[1]);
	if_freenameindex(all);
	return count;
}

/* How many there are to be. */
static int wanted(const struct net *net)
{
	const struct slot *slot;
	int count = (int)net->free_count;

	for (unsigned i = 0; i < NET_BUCKETS; i++)
		list_for_each (slot, &net->slots[i], struct slot, link)
			count += slot->member != NULL;
	return count;
}

/* Slots are made and destroyed elsewhere: it is looked at again until all of it is done. */
static void on_census(struct loop_timer *timer)
{
	struct net *net = container_of(timer, struct net, census.timer);
	int slots = net->census.slots, descriptors = net->census.descriptors;

	census_tell(net);
	if (net->census.slots != slots || net->census.descriptors != descriptors ||
	    net->census.slots != wanted(net))
		census_soon(net);
}

void census_init(struct net *net)
{
	loop_timer_init(&net->census.timer, on_census);
}

void census_soon(struct net *net)
{
	if (!net->census.timer.deadline_ns)
		loop_timer_set(&net->loop, &net->census.timer, CENSUS_MS);
}

void census_tell(struct net *net)
{
	net->census.slots = links();
	net->census.descriptors = procfs_descriptors();
	peer_send(&net->broker,
		  json_pack("{s:s, s:i, s:i, s:i}", "event", "slots", "slots",
			    net->census.slots, "slots_free", (int)net->free_count,
			    "net_descriptors", net->census.descriptors),
		  NULL, 0);
}
