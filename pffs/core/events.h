/*
 * The event log: one NDJSON line for everything that happens to a sandbox.
 *
 * Theory of operation: the newest EVENTS_KEPT lines are in a ring, numbered
 * from 1 without gaps, and once more among those of their sandbox. A reader holds the
 * number it wants next, and how many it has had or is not owed, of its sandbox's or of all.
 * So one that comes too late for a line is told how many it lost, and one of a quiet
 * sandbox is not told of what others' events it never wanted.
 */
#pragma once

#include "util/list.h"

#include <jansson.h>
#include <stdint.h>

#define EVENTS_KEPT 4096

struct event {
	uint64_t serial; /* of the sandbox it is about */
	uint64_t nth;	 /* of that sandbox's events, from 1 on */
	char *line;	 /* JSON and a newline */
};

struct events {
	struct event ring[EVENTS_KEPT];
	uint64_t next; /* number of the next event; the oldest kept is next - EVENTS_KEPT */
	struct link watchers;
};

struct events_reader {
	uint64_t serial; /* of the sandbox whose events it reads; 0: all */
	uint64_t next;	 /* number of the event to look at next */
	uint64_t had;	 /* how many of its events it has had, or is not owed */
	uint64_t lost;	 /* how many it lost before it began */
};

#define EVENTS_ALL_KEPT 0
#define EVENTS_NOW	UINT64_MAX

void events_init(struct events *events);
void events_fini(struct events *events);

/**
 * events_add() - append an event and tell the watchers.
 * @serial: of the sandbox it is about.
 * @nth:    of that sandbox's events, from 1 on.
 * @fields: JSON object with what to say beside `seq` and `time`; stolen.
 */
void events_add(struct events *events, uint64_t serial, uint64_t nth, json_t *fields);

/**
 * events_begin() - a reader begins, or begins anew.
 * @serial: only events of that sandbox; 0 for all.
 * @count:  how many that sandbox has had.
 * @from:   number of the first that it wants, EVENTS_ALL_KEPT or EVENTS_NOW.
 *
 * Return: 0, or -EINVAL when @from is more than the number of the next one.
 */
int events_begin(const struct events *events, struct events_reader *reader, uint64_t serial,
		 uint64_t count, uint64_t from);

/**
 * events_next() - the next line for a reader.
 * Return: a line for the caller to free(), or NULL when there is none yet.
 */
char *events_next(const struct events *events, struct events_reader *reader);
