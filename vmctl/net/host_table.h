/*
 * The uplink's table of rules in the host's namespace, `inet pffsN`: NAT for what comes
 * from the hub, and nothing of it for the host itself, whatever addresses that has.
 *
 * It is set as a whole, in place of what is there by its name.
 */
#pragma once

#include "util/error.h"
#include "vmctl/net/address.h"

#define HOST_TABLES_MAX 1000 /* they are pffs0 and on */

struct host_table {
	int index;					   /* the link's number */
	char link[16];					   /* and its own name */
	char up4[NET_ADDRESS_TEXT], up6[NET_ADDRESS_TEXT]; /* of the hub's end */
};

/**
 * host_table_guard() - set it, and have a guard set it again when it is changed or gone.
 * Return: a descriptor whose other end is the guard's (guard.h), or -errno with @err.
 */
int host_table_guard(const struct host_table *table, struct error *err);

/** host_table_end() - take away the link if it is the one that has this number, which is
 * never another's; and the table, unless there is a new link by that name. */
void host_table_end(const char *link, int index);

/** host_table_clean() - take away all tables of ours whose link is no more. */
void host_table_clean(void);
