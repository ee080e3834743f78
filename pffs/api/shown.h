/*
 * What the API shows of sandboxes and runs: docs/http.md.
 */
#pragma once

#include "pffs/core/sandbox.h"

#include <jansson.h>

/** shown_sandbox() - the object. */
json_t *shown_sandbox(const struct sandbox *sb);

/** shown_time() - null for one that has not come. */
json_t *shown_time(const struct timespec *at);
