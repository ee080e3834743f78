/*
 * The tools, and what comes of one.
 */
#pragma once

#include "pffs/mcp/mcp_calls.h"
#include "pffs/mcp/mcp_schema.h"

/* Of a call: what the model reads, and the same for programs. */
struct result {
	json_t *content;    /* an array */
	json_t *structured; /* an object that has the tool's schema, or NULL */
	bool is_error;
};

struct tool {
	const char *name, *title, *description;
	const struct schema_field *in;
	const struct schema_field *in_local; /* with --allow-files; NULL: as @in */
	const struct schema_field *out;
	bool reads_only, destroys, repeats; /* repeats: twice is as good as once */
	/* Return: 0, or -errno with @err filled: it failed. */
	int (*run)(struct call *call, struct result *result, struct error *err);
};

/** tool_find() - return: NULL when there is none of that name. */
const struct tool *tool_find(const char *name);

/** tool_fields() - the arguments that @tool has in this session. */
const struct schema_field *tool_fields(const struct tool *tool, const struct mcp *mcp);

/** tools_list() - as tools/list tells them in a version of the protocol. */
json_t *tools_list(const struct mcp *mcp, int version);

/** result_text() - add a text of @text's @len bytes; what is no UTF-8 is replaced. */
void result_text(struct result *result, const char *text, size_t len);

/** result_say() - add a text, as by printf(). */
__attribute__((format(printf, 2, 3))) void result_say(struct result *result,
						      const char *fmt, ...);

/** result_of_tool() - the result of tools/call; what @result has is taken over. */
json_t *result_of_tool(struct result *result, int version);

/* What the tools do. */
int tool_run_python(struct call *call, struct result *result, struct error *err);
int tool_run_bash(struct call *call, struct result *result, struct error *err);
int tool_read_output(struct call *call, struct result *result, struct error *err);
int tool_upload(struct call *call, struct result *result, struct error *err);
int tool_download(struct call *call, struct result *result, struct error *err);
int tool_create_sandbox(struct call *call, struct result *result, struct error *err);
int tool_list_sandboxes(struct call *call, struct result *result, struct error *err);
int tool_destroy_sandbox(struct call *call, struct result *result, struct error *err);
int tool_fork(struct call *call, struct result *result, struct error *err);
int tool_diff(struct call *call, struct result *result, struct error *err);
int tool_merge(struct call *call, struct result *result, struct error *err);
