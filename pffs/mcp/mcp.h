/*
 * pffs mcp: the sandboxes as tools of the Model Context Protocol, over standard input and
 * output.
 *
 * Theory of operation: the main thread reads messages and answers at once, but for
 * tools/call: each call has a thread (mcp_calls.h), so that none waits for another. All
 * calls ask one pffs by HTTP (client.h). Sandboxes that a session makes are noted in
 * mcp_session.h, and go with it.
 *
 *	mcp_rpc	      messages, lines, batches
 *	mcp_protocol  methods, versions
 *	mcp_calls     calls that go on, cancelling, progress
 *	mcp_tools     the tools: names, schemas, what they are called by
 *	mcp_run, mcp_files, mcp_sandboxes   what they do
 */
#pragma once

#include "pffs/mcp/mcp_calls.h"
#include "pffs/mcp/mcp_rpc.h"

struct session;

/* The protocol's versions, in order. */
enum mcp_version {
	MCP_NONE, /* not agreed on yet */
	MCP_2024_11_05,
	MCP_2025_03_26, /* annotations, batches */
	MCP_2025_06_18, /* structured results, titles; no batches */
	MCP_2025_11_25, /* wrong arguments of a tool are the tool's to tell */
	MCP_2026_07_28, /* no sessions: each request has its version */
};

struct mcp {
	struct rpc rpc;
	enum mcp_version version; /* that `initialize` agreed on */
	struct calls calls;
	struct session *session;
};

/** mcp_hear() - a line came; as rpc_read() wants it. @ctx: a struct mcp. */
void mcp_hear(void *ctx, const char *text, size_t len);

/** mcp_result() - make @result, which is taken over, one of @version. */
json_t *mcp_result(json_t *result, enum mcp_version version);
