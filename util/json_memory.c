#include "util/json_memory.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static const char *name = "";
static void *reserve;

static void *give_up_reserve(size_t size)
{
	void *at;

	free(__atomic_exchange_n(&reserve, NULL, __ATOMIC_ACQ_REL));
	at = malloc(size);
	if (!at) {
		fprintf(stderr, "%s: there is no memory left for a message\n", name);
		exit(1);
	}
	return at;
}

static void *take(size_t size)
{
	void *at = malloc(size);

	if (!at)
		at = give_up_reserve(size);
	if (!__atomic_load_n(&reserve, __ATOMIC_ACQUIRE))
		free(__atomic_exchange_n(&reserve, malloc(JSON_RESERVE), __ATOMIC_ACQ_REL));
	return at;
}

void json_memory_init(const char *program)
{
	name = program;
	json_set_alloc_funcs(take, free);
}
