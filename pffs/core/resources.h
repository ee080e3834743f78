/*
 * What a sandbox may take of memory, CPUs, disk, processes and time of CPUs.
 *
 * Theory of operation (docs/limits.md): a sandbox is a fork of a machine, so its machine
 * is as large as that one. Limits are below that, and can be changed at any time. The
 * guest's agent enforces them for programs, all together; it is told by AGENT_LIMITS when
 * nothing else stands between it and pffs: not while a fork or a freeze is on its way,
 * since pffs has to know on which side of the cut the limits are. Forks have their guest's
 * memory, and so its limits. The time of CPUs is vmctl's to limit, for each VM.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <stdint.h>

struct core;
struct sandbox;

enum resource {
	RESOURCE_MEMORY_MIB,
	RESOURCE_VCPUS,
	RESOURCE_DISK_MIB,
	RESOURCE_PIDS,
	RESOURCE_CPU_PERCENT, /* of one CPU */
	RESOURCE_COUNT,
};

struct resources {
	uint32_t size[RESOURCE_COUNT];	/* of the machine; 0 where it has none */
	uint32_t limit[RESOURCE_COUNT]; /* below that, or 0: none */
	uint32_t told[RESOURCE_COUNT];	/* likewise, what guest and vmctl know */
	uint32_t quota;			/* of the VM in vmctl, in percent; 0: none */
};

/** resources_init() - of a machine that is made by the core's options: no limits. */
void resources_init(struct sandbox *sb);

/** resources_inherit() - a fork gets the limits of its parent. */
void resources_inherit(struct sandbox *sb, const struct sandbox *parent);

/** resources_forked() - the machine of @sb was forked from that of @parent just now. */
void resources_forked(struct sandbox *sb, const struct sandbox *parent);

/** resources_moved() - the machine of @sb was that of @from: its own limits hold soon. */
void resources_moved(struct sandbox *sb, const struct sandbox *from);

/** resources_adrift() - a former pffs told guest and vmctl, nobody knows what. */
void resources_adrift(struct sandbox *sb);

/** resources_name() - as it is called in config/. */
const char *resources_name(enum resource which);

/** resources_get() - what @sb may take; 0: as much as there is. */
uint32_t resources_get(const struct sandbox *sb, enum resource which);

/** resources_cpu_percent() - how much of one CPU's time, by cpu_percent and vcpus. */
uint32_t resources_cpu_percent(const struct sandbox *sb);

/**
 * resources_check() - can a machine of @size have that limit?
 * Return: 0, or -EINVAL with @err filled.
 */
int resources_check(enum resource which, uint32_t size, uint32_t value, struct error *err);

/** resources_check_host() - can vmctl limit time of CPUs? Return: 0, or -ENOTSUP. */
int resources_check_host(const struct core *core, struct error *err);

/**
 * resources_set() - limit what @sb may take; 0: as much as there is.
 * Return: 0, or -EINVAL (too little, or more than the machine has), -ENOTSUP (vmctl cannot
 * do that here), -ENOMEM (the host's cap) with @err filled.
 */
int resources_set(struct sandbox *sb, enum resource which, uint32_t value,
		  struct error *err);

/** resources_apply() - tell guest and vmctl what they do not know, if it can be now. */
void resources_apply(struct sandbox *sb);

/** resources_out_of_memory() - the kernel of @sb killed a process of the current run. */
void resources_out_of_memory(struct sandbox *sb);
