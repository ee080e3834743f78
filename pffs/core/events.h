/*
 * The event log: one NDJSON line for everything that happens to a sandbox.
 *
 * Theory of operation: the newest EVENTS_KEPT lines are in a ring, numbered
 * from 1 without gaps. A reader holds the number it wants next. One that comes
 * too late for a line is told how many it lost.
 */
#pragma once

#include "util/list.h"

#include <jansson.h>
#include <stdint.h>

#define EVENTS_KEPT 4096

struct event {
	uint64_t serial; /* of the sandbox it is about */
	char *line;	 /* JSON and a newline */
};

struct events {
	struct event ring[EVENTS_KEPT];
	uint64_t next; /* number of the next event; the oldest kept is next - EVENTS_KEPT */
	struct link watchers;
};

void events_init(struct events *events);
void events_fini(struct events *events);

/**
 * events_add() - append an event and tell the watchers.
 * @serial: of the sandbox it is about.
 * @fields: JSON object with what to say beside `seq` and `time`; stolen.
 */
void events_add(struct events *events, uint64_t serial, json_t *fields);

/**
 * events_next() - the next line for a reader.
 * @cursor: the reader's; starts at 0, moves past the line returned.
 * @serial: only events of that sandbox; 0 for all.
 *
 * Return: a line for the caller to free(), or NULL when there is none yet.
 */
char *events_next(const struct events *events, uint64_t *cursor, uint64_t serial);
