/*
 * Scope-bound ownership for C: a variable marked with one of these attributes
 * gives up what it holds when its scope ends, on every path. Ownership is
 * handed on visibly, with steal_fd() or steal_pointer().
 */
#pragma once

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_close_fn(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_free_fn(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_fclose_fn(FILE **f)
{
	if (*f)
		fclose(*f);
}

static inline void cleanup_closedir_fn(DIR **d)
{
	if (*d)
		closedir(*d);
}

#define cleanup_close	 __attribute__((cleanup(cleanup_close_fn)))
#define cleanup_free	 __attribute__((cleanup(cleanup_free_fn)))
#define cleanup_fclose	 __attribute__((cleanup(cleanup_fclose_fn)))
#define cleanup_closedir __attribute__((cleanup(cleanup_closedir_fn)))

/** steal_fd() - take the descriptor out of a cleanup_close variable. */
static inline int steal_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

/** steal_pointer() - take the pointer out of a cleanup variable. */
#define steal_pointer(pp)                                                                  \
	({                                                                                 \
		__auto_type taken_ = *(pp);                                                \
		*(pp) = NULL;                                                              \
		taken_;                                                                    \
	})
