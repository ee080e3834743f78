/*
 * Everything one pffs knows: its sandboxes, its templates, its link to vmctl.
 * The mount and the other fronts are thin readers and writers of this.
 */
#pragma once

#include "pffs/core/caps.h"
#include "pffs/core/config.h"
#include "pffs/core/events.h"
#include "pffs/core/net/binder.h"
#include "pffs/core/net/net_host.h"
#include "pffs/core/templates.h"
#include "pffs/core/vmm.h"
#include "util/loop.h"

#include <stdint.h>
#include <sys/types.h>

struct core_options {
	const char *images;	/* the images directory */
	const char *mountpoint; /* NULL: not mounted */
	unsigned memory_mib;	/* of each sandbox */
	unsigned vcpus;		/* of each sandbox */
	unsigned disk_mib;	/* of each sandbox */
	const char *state;	/* directory of frozen sandboxes, or NULL */
	const char *state_name; /* what its user calls it */
	uid_t uid;		/* who started pffs, and may do all */
	gid_t gid;
	const char *user;  /* whose rights pffs has */
	unsigned landlock; /* the ABI that keeps it from the rest of the machine; 0: none */
	struct caps caps;
	struct config config; /* of what is made of templates */
	struct net_options net;
	uint64_t ready_limit_ms; /* how long a guest may take until it answers */
};

struct files_node;

/* A mount that shows a core. It has the kernel keep attributes of the guest's files. */
struct core_mount {
	struct link link;
	bool names; /* it has the kernel keep names as well, since stale() with @names */
	/* Those of the node are not true any more, nor perhaps what names stand for. */
	void (*stale)(struct core_mount *mount, const struct files_node *node, bool names);
};

struct core {
	struct loop *loop;
	struct core_options options;
	struct vmm vmm;
	struct events events;
	struct templates templates;
	struct net_host net;
	struct link sandboxes;
	struct link views; /* view.h */
	unsigned sandbox_count;
	unsigned ending; /* what is on disk stays when a sandbox goes */
	bool leaving;	 /* so do journals and machines, for the next pffs */
	int state_fd;	 /* the lock of options.state; -1: not usable, because: */
	struct error state_error;
	char group[33];		/* what vmctl knows its machines by; empty without a lock */
	uint64_t mounted;	/* mounts so far */
	struct link mounts;	/* struct core_mount */
	uint64_t next_serial;	/* of sandboxes; never used twice */
	uint64_t next_order;	/* of runs that joined a queue */
	uint64_t started_ns;	/* CLOCK_MONOTONIC */
	uint32_t files_stream;	/* of the newest request about files */
	struct loop_timer room; /* of caps.h */
	struct binder binder;	/* makes the sockets of ports */
	struct link listings;	/* of directories in guests, the newest used last */
	size_t listed;		/* bytes in these */
	uint32_t listing_number;
	bool unread;	    /* a journal could not be restored: machines are spared */
	bool limits_cpu;    /* vmctl can */
	char engine[16];    /* "kvm" or "emulated"; empty until vmctl has said so */
	struct error error; /* the newest one that belongs to no sandbox */
	/* Called when the link to vmctl broke; sandboxes are dead by then, or adrift. */
	void (*link_lost)(struct core *core, const char *reason);
};

/** core_init() - an empty world. @options is copied, its strings are borrowed. */
int core_init(struct core *core, struct loop *loop, const struct core_options *options,
	      struct error *err);

/** core_leave() - core_end() is to leave all as if pffs had been killed. */
static inline void core_leave(struct core *core)
{
	core->leaving = true;
}

/** core_end() - let go of every sandbox, and end the link. What is left can be asked, and
 * tells of that. No-op the second time. */
void core_end(struct core *core);

/** core_fini() - core_end(), and free all. */
void core_fini(struct core *core);

/**
 * core_connect() - use a connected socket as the link to vmctl.
 * @fd: owned by the core from now on.
 * @ready: called once, when vmctl has answered (@err NULL) or could not.
 * Return: 0 or -errno with @err filled; @ready is not called then.
 */
int core_connect(struct core *core, int fd,
		 void (*ready)(void *ctx, const struct error *err), void *ctx,
		 struct error *err);

/** core_mounted_twice() - is there more than one mount of it? */
static inline bool core_mounted_twice(const struct core *core)
{
	return core->mounts.next->next != &core->mounts;
}

/** core_name_ok() - 1-64 of A-Za-z0-9._- and not starting with a dot. */
bool core_name_ok(const char *name);
