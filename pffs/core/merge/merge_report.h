/*
 * What is read from merge: how a merge of files came to its end.
 */
#pragma once

#include "pffs/core/merge/merge3.h"
#include "pffs/core/merge/merge_changes.h"

struct merge_report {
	struct sandbox *const *forks; /* that were to be merged */
	size_t count;
	const struct changes *changes; /* that were made, or NULL */
	const struct merge3 *merge3;   /* whose conflicts are listed, or NULL */
	bool conflict;		       /* one is why it failed */
	const struct error *err;       /* why it failed, or NULL */
};

/** merge_report() - Return: the text, which is the caller's to free; or NULL. */
char *merge_report(const struct merge_report *report);
