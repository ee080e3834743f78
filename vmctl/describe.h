/*
 * The bodies of replies: docs/protocols.md says what is in each. All return a new
 * object, or NULL without memory.
 */
#pragma once

#include <jansson.h>

struct broker;
struct vmproc;

/** describe_vm() - a VM as `list` has it. */
json_t *describe_vm(const struct vmproc *vm);

/** describe_attached() - likewise, and where the streams of its channel are. */
json_t *describe_attached(const struct vmproc *vm);

/** describe_broker() - `stat` without a VM. */
json_t *describe_broker(const struct broker *broker);

/**
 * describe_use() - `stat` of a VM.
 * @message: what its process said, unchecked; NULL when it is dead.
 */
json_t *describe_use(const struct vmproc *vm, const json_t *message);

/**
 * describe_log() - `log` of a VM.
 * @log: UTF-8, or NULL. JSON can swell it beyond a frame: then its newest part
 *       has to do.
 */
json_t *describe_log(const char *log);
