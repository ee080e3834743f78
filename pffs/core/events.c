#include "pffs/core/events.h"

#include "pffs/core/watch.h"

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
	struct tm tm;
	char text[32];

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	return json_sprintf("%s.%03ldZ", text, now.tv_nsec / 1000000);
}

void events_add(struct events *events, uint64_t serial, json_t *fields)
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
	*slot = (struct event){.serial = serial, .line = line};
	events->next++;
	watch_notify(&events->watchers);
}

char *events_next(const struct events *events, uint64_t *cursor, uint64_t serial)
{
	uint64_t oldest = events->next > EVENTS_KEPT ? events->next - EVENTS_KEPT : 1;
	char *line = NULL;

	if (*cursor == 0)
		*cursor = oldest;
	if (*cursor < oldest) {
		if (asprintf(&line, "{\"event\":\"lost\",\"count\":%llu}\n",
			     (unsigned long long)(oldest - *cursor)) < 0)
			return NULL;
		*cursor = oldest;
		return line;
	}
	while (*cursor < events->next) {
		const struct event *event = &events->ring[(*cursor)++ % EVENTS_KEPT];

		if (event->line && (!serial || event->serial == serial))
			return strdup(event->line);
	}
	return NULL;
}
