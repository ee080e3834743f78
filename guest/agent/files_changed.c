/*
 * Theory of operation
 *
 * Changes are read from inotify before every frame of output and every reply goes into
 * the port's queue. One may so be reported before the reply that tells the host of the
 * watch's number: then it is reported again behind that reply.
 *
 * What the server does itself for the host is no change: the server notes the names
 * (guest/files/note.h), and the reply says what has become of them. The end of a watch is
 * always told. A change is the end of its watch, also of one that would survive it for
 * the sake of what the server does, so that a program which goes on and on makes one
 * event alone.
 *
 * inotify says nothing of a file that gets another link in another directory, by which it
 * can then be changed. So when a program has made a link, all is told as changed.
 */
#include "guest/agent/agent.h"
#include "guest/agent/files.h"

#include <sys/inotify.h>
#include <unistd.h>

#define ALL_CHANGED UINT32_MAX

static void tell(struct files *files, const uint32_t *numbers, size_t count)
{
	uint8_t payload[4 * FILES_REPORTED];
	struct cursor c = cursor_into(payload, sizeof(payload));

	for (size_t i = 0; i < count; i++) {
		cursor_put_u32(&c, numbers[i]);
		files->reported[files->reports++ % FILES_REPORTED] = numbers[i];
	}
	port_send(&files->agent->port, 0, AGENT_FILES_CHANGED, payload, 4 * count);
}

static bool is_pending(void *files, uint32_t stream)
{
	return files_pending(files, stream);
}

/* Nobody need be told of this. */
static bool is_own(struct files *files, const struct inotify_event *event)
{
	struct files_note *notes = files->shared->notes;

	if (event->mask & IN_IGNORED)
		return notes_end(notes, event->wd);
	return notes_cover(notes, event->wd, event->mask, event->len ? event->name : "",
			   is_pending, files);
}

/* Numbers that were told while one read's worth of events is looked at. Those of one
 * watch come in pairs: the event, and that the watch is gone. */
struct changed {
	struct files *files;
	uint32_t numbers[FILES_REPORTED];
	size_t count;
	int ending; /* a watch that was told of, but not that it is gone; 0: none */
};

static void end_watch(struct changed *changed)
{
	if (changed->ending > 0)
		inotify_rm_watch(changed->files->inotify.fd, changed->ending);
	changed->ending = 0;
}

static void take(struct changed *changed, const struct inotify_event *event)
{
	uint32_t number = event->mask & IN_Q_OVERFLOW ? ALL_CHANGED : (uint32_t)event->wd;

	if (is_own(changed->files, event))
		return;
	if (event->mask & IN_IGNORED && event->wd == changed->ending)
		changed->ending = 0;
	else if (event->wd != changed->ending)
		end_watch(changed);
	if (!(event->mask & (IN_IGNORED | IN_Q_OVERFLOW)))
		changed->ending = event->wd;
	if (!changed->count || changed->numbers[changed->count - 1] != number)
		changed->numbers[changed->count++] = number;
	if (changed->count == FILES_REPORTED) {
		tell(changed->files, changed->numbers, changed->count);
		changed->count = 0;
	}
}

/* Return: how many bytes of events there were. */
static ssize_t read_changes(struct files *files)
{
	union {
		struct inotify_event first;
		char room[8192];
	} events;
	struct changed changed = {.files = files};
	ssize_t n = read(files->inotify.fd, &events, sizeof(events));

	for (ssize_t at = 0; at < n;) {
		const struct inotify_event *event = (const void *)(events.room + at);

		take(&changed, event);
		at += (ssize_t)(sizeof(*event) + event->len);
	}
	end_watch(&changed);
	if (changed.count)
		tell(files, changed.numbers, changed.count);
	return n;
}

void files_changes(struct files *files)
{
	const uint32_t all = ALL_CHANGED;

	if (files->inotify.fd < 0 || !atomic_load(&files->shared->watches))
		return;
	if (links_made(files->links))
		tell(files, &all, 1);
	while (read_changes(files) > 0)
		;
}

void files_inotify_event(struct loop_source *source, uint32_t revents)
{
	(void)revents;
	files_changes(container_of(source, struct files, inotify));
}

void files_answered(struct files *files, uint32_t stream)
{
	files_changes(files);
	notes_release(files->shared->notes, stream);
}

/* Was the watch reported after @since? */
static bool overtaken(const struct files *files, uint32_t number, uint64_t since)
{
	if (files->reports - since > FILES_REPORTED)
		return true;
	for (; since < files->reports; since++) {
		uint32_t reported = files->reported[since % FILES_REPORTED];

		if (reported == number || reported == ALL_CHANGED)
			return true;
	}
	return false;
}

void files_tell_again(struct files *files, int32_t watch, uint64_t since)
{
	const uint32_t number = (uint32_t)watch;

	if (watch > 0 && overtaken(files, number, since))
		tell(files, &number, 1);
}

void files_tell_all(struct files *files)
{
	const uint32_t all = ALL_CHANGED;

	for (struct files_note *note = files->shared->notes;
	     note < files->shared->notes + FILES_NOTES; note++) {
		atomic_store(&note->stream, 0);
		atomic_store(&note->taken, false);
	}
	if (atomic_load(&files->shared->watches))
		tell(files, &all, 1);
}
