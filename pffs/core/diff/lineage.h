/*
 * Where machines come from, and when their ways parted.
 *
 * Theory of operation: a machine that was forked has the line of its parent behind it, up
 * to a moment that the parent's guest told just before the fork (FILES_MARK of
 * wire/files.h), by a clock that goes on in all forks. Two machines were one until the
 * ways to their nearest common ancestor parted: outside of what either guest noted since,
 * their files are the same. A line lives as long as a machine that came from it. Where the
 * guest told no moment, nothing is known.
 */
#pragma once

#include <stdint.h>

struct lineage;

/**
 * lineage_new() - the line of a new machine; the caller has its one reference.
 * @parent: that it parted from, or NULL.
 * @moment: when, or 0: not known.
 * Return: it, or NULL without memory.
 */
struct lineage *lineage_new(struct lineage *parent, int64_t moment);

struct lineage *lineage_ref(struct lineage *line);

/** lineage_unref() - NULL is none. */
void lineage_unref(struct lineage *line);

/** lineage_parted() - Return: a moment at which the machines of both lines were still one,
 * as late as possible; 0: not known. Either may be NULL. */
int64_t lineage_parted(const struct lineage *a, const struct lineage *b);
