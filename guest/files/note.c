#include "guest/files/note.h"

#include "util/siphash.h"

#include <string.h>

/* Agent and server are forked of one process, and have the same secret. */
static uint64_t hash_of(const char *name)
{
	return siphash_secret(0, name, strlen(name));
}

struct files_note *note_add(struct files_note notes[FILES_NOTES], uint32_t stream,
			    int watch, uint32_t events, const char *name)
{
	struct files_note *note = notes;
	bool free = false;

	while (note < notes + FILES_NOTES &&
	       !atomic_compare_exchange_strong(&note->taken, &free, true)) {
		note++;
		free = false;
	}
	if (note == notes + FILES_NOTES)
		return NULL;
	atomic_store(&note->end, 0);
	atomic_store(&note->ended, false);
	atomic_store(&note->closed, false);
	note->watch = watch;
	note->events = events;
	note->name = hash_of(name);
	atomic_store(&note->stream, stream);
	return note;
}

static bool covers(const struct files_note *note, int watch, uint32_t event,
		   const char *name)
{
	return atomic_load(&note->stream) && note->watch == watch && note->events & event &&
	       !atomic_load(&note->ended) && note->name == hash_of(name);
}

bool notes_cover(const struct files_note notes[FILES_NOTES], int watch, uint32_t event,
		 const char *name, bool (*pending)(void *ctx, uint32_t stream), void *ctx)
{
	for (const struct files_note *note = notes; note < notes + FILES_NOTES; note++)
		if (covers(note, watch, event, name) &&
		    pending(ctx, atomic_load(&note->stream)))
			return true;
	return false;
}

static bool lingers(const struct files_note *note, int watch)
{
	return atomic_load(&note->stream) && (!watch || note->watch == watch) &&
	       atomic_load(&note->closed) && !atomic_load(&note->end);
}

bool notes_linger(const struct files_note notes[FILES_NOTES], int watch)
{
	for (const struct files_note *note = notes; note < notes + FILES_NOTES; note++)
		if (lingers(note, watch))
			return true;
	return false;
}

void notes_mark(struct files_note notes[FILES_NOTES], int watch, int end)
{
	for (struct files_note *note = notes; note < notes + FILES_NOTES; note++)
		if (lingers(note, watch))
			atomic_store(&note->end, end);
}

bool notes_end(struct files_note notes[FILES_NOTES], int number)
{
	bool any = false;

	for (struct files_note *note = notes; note < notes + FILES_NOTES; note++)
		if (atomic_load(&note->taken) && atomic_load(&note->end) == number) {
			atomic_store(&note->ended, true);
			any = true;
		}
	return any;
}

void notes_release(struct files_note notes[FILES_NOTES], uint32_t stream)
{
	for (struct files_note *note = notes; note < notes + FILES_NOTES; note++)
		if (atomic_load(&note->stream) == stream) {
			atomic_store(&note->stream, 0);
			atomic_store(&note->taken, false);
		}
}
