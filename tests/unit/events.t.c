/* The event log: order, filtering, and what a reader that is too slow is told. */
#include "pffs/core/events.h"

#include "tests/unit/tap.h"

#include "pffs/core/watch.h"

static unsigned notified;

static void count(struct watch *watch)
{
	(void)watch;
	notified++;
}

static void add(struct events *events, uint64_t serial, int number)
{
	events_add(events, serial, json_pack("{s:i}", "n", number));
}

/* The field @key of the next line for a reader, or -1 when there is no line. */
static json_int_t next(const struct events *events, uint64_t *cursor, uint64_t serial,
		       const char *key)
{
	char *line = events_next(events, cursor, serial);
	json_t *object = line ? json_loads(line, 0, NULL) : NULL;
	json_int_t value = -1;

	if (line && (!object || line[strlen(line) - 1] != '\n'))
		value = -2;
	else if (object)
		value = json_integer_value(json_object_get(object, key));
	json_decref(object);
	free(line);
	return value;
}

int main(void)
{
	struct events *events = malloc(sizeof(*events));
	struct watch watch;
	uint64_t all = 0, one = 0, late = 0;

	events_init(events);
	watch_add(&events->watchers, &watch, count);
	is_int(next(events, &all, 0, "n"), -1, "at first there is no event");
	add(events, 7, 1);
	add(events, 8, 2);
	add(events, 7, 3);
	is_int(notified, 3, "the watcher is told of each");
	is_int(next(events, &all, 0, "n"), 1, "a reader gets the first");
	is_int(next(events, &all, 0, "n"), 2, "then the second");
	is_int(next(events, &all, 0, "n"), 3, "then the third");
	is_int(next(events, &all, 0, "n"), -1, "then none");
	is_int(next(events, &one, 7, "n"), 1, "a reader of one sandbox gets its first");
	is_int(next(events, &one, 7, "n"), 3, "and its second, without the others'");
	is_int(next(events, &late, 0, "seq"), 1, "events are numbered from 1");
	for (int i = 0; i < EVENTS_KEPT + 9; i++)
		add(events, 7, 100 + i);
	is_int(next(events, &late, 0, "count"), 11,
	       "a late reader is told how many it lost");
	is_int(next(events, &late, 0, "n"), 109,
	       "and goes on with the oldest that is kept");
	list_del(&watch.link);
	events_fini(events);
	free(events);
	return done_testing();
}
