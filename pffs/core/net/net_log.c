#include "pffs/core/net/net_log.h"

#include "pffs/core/stamp.h"
#include "pffs/core/watch.h"
#include "util/cleanup.h"

#include <string.h>

#define RECORDS_MAX 200	 /* of one bundle */
#define TEXT_MAX    1024 /* bytes of a string in a record */

void net_log_init(struct net_log *log)
{
	*log = (struct net_log){.lines = STREAM_EMPTY};
	list_init(&log->watchers);
}

void net_log_fini(struct net_log *log)
{
	stream_fini(&log->lines);
}

/* Leave whole lines. */
static void trim(struct net_log *log)
{
	uint64_t from = log->lines.size - NET_LOG_KEPT;
	const char *newline;
	char piece[2 * TEXT_MAX];
	ssize_t n;

	if (log->lines.size - log->kept <= NET_LOG_KEPT)
		return;
	n = stream_read(&log->lines, from, piece, sizeof(piece));
	newline = n > 0 ? memchr(piece, '\n', (size_t)n) : NULL;
	if (newline)
		from += (uint64_t)(newline + 1 - piece);
	stream_drop(&log->lines, from);
	log->kept = from;
}

void net_log_restore(struct net_log *log, const void *data, size_t len)
{
	if (stream_append(&log->lines, data, len) == 0)
		trim(log);
}

static void copy(json_t *line, const json_t *record, const char *key)
{
	json_t *value = json_object_get(record, key);

	if (json_is_integer(value) ||
	    (json_is_string(value) && json_string_length(value) <= TEXT_MAX))
		json_object_set(line, key, value);
}

/* Nothing but what docs/network.md has gets into the log. */
static void add(struct net_log *log, const json_t *record, const char *time)
{
	static const char *const keys[] = {"action", "proto", "address", "port",
					   "name",   "type",  "reason",	 "count"};
	json_t *line = json_pack("{s:s}", "time", time);
	cleanup_free char *text = NULL;

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		copy(line, record, keys[i]);
	if (json_object_get(line, "action"))
		text = json_dumps(line, 0);
	json_decref(line);
	if (text && stream_append(&log->lines, text, strlen(text)) == 0)
		stream_append(&log->lines, "\n", 1);
}

uint64_t net_log_add(struct net_log *log, const json_t *records)
{
	uint64_t from = log->lines.size;
	struct timespec now;
	char time[STAMP_MAX];

	clock_gettime(CLOCK_REALTIME, &now);
	stamp_format(&now, time);
	for (size_t i = 0; i < json_array_size(records) && i < RECORDS_MAX; i++)
		add(log, json_array_get(records, i), time);
	trim(log);
	if (log->lines.size > from)
		watch_notify(&log->watchers);
	return from > log->kept ? from : log->kept;
}
