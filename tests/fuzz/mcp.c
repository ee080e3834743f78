/*
 * Fuzz target: messages of the Model Context Protocol, a line each, up to where a tool
 * would be called. Each request has to be answered by one message that is JSON.
 */
#include "pffs/mcp/mcp.h"

#include "pffs/mcp/mcp_session.h"
#include "pffs/mcp/mcp_tools.h"
#include "tests/fuzz/tokens.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whole messages. */
static const char initialize[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\","
				 "\"params\":{\"protocolVersion\":\"2025-11-25\"}}\n";
static const char initialize_old[] =
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{"
    "\"protocolVersion\":\"2025-03-26\"}}\n";
static const char list[] =
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\",\"params\":{}}\n";
static const char call[] =
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/"
    "call\",\"params\":{\"name\":\"run_python\",\"arguments\":{\"code\":\"1\"}}}\n";
static const char call_fork[] =
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/"
    "call\",\"params\":{\"name\":\"fork\",\"arguments\":{\"names\":[\"a\"]}}}\n";
static const char discover[] =
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"server/"
    "discover\",\"params\":{\"_meta\":{\"io.modelcontextprotocol/"
    "protocolVersion\":\"2026-07-28\",\"io.modelcontextprotocol/"
    "clientCapabilities\":{}}}}\n";
static const char cancelled[] = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/"
				"cancelled\",\"params\":{\"requestId\":1}}\n";
static const char batch[] = "[{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ping\"},{"
			    "\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"x\"}]\n";

static const char *const words[] = {
    initialize,
    initialize_old,
    list,
    call,
    call_fork,
    discover,
    cancelled,
    batch,
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"",
    "\",\"params\":{",
    "}}\n",
    "{\"",
    "\":\"",
    "\",\"",
    "\":",
    ",\"",
    "\"",
    "}",
    "[",
    "]",
    "\n",
    ",",
    "initialize",
    "ping",
    "tools/list",
    "tools/call",
    "server/discover",
    "notifications/cancelled",
    "protocolVersion",
    "2024-11-05",
    "2025-03-26",
    "2025-06-18",
    "2025-11-25",
    "2026-07-28",
    "_meta",
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientCapabilities",
    "progressToken",
    "name",
    "arguments",
    "cursor",
    "requestId",
    "python",
    "bash",
    "run_python",
    "run_bash",
    "fork",
    "merge",
    "diff",
    "read_file",
    "write_file",
    "list_files",
    "code",
    "sandbox",
    "path",
    "content",
    "names",
    "timeout",
    "timeout_seconds",
    "true",
    "null",
    "1",
    "-1",
    "0.5",
    "\\u0000",
    "result",
    "error",
};

/* In place of a thread that asks the API. */
void __wrap_call_begin(struct mcp *mcp, struct rpc_request request, int version,
		       const struct tool *tool, json_t *arguments, json_t *progress);

void __wrap_call_begin(struct mcp *mcp, struct rpc_request request, int version,
		       const struct tool *tool, json_t *arguments, json_t *progress)
{
	(void)mcp;
	(void)version;
	(void)tool;
	(void)arguments;
	(void)progress;
	rpc_answer(&request, json_object());
}

static int answers = -1; /* a file that gets them */

static void check_answers(void)
{
	off_t len = lseek(answers, 0, SEEK_END);
	char *text = malloc((size_t)len + 1), *rest = text, *line;

	if (pread(answers, text, (size_t)len, 0) != len || ftruncate(answers, 0) < 0)
		abort();
	text[len] = '\0';
	lseek(answers, 0, SEEK_SET);
	while ((line = strsep(&rest, "\n")) && *line) {
		json_t *json = json_loads(line, JSON_ALLOW_NUL, NULL);

		if (!json)
			abort();
		json_decref(json);
	}
	free(text);
}

/* To the server in pieces, as a pipe gives them. */
static void say(struct mcp *mcp, int to, const struct buf *text)
{
	for (size_t at = 0, n; at < text->len; at += n) {
		n = text->len - at < 4096 ? text->len - at : 4096;
		if (write(to, buf_peek(text) + at, n) != (ssize_t)n ||
		    rpc_read(&mcp->rpc, mcp_hear, mcp) != 1)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cursor in = cursor_over(data, size);
	struct session session = {.options = {0}};
	struct mcp mcp = {.session = &session};
	struct buf text = {0};
	int fds[2];

	if (answers < 0)
		answers = memfd_create("answers", MFD_CLOEXEC);
	tokens_spell(&text, &in, size, words, sizeof(words) / sizeof(words[0]));
	if (pipe2(fds, O_CLOEXEC) < 0 || calls_init(&mcp.calls, NULL) < 0)
		abort();
	rpc_init(&mcp.rpc, fds[0], answers);
	say(&mcp, fds[1], &text);
	close(fds[1]);
	if (rpc_read(&mcp.rpc, mcp_hear, &mcp) != 0)
		abort();
	close(fds[0]);
	close(mcp.calls.ended_fd);
	check_answers();
	buf_fini(&mcp.rpc.unread);
	buf_fini(&text);
	return 0;
}
