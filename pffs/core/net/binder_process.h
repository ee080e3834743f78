/*
 * Inside of binder.h: what pffs and its binder say to each other.
 */
#pragma once

#include "pffs/core/net/binder.h"

/* One message, with the socket when @errnum is 0 and there is a name. Without a name: the
 * mount has gone. */
struct binder_reply {
	char name[BINDER_NAME];
	int errnum;
};

/**
 * binder_process() - be the binder, until pffs ends.
 * @orders: names of sockets to be made in the mount at @mountpoint.
 * @calls: struct sockaddr_storage to listen at.
 */
_Noreturn void binder_process(const char *mountpoint, int orders, int calls);
