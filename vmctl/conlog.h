/*
 * What a guest said on its serial port and its log console: the newest 64 KiB.
 * The guest's threads write, the main thread reads; the log has a lock of its
 * own, so that reading it never waits for a device.
 */
#pragma once

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#define CONLOG_SIZE (64u << 10)

struct conlog {
	pthread_mutex_t lock;
	uint64_t total; /* bytes ever written; the ring's end is total % CONLOG_SIZE */
	char ring[CONLOG_SIZE];
};

/** conlog_init() - an empty log. */
void conlog_init(struct conlog *log);

/** conlog_write() - append @len bytes; the oldest ones make room. */
void conlog_write(struct conlog *log, const void *data, size_t len);

/**
 * conlog_text() - the log as text: carriage returns are left out, and what is
 * neither printable ASCII nor a newline or a tab is a question mark.
 * @text: room for CONLOG_SIZE + 1 bytes; a NUL ends it.
 */
void conlog_text(struct conlog *log, char *text);
