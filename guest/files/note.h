/*
 * What the file server is changing itself, for the agent, which reads the events: in
 * memory that both have.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define FILES_NOTES 128 /* two for each request that is unanswered */

struct files_note {
	atomic_bool taken;
	atomic_uint stream; /* of the request; 0: not yet */
	atomic_int end;	    /* a watch whose end in the queue is the note's; 0: none */
	atomic_bool ended;
	atomic_bool closed; /* the change is over */
	int watch;	    /* of the directory */
	uint32_t events;
	uint64_t name; /* its hash */
};

/** note_add() - @events of @name in the directory of @watch are @stream's from now on.
 * Return: NULL when there is no room: then they are told. */
struct files_note *note_add(struct files_note notes[FILES_NOTES], uint32_t stream,
			    int watch, uint32_t events, const char *name);

/**
 * notes_cover() - is an event of @name a note's?
 * @pending: whether a request has no answer yet; only such a one's notes count.
 */
bool notes_cover(const struct files_note notes[FILES_NOTES], int watch, uint32_t event,
		 const char *name, bool (*pending)(void *ctx, uint32_t stream), void *ctx);

/** notes_linger() - Return: are there notes of changes that are over, without an end?
 * @watch: 0 for any. */
bool notes_linger(const struct files_note notes[FILES_NOTES], int watch);

/** notes_mark() - they end when that of the watch @end is read. */
void notes_mark(struct files_note notes[FILES_NOTES], int watch, int end);

/** notes_end() - this watch has ended. Return: was it there to end notes? */
bool notes_end(struct files_note notes[FILES_NOTES], int number);

/** notes_release() - @stream has its answer, and all events before that were read. */
void notes_release(struct files_note notes[FILES_NOTES], uint32_t stream);
