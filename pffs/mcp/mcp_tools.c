#include "pffs/mcp/mcp_tools.h"

#include "pffs/mcp/mcp.h"
#include "pffs/mcp/mcp_session.h"
#include "pffs/mcp/mcp_text.h"

#include <stdarg.h>
#include <string.h>

#define SANDBOX                                                                            \
	{                                                                                  \
		.name = "sandbox", .type = SCHEMA_STRING,                                  \
		.help = "name, id or path of a sandbox; without it: this session's own"    \
	}
#define END                                                                                \
	{                                                                                  \
		.type = SCHEMA_END                                                         \
	}
#define TIMEOUT_MAX 86400

static const struct schema_field no_fields[] = {END};

/* What both kinds of run take beside their code. */
#define RUN_IN                                                                             \
	SANDBOX,                                                                           \
	    {.name = "stdin", .type = SCHEMA_STRING, .help = "what the program can read"}, \
	    {.name = "timeout_seconds",                                                    \
	     .type = SCHEMA_NUMBER,                                                        \
	     .positive = true,                                                             \
	     .help = "the run is killed then, and has the exit code 124"},                 \
	{                                                                                  \
		.name = "max_output", .type = SCHEMA_INTEGER, .minimum = 100,              \
		.maximum = 1000000,                                                        \
		.help = "bytes of each output stream to return at most, the newest "       \
			"ones; 100000 if not said. read_output has all of it"              \
	}

static const struct schema_field python_in[] = {
    {.name = "code",
     .type = SCHEMA_STRING,
     .required = true,
     .help = "Python source. Variables and imports stay for the next call. Only what is "
	     "printed is returned, print() what you want to see; figures of matplotlib "
	     "come back as images"},
    RUN_IN,
    END,
};

static const struct schema_field bash_in[] = {
    {.name = "code",
     .type = SCHEMA_STRING,
     .required = true,
     .help = "a bash script, which runs as root in /root. Each call is a new shell; files "
	     "and background processes stay"},
    RUN_IN,
    END,
};

static const struct schema_field change_fields[] = {
    {.name = "change",
     .type = SCHEMA_STRING,
     .required = true,
     .values = {"A", "M", "D"},
     .help = "A: made, M: modified, D: removed"},
    {.name = "path", .type = SCHEMA_STRING, .required = true},
    END,
};

static const struct schema_field run_out[] = {
    {.name = "sandbox", .type = SCHEMA_STRING, .required = true},
    {.name = "run",
     .type = SCHEMA_INTEGER,
     .required = true,
     .help = "its number in the sandbox, for read_output"},
    {.name = "exit_code",
     .type = SCHEMA_INTEGER,
     .required = true,
     .nullable = true,
     .help = "0: it went well; 128 + N: signal N; 124: it took too long"},
    {.name = "timed_out", .type = SCHEMA_BOOLEAN, .required = true},
    {.name = "out_of_memory", .type = SCHEMA_BOOLEAN, .required = true},
    {.name = "stdout", .type = SCHEMA_STRING, .required = true},
    {.name = "stderr", .type = SCHEMA_STRING, .required = true},
    {.name = "truncated",
     .type = SCHEMA_BOOLEAN,
     .required = true,
     .help = "older output is left out: read_output has it"},
    {.name = "changes",
     .type = SCHEMA_OBJECTS,
     .required = true,
     .fields = change_fields,
     .help = "files that the run made, modified or removed"},
    {.name = "changes_omitted", .type = SCHEMA_INTEGER, .required = true},
    {.name = "files",
     .type = SCHEMA_STRINGS,
     .required = true,
     .help = "those that it made or modified: `download` gets one"},
    {.name = "figures",
     .type = SCHEMA_INTEGER,
     .required = true,
     .help = "how many images there are in the content"},
    {.name = "figures_omitted", .type = SCHEMA_INTEGER, .required = true},
    END,
};

static const struct schema_field output_in[] = {
    {.name = "run",
     .type = SCHEMA_INTEGER,
     .required = true,
     .minimum = 1,
     .help = "number of the run"},
    SANDBOX,
    {.name = "stream",
     .type = SCHEMA_STRING,
     .values = {"output", "stdout", "stderr", "code"},
     .help = "output (if not said): both streams as they came; code: what was run"},
    {.name = "offset", .type = SCHEMA_INTEGER, .help = "byte to begin with; 0 if not said"},
    {.name = "max_bytes",
     .type = SCHEMA_INTEGER,
     .minimum = 100,
     .maximum = 1000000,
     .help = "100000 if not said"},
    END,
};

static const struct schema_field output_out[] = {
    {.name = "sandbox", .type = SCHEMA_STRING, .required = true},
    {.name = "run", .type = SCHEMA_INTEGER, .required = true},
    {.name = "stream", .type = SCHEMA_STRING, .required = true},
    {.name = "offset", .type = SCHEMA_INTEGER, .required = true},
    {.name = "next_offset",
     .type = SCHEMA_INTEGER,
     .required = true,
     .nullable = true,
     .help = "where it goes on; null: this was the end"},
    {.name = "text", .type = SCHEMA_STRING, .required = true},
    END,
};

#define UPLOAD_IN                                                                          \
	{.name = "path",                                                                   \
	 .type = SCHEMA_STRING,                                                            \
	 .required = true,                                                                 \
	 .help =                                                                           \
	     "where in the sandbox; below /root when it does not begin with /. Missing "   \
	     "directories are made, a file that is there is replaced"},                    \
	    {.name = "text", .type = SCHEMA_STRING, .help = "the contents, as text"},      \
	    {.name = "base64",                                                             \
	     .type = SCHEMA_STRING,                                                        \
	     .help = "the contents, if they are no text"},                                 \
	    SANDBOX

static const struct schema_field upload_in[] = {UPLOAD_IN, END};

static const struct schema_field upload_in_local[] = {
    UPLOAD_IN,
    {.name = "local_path",
     .type = SCHEMA_STRING,
     .help = "a file of the user's to take the contents from, in the directory that the "
	     "user has opened to you"},
    END,
};

static const struct schema_field upload_out[] = {
    {.name = "sandbox", .type = SCHEMA_STRING, .required = true},
    {.name = "path", .type = SCHEMA_STRING, .required = true},
    {.name = "size", .type = SCHEMA_INTEGER, .required = true},
    END,
};

#define DOWNLOAD_IN                                                                        \
	{.name = "path",                                                                   \
	 .type = SCHEMA_STRING,                                                            \
	 .required = true,                                                                 \
	 .help = "of a file; below /root when it does not begin with /"},                  \
	    SANDBOX,                                                                       \
	    {.name = "offset",                                                             \
	     .type = SCHEMA_INTEGER,                                                       \
	     .help = "byte to begin with; 0 if not said"},                                 \
	{                                                                                  \
		.name = "max_bytes", .type = SCHEMA_INTEGER, .minimum = 1,                 \
		.maximum = 8000000,                                                        \
		.help = "100000 if not said, but images come whole up to 5 MiB"            \
	}

static const struct schema_field download_in[] = {DOWNLOAD_IN, END};

static const struct schema_field download_in_local[] = {
    DOWNLOAD_IN,
    {.name = "local_path",
     .type = SCHEMA_STRING,
     .help = "write all of it to this file, in the directory that the user has opened to "
	     "you, and return nothing of it"},
    END,
};

static const struct schema_field download_out[] = {
    {.name = "sandbox", .type = SCHEMA_STRING, .required = true},
    {.name = "path", .type = SCHEMA_STRING, .required = true},
    {.name = "size",
     .type = SCHEMA_INTEGER,
     .required = true,
     .help = "of the whole file in bytes"},
    {.name = "offset", .type = SCHEMA_INTEGER},
    {.name = "next_offset",
     .type = SCHEMA_INTEGER,
     .nullable = true,
     .help = "where it goes on; null: this was the end"},
    {.name = "text",
     .type = SCHEMA_STRING,
     .help = "if it is UTF-8; other bytes are in the content, as an image or in base64 as "
	     "a resource"},
    END,
};

static const struct schema_field create_in[] = {
    {.name = "name",
     .type = SCHEMA_STRING,
     .help = "1 to 64 of A-Za-z0-9._-; a fresh one if not said"},
    {.name = "template", .type = SCHEMA_STRING, .help = "what to make it of"},
    END,
};

#define SANDBOX_OUT                                                                        \
	{.name = "sandbox", .type = SCHEMA_STRING, .required = true, .help = "its id"},    \
	    {.name = "name", .type = SCHEMA_STRING, .required = true},                     \
	    {.name = "path", .type = SCHEMA_STRING, .required = true},                     \
	    {.name = "state", .type = SCHEMA_STRING, .required = true},                    \
	    {.name = "parent",                                                             \
	     .type = SCHEMA_STRING,                                                        \
	     .required = true,                                                             \
	     .nullable = true,                                                             \
	     .help = "id of what it is a fork of"},                                        \
	{                                                                                  \
		.name = "made_here", .type = SCHEMA_BOOLEAN, .required = true,             \
		.help = "a tool of this session made it"                                   \
	}

static const struct schema_field sandbox_out[] = {SANDBOX_OUT, END};

static const struct schema_field list_out[] = {
    {.name = "sandboxes", .type = SCHEMA_OBJECTS, .required = true, .fields = sandbox_out},
    END,
};

static const struct schema_field destroy_in[] = {
    {.name = "sandbox", .type = SCHEMA_STRING, .required = true, .help = "name or id"},
    END,
};

static const struct schema_field destroy_out[] = {
    {.name = "destroyed", .type = SCHEMA_STRING, .required = true},
    END,
};

static const struct schema_field fork_in[] = {
    SANDBOX,
    {.name = "n",
     .type = SCHEMA_INTEGER,
     .minimum = 1,
     .maximum = 100,
     .help = "how many; 1 if not said"},
    {.name = "names",
     .type = SCHEMA_STRINGS,
     .minimum = 1,
     .maximum = 100,
     .help = "what to call them, instead of n"},
    END,
};

static const struct schema_field fork_out[] = {
    {.name = "forks", .type = SCHEMA_OBJECTS, .required = true, .fields = sandbox_out},
    END,
};

static const struct schema_field diff_in[] = {
    SANDBOX,
    {.name = "target",
     .type = SCHEMA_STRING,
     .help = "name or id of a sandbox, `parent` or `template`: what is different there. "
	     "Without it: what `sandbox` has changed since it was made or forked"},
    {.name = "patch",
     .type = SCHEMA_BOOLEAN,
     .help = "also the differences themselves, as a unified patch"},
    {.name = "paths",
     .type = SCHEMA_STRINGS,
     .maximum = 100,
     .help = "only these files, and what is in these directories"},
    END,
};

static const struct schema_field diff_out[] = {
    {.name = "sandbox", .type = SCHEMA_STRING, .required = true},
    {.name = "added",
     .type = SCHEMA_STRINGS,
     .required = true,
     .help = "not in `sandbox`, or made by it when there is no target"},
    {.name = "removed", .type = SCHEMA_STRINGS, .required = true},
    {.name = "modified", .type = SCHEMA_STRINGS, .required = true},
    {.name = "omitted", .type = SCHEMA_INTEGER, .required = true, .help = "paths left out"},
    {.name = "patch", .type = SCHEMA_STRING},
    {.name = "patch_truncated", .type = SCHEMA_BOOLEAN},
    END,
};

static const struct schema_field merge_in[] = {
    {.name = "forks",
     .type = SCHEMA_STRINGS,
     .required = true,
     .minimum = 1,
     .maximum = 100,
     .help = "names or ids of forks of `sandbox`"},
    SANDBOX,
    {.name = "how",
     .type = SCHEMA_STRING,
     .values = {"state", "files"},
     .help = "state (if not said): the sandbox becomes what one fork is, memory, processes "
	     "and files, and the fork goes. files: what the forks changed in their files "
	     "is merged into it, three-way; the forks stay"},
    {.name = "favour",
     .type = SCHEMA_STRING,
     .values = {"ours", "theirs"},
     .help = "of files: who wins where both changed the same lines; if not said that is a "
	     "conflict, and nothing is merged"},
    END,
};

static const struct schema_field merge_out[] = {
    {.name = "sandbox", .type = SCHEMA_STRING, .required = true},
    {.name = "merged", .type = SCHEMA_BOOLEAN, .required = true},
    {.name = "report",
     .type = SCHEMA_STRING,
     .required = true,
     .help = "of files: what was merged, or the conflicts"},
    END,
};

static const struct tool tools[] = {
    {.name = "run_python",
     .title = "Run Python",
     .description =
	 "Run Python code in a sandbox, in an interpreter that stays, and return "
	 "its output, exit code, figures, and the files that it changed.",
     .in = python_in,
     .out = run_out,
     .destroys = true,
     .run = tool_run_python},
    {.name = "run_bash",
     .title = "Run bash",
     .description = "Run a bash script in a sandbox and return its output, exit code, and "
		    "the files that it changed.",
     .in = bash_in,
     .out = run_out,
     .destroys = true,
     .run = tool_run_bash},
    {.name = "read_output",
     .title = "Read output",
     .description = "Read a part of what a run has written, for output that was too long "
		    "to be returned by it.",
     .in = output_in,
     .out = output_out,
     .reads_only = true,
     .repeats = true,
     .run = tool_read_output},
    {.name = "fork",
     .title = "Fork",
     .description =
	 "Make forks of a running sandbox: each has its files, its processes and "
	 "its Python variables, and goes on by itself. It takes milliseconds.",
     .in = fork_in,
     .out = fork_out,
     .run = tool_fork},
    {.name = "diff",
     .title = "Compare",
     .description = "List the files that are different in another sandbox, or that a "
		    "sandbox has changed.",
     .in = diff_in,
     .out = diff_out,
     .reads_only = true,
     .repeats = true,
     .run = tool_diff},
    {.name = "merge",
     .title = "Merge",
     .description =
	 "Bring what was done in forks back into the sandbox that they are forks "
	 "of.",
     .in = merge_in,
     .out = merge_out,
     .destroys = true,
     .run = tool_merge},
    {.name = "upload",
     .title = "Upload",
     .description = "Write a file in a sandbox.",
     .in = upload_in,
     .in_local = upload_in_local,
     .out = upload_out,
     .destroys = true,
     .repeats = true,
     .run = tool_upload},
    {.name = "download",
     .title = "Download",
     .description = "Read a file of a sandbox: text as text, images as images, other bytes "
		    "in base64.",
     .in = download_in,
     .in_local = download_in_local,
     .out = download_out,
     .reads_only = true,
     .repeats = true,
     .run = tool_download},
    {.name = "create_sandbox",
     .title = "Make a sandbox",
     .description = "Make one more sandbox, empty or of a template. It goes when this "
		    "session ends.",
     .in = create_in,
     .out = sandbox_out,
     .run = tool_create_sandbox},
    {.name = "list_sandboxes",
     .title = "List sandboxes",
     .description = "List all sandboxes and forks, and their state.",
     .in = no_fields,
     .out = list_out,
     .reads_only = true,
     .repeats = true,
     .run = tool_list_sandboxes},
    {.name = "destroy_sandbox",
     .title = "Destroy a sandbox",
     .description = "Destroy a sandbox that this session has made, and all that is in it.",
     .in = destroy_in,
     .out = destroy_out,
     .destroys = true,
     .repeats = true,
     .run = tool_destroy_sandbox},
};

const struct tool *tool_find(const char *name)
{
	for (size_t i = 0; i < sizeof(tools) / sizeof(tools[0]); i++)
		if (strcmp(tools[i].name, name) == 0)
			return &tools[i];
	return NULL;
}

const struct schema_field *tool_fields(const struct tool *tool, const struct mcp *mcp)
{
	return tool->in_local && mcp->session->options.files ? tool->in_local : tool->in;
}

static json_t *describe(const struct mcp *mcp, const struct tool *tool, int version)
{
	/* With local files a download writes one. */
	bool reads = tool->reads_only && tool_fields(tool, mcp) != tool->in_local;
	json_t *described =
	    json_pack("{s:s, s:s, s:o}", "name", tool->name, "description",
		      tool->description, "inputSchema", schema_of(tool_fields(tool, mcp)));

	if (version >= MCP_2025_03_26)
		json_object_set_new(
		    described, "annotations",
		    json_pack("{s:s, s:b, s:b, s:b, s:b}", "title", tool->title,
			      "readOnlyHint", reads, "destructiveHint", tool->destroys,
			      "idempotentHint", tool->repeats, "openWorldHint", 0));
	if (version >= MCP_2025_06_18) {
		json_object_set_new(described, "title", json_string(tool->title));
		json_object_set_new(described, "outputSchema", schema_of(tool->out));
	}
	return described;
}

json_t *tools_list(const struct mcp *mcp, int version)
{
	json_t *list = json_array();

	for (size_t i = 0; i < sizeof(tools) / sizeof(tools[0]); i++)
		json_array_append_new(list, describe(mcp, &tools[i], version));
	return list;
}

void result_text(struct result *result, const char *text, size_t len)
{
	json_array_append_new(result->content, json_pack("{s:s, s:o}", "type", "text",
							 "text", text_clean(text, len)));
}

void result_say(struct result *result, const char *fmt, ...)
{
	char *text;
	va_list args;
	int n;

	va_start(args, fmt);
	n = vasprintf(&text, fmt, args);
	va_end(args);
	if (n < 0)
		return;
	result_text(result, text, (size_t)n);
	free(text);
}

json_t *result_of_tool(struct result *result, int version)
{
	json_t *whole = json_pack("{s:o, s:b}", "content", result->content, "isError",
				  result->is_error);

	if (result->structured && version >= MCP_2025_06_18)
		json_object_set(whole, "structuredContent", result->structured);
	json_decref(result->structured);
	*result = (struct result){0};
	return mcp_result(whole, version);
}
