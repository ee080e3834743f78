/*
 * An input as a script: a byte chooses each step, which takes what it needs from the
 * bytes behind that. What is missing at the end reads as zeros.
 */
#pragma once

#include "wire/cursor.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCRIPT_STEPS_MAX 200

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A step. Return: 0, or anything else to end the script. */
typedef int script_step(void *world);

/** must() - or it is a finding. */
static inline void must(bool right)
{
	if (!right)
		abort();
}

/** script_run() - do the steps of @in until one ends it. */
static inline void script_run(struct cursor *in, script_step *const *steps, size_t count,
			      void *world)
{
	for (unsigned n = 0; n < SCRIPT_STEPS_MAX && cursor_left(in) && !in->overflow; n++)
		if (steps[cursor_get_u8(in) % count](world))
			return;
}
