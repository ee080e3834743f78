#include "pffs/core/events.h"

#include "pffs/core/stamp.h"
#include "pffs/core/watch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void events_init(struct events *events)
{
	*events = (struct events){.next = 1};
	list_init(&events->watchers);
}

void events_fini(struct events *events)
{
	for (size_t i = 0; i < EVENTS_KEPT; i++)
		free(events->ring[i].line);
}

static json_t *timestamp(void)
{
	struct timespec now;
	char text[STAMP_MAX];

	clock_gettime(CLOCK_REALTIME, &now);
	return json_string(stamp_format(&now, text));
}

void events_add(struct events *events, uint64_t serial, uint64_t nth, json_t *fields)
{
	struct event *slot = &events->ring[events->next % EVENTS_KEPT];
	json_t *all =
	    json_pack("{s:I, s:o}", "seq", (json_int_t)events->next, "time", timestamp());
	char *text, *line = NULL;

	json_object_update(all, fields);
	json_decref(fields);
	text = json_dumps(all, JSON_COMPACT);
	json_decref(all);
	if (!text || asprintf(&line, "%s\n", text) < 0)
		line = NULL;
	free(text);
	free(slot->line);
	*slot = (struct event){.serial = serial, .nth = nth, .line = line};
	events->next++;
	watch_notify(&events->watchers);
}

static uint64_t oldest_kept(const struct events *events)
{
	return events->next > EVENTS_KEPT ? events->next - EVENTS_KEPT : 1;
}

static bool is_wanted(const struct events_reader *reader, const struct event *event)
{
	return !reader->serial || event->serial == reader->serial;
}

/* Move the reader to the next event that it wants. Return: it, or NULL. */
static const struct event *find_next(const struct events *events,
				     struct events_reader *reader)
{
	if (reader->next < oldest_kept(events))
		reader->next = oldest_kept(events);
	for (; reader->next < events->next; reader->next++) {
		const struct event *event = &events->ring[reader->next % EVENTS_KEPT];

		if (event->line && is_wanted(reader, event))
			return event;
	}
	return NULL;
}

/* Which of the reader's events the one is that it stands at. */
static uint64_t number_of(const struct events_reader *reader, const struct event *event)
{
	return reader->serial ? event->nth : reader->next;
}

int events_begin(const struct events *events, struct events_reader *reader, uint64_t serial,
		 uint64_t count, uint64_t from)
{
	uint64_t oldest = oldest_kept(events);
	const struct event *first;

	if (from == EVENTS_NOW)
		from = events->next;
	if (from > events->next)
		return -EINVAL;
	*reader = (struct events_reader){
	    .serial = serial,
	    .next = from,
	    .lost = from != EVENTS_ALL_KEPT && from < oldest ? oldest - from : 0,
	};
	first = find_next(events, reader);
	if (first)
		reader->had = number_of(reader, first) - 1;
	else
		reader->had = serial ? count : events->next - 1;
	return 0;
}

static char *tell_of_loss(uint64_t count)
{
	char *line;

	return asprintf(&line, "{\"event\":\"lost\",\"count\":%llu}\n",
			(unsigned long long)count) < 0
		   ? NULL
		   : line;
}

char *events_next(const struct events *events, struct events_reader *reader)
{
	const struct event *event = find_next(events, reader);
	uint64_t number = event ? number_of(reader, event) : reader->had + 1;
	uint64_t lost = reader->lost + number - 1 - reader->had;

	reader->lost = 0;
	reader->had = number - 1;
	if (lost)
		return tell_of_loss(lost);
	if (!event)
		return NULL;
	reader->had = number;
	reader->next++;
	return strdup(event->line);
}
