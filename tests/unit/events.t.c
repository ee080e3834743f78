/* The event log: order, filtering, and what a reader that is too slow is told. */
#include "pffs/core/events.h"

#include "tests/unit/tap.h"

#include "pffs/core/watch.h"

#include <errno.h>

#define SANDBOX 7u
#define OTHER	8u

static struct events *events;
static uint64_t had[16]; /* how many events a sandbox has had */
static unsigned notified;

static void count(struct watch *watch)
{
	(void)watch;
	notified++;
}

static void add(uint64_t serial, int number)
{
	events_add(events, serial, ++had[serial], json_pack("{s:i}", "n", number));
}

static struct events_reader reader_from(uint64_t serial, uint64_t from)
{
	struct events_reader reader;

	is_int(events_begin(events, &reader, serial, had[serial], from), 0,
	       "a reader begins");
	return reader;
}

/* The field @key of the next line for a reader, or -1 when there is no line. */
static json_int_t next(struct events_reader *reader, const char *key)
{
	char *line = events_next(events, reader);
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

static void readers_get_what_they_want(void)
{
	struct events_reader all = reader_from(0, EVENTS_ALL_KEPT), one;

	is_int(next(&all, "n"), -1, "at first there is no event");
	add(SANDBOX, 1);
	add(OTHER, 2);
	add(SANDBOX, 3);
	is_int(notified, 3, "the watcher is told of each");
	is_int(next(&all, "n"), 1, "a reader gets the first");
	is_int(next(&all, "n"), 2, "then the second");
	is_int(next(&all, "n"), 3, "then the third");
	is_int(next(&all, "n"), -1, "then none");
	one = reader_from(SANDBOX, EVENTS_ALL_KEPT);
	is_int(next(&one, "n"), 1, "a reader of one sandbox gets its first");
	is_int(next(&one, "n"), 3, "and its second, without the others'");
	is_int(next(&one, "n"), -1, "then none");
}

static void readers_begin_where_they_want(void)
{
	struct events_reader reader = reader_from(0, 2);

	is_int(next(&reader, "seq"), 2, "from a number on");
	reader = reader_from(SANDBOX, 2);
	is_int(next(&reader, "seq"), 3, "or the next that is wanted");
	reader = reader_from(0, EVENTS_NOW);
	is_int(next(&reader, "seq"), -1, "or from now on");
	add(SANDBOX, 4);
	is_int(next(&reader, "seq"), 4, "with what comes then");
	is_int(events_begin(events, &reader, 0, 0, 5), 0, "also by the next number");
	is_int(events_begin(events, &reader, 0, 0, 6), -EINVAL, "not by one beyond");
}

static void who_is_slow_is_told(void)
{
	struct events_reader late = reader_from(0, EVENTS_ALL_KEPT),
			     one = reader_from(SANDBOX, 3),
			     quiet = reader_from(OTHER, EVENTS_NOW),
			     now = reader_from(SANDBOX, EVENTS_NOW), again;

	is_int(next(&late, "seq"), 1, "events are numbered from 1");
	for (int i = 0; i < EVENTS_KEPT + 9; i++)
		add(SANDBOX, 100 + i);
	is_int(next(&late, "count"), 12, "a late reader is told how many it lost");
	is_int(next(&late, "n"), 109, "and goes on with the oldest that is kept");
	is_int(next(&one, "count"), 2 + 9, "of a sandbox's, only these are counted");
	is_int(next(&now, "count"), 9, "from where it began");
	is_int(next(&now, "n"), 109, "once");
	is_int(next(&quiet, "n"), -1, "nothing was lost where nothing happened");
	add(OTHER, 5);
	is_int(next(&quiet, "n"), 5, "what happens there then is told alone");
	again = reader_from(0, 2);
	is_int(next(&again, "count"), 13, "who begins with what is kept no more is told");
	is_int(next(&again, "n"), 110, "too");
	again = reader_from(SANDBOX, EVENTS_ALL_KEPT);
	is_int(next(&again, "n"), 110, "who asks for what is kept has lost nothing");
}

int main(void)
{
	struct watch watch;

	events = malloc(sizeof(*events));
	events_init(events);
	watch_add(&events->watchers, &watch, count);
	readers_get_what_they_want();
	readers_begin_where_they_want();
	who_is_slow_is_told();
	list_del(&watch.link);
	events_fini(events);
	free(events);
	return done_testing();
}
