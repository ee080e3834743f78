#include "pffs/api/runs.h"

#include "pffs/api/base64.h"
#include "pffs/api/shown.h"
#include "pffs/api/text.h"
#include "util/cleanup.h"

#include <stdlib.h>
#include <string.h>

char *runs_bytes(const struct stream *stream, uint64_t at, size_t *len)
{
	char *bytes = malloc(stream->size - at + 1);
	ssize_t n;

	*len = 0;
	while (bytes && at + *len < stream->size &&
	       (n = stream_read(stream, at + *len, bytes + *len,
				stream->size - at - *len)) > 0)
		*len += (size_t)n;
	return bytes;
}

static json_t *newest_text(const struct stream *stream, bool *truncated)
{
	uint64_t at = stream->size > RUNS_TEXT_MAX ? stream->size - RUNS_TEXT_MAX : 0;
	size_t len, from = 0;
	cleanup_free char *bytes = runs_bytes(stream, at, &len);

	/* Not from the middle of a character. */
	while (at && from < len && from < 3 && ((unsigned char)bytes[from] & 0xc0) == 0x80)
		from++;
	*truncated |= at > 0;
	return bytes ? text_json(bytes + from, len - from) : json_null();
}

static json_t *shown_figures(const struct sandbox *sb, const struct run *run, bool data)
{
	json_t *figures = json_array();
	uint64_t sent = 0;

	for (unsigned i = 0; i < run->figure_count; i++) {
		const struct stream *png = &run->figures[i];
		size_t len;
		json_t *figure;

		if (!run_figure_is_whole(run, i) || !png->size)
			continue;
		figure =
		    json_pack("{s:i, s:s, s:I, s:o}", "number", (int)i + 1, "media_type",
			      "image/png", "size", (json_int_t)png->size, "url",
			      json_sprintf("/v1/sandboxes/%s/runs/%u/figures/%u", sb->id,
					   run->number, i + 1));
		if (data && png->size <= RUNS_FIGURES_MAX - sent) {
			sent += png->size;
			cleanup_free char *bytes = runs_bytes(png, 0, &len);

			json_object_set_new(figure, "data",
					    bytes ? base64_json(bytes, len) : json_null());
		}
		json_array_append_new(figures, figure);
	}
	return figures;
}

/* A line of a run's changes: "A path", the path as quote_path() prints it. */
static void add_change(const struct sandbox *sb, json_t *changes, json_t *files, char *line)
{
	const char kind[] = {line[0], '\0'};
	size_t len = text_unquote(line + 2);
	json_t *path = text_json(line + 2, len);

	json_array_append_new(changes,
			      json_pack("{s:s, s:O}", "change", kind, "path", path));
	if (kind[0] != 'D') {
		cleanup_free char *escaped = text_escape_path(line + 2, len);

		json_array_append_new(
		    files, json_pack("{s:O, s:o}", "path", path, "url",
				     json_sprintf("/v1/sandboxes/%s/files/%s", sb->id,
						  escaped ? escaped : "")));
	}
	json_decref(path);
}

static void show_changes(const struct sandbox *sb, const struct run *run, json_t *shown)
{
	json_t *changes, *files;
	size_t len;
	cleanup_free char *text = NULL;
	char *rest, *line;
	unsigned count = 0;

	if (run->state == RUN_ENDED && !run->changes_due && !run->changes_lost)
		text = runs_bytes(&run->streams[RUN_CHANGES], 0, &len);
	files = json_array();
	changes = text ? json_array() : json_null();
	if (text)
		text[len] = '\0';
	for (rest = text; rest && *rest && count < RUNS_CHANGES_MAX; count++) {
		line = strsep(&rest, "\n");
		if (line[0] && line[1])
			add_change(sb, changes, files, line);
	}
	json_object_set_new(shown, "changes_truncated", json_boolean(rest && *rest));
	json_object_set_new(shown, "changes", changes);
	json_object_set_new(shown, "files", files);
}

json_t *runs_shown(const struct sandbox *sb, const struct run *run, unsigned with)
{
	bool truncated = false;
	json_t *shown = json_pack(
	    "{s:i, s:s, s:o, s:o, s:o, s:o, s:o, s:b, s:b}", "number", (int)run->number,
	    "state", run_state_name(run), "language",
	    text_json(run_language(run), strlen(run_language(run))), "created",
	    shown_time(&run->created), "started", shown_time(&run->started), "ended",
	    shown_time(&run->ended), "exit_code",
	    run->state == RUN_ENDED ? json_integer(run->exit_code & 0xff) : json_null(),
	    "timed_out", run->timed_out, "out_of_memory", run->out_of_memory);

	if (with & RUNS_OUTPUT) {
		json_object_set_new(shown, "stdout",
				    newest_text(&run->streams[RUN_STDOUT], &truncated));
		json_object_set_new(shown, "stderr",
				    newest_text(&run->streams[RUN_STDERR], &truncated));
		json_object_set_new(shown, "truncated", json_boolean(truncated));
		show_changes(sb, run, shown);
	}
	json_object_set_new(shown, "figures", shown_figures(sb, run, with & RUNS_FIGURES));
	return shown;
}
