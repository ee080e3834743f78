#include "pffs/mcp/mcp_calls.h"

#include "pffs/mcp/mcp.h"
#include "pffs/mcp/mcp_tools.h"
#include "util/cleanup.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>

int calls_init(struct calls *calls, struct error *err)
{
	pthread_mutex_init(&calls->lock, NULL);
	list_init(&calls->list);
	calls->count = 0;
	calls->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return calls->ended_fd < 0 ? error_set(err, errno, "cannot wait for calls") : 0;
}

/* It is no longer on the list. Return: whether an answer is wanted. */
static bool leave(struct calls *calls, struct call *call)
{
	bool wanted;

	pthread_mutex_lock(&calls->lock);
	wanted = !call->cancelled;
	list_del(&call->link);
	pthread_mutex_unlock(&calls->lock);
	return wanted;
}

/* Only when its answer has been written is a call at its end: what waits for that ends
 * this process. */
static void tell_end(struct calls *calls)
{
	pthread_mutex_lock(&calls->lock);
	calls->count--;
	pthread_mutex_unlock(&calls->lock);
	eventfd_write(calls->ended_fd, 1);
}

static void call_free(struct call *call)
{
	json_decref(call->arguments);
	json_decref(call->progress);
	if (call->cancel_fd >= 0)
		close(call->cancel_fd);
	free(call);
}

static void *call_main(void *arg)
{
	struct call *call = arg;
	struct calls *calls = &call->mcp->calls;
	struct result result = {.content = json_array()};
	struct error err = {0};

	if (call->tool->run(call, &result, &err) < 0) {
		result.is_error = true;
		if (!json_array_size(result.content))
			result_say(&result, "%s", err.text);
	}
	if (leave(calls, call)) {
		rpc_answer(&call->request, result_of_tool(&result, call->version));
	} else {
		rpc_drop(&call->request);
		json_decref(result.content);
		json_decref(result.structured);
	}
	call_free(call);
	tell_end(calls);
	return NULL;
}

static bool join(struct calls *calls, struct call *call)
{
	bool room;

	pthread_mutex_lock(&calls->lock);
	room = calls->count < CALLS_MAX;
	if (room) {
		calls->count++;
		list_add_before(&calls->list, &call->link);
	}
	pthread_mutex_unlock(&calls->lock);
	return room;
}

static int start(struct call *call)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&thread, &attr, call_main, call);
	pthread_attr_destroy(&attr);
	return -r;
}

void call_begin(struct mcp *mcp, struct rpc_request request, int version,
		const struct tool *tool, json_t *arguments, json_t *progress)
{
	struct calls *calls = &mcp->calls;
	struct call *call = calloc(1, sizeof(*call));

	if (call)
		*call = (struct call){.mcp = mcp,
				      .request = request,
				      .version = version,
				      .tool = tool,
				      .arguments = json_incref(arguments),
				      .progress = json_incref(progress),
				      .cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
	if (!call || call->cancel_fd < 0 || !join(calls, call)) {
		rpc_refuse(
		    &request, RPC_SERVER_BUSY, NULL,
		    "there are %d calls already, or no memory for one more: wait for "
		    "one to end",
		    CALLS_MAX);
		if (call)
			call_free(call);
		return;
	}
	if (start(call) == 0)
		return;
	leave(calls, call);
	rpc_refuse(&request, RPC_SERVER_BUSY, NULL, "there can be no thread for the call");
	call_free(call);
	tell_end(calls);
}

bool calls_have(struct calls *calls, const json_t *id)
{
	struct call *call;
	bool found = false;

	pthread_mutex_lock(&calls->lock);
	list_for_each (call, &calls->list, struct call, link)
		found = found || json_equal(call->request.id, id);
	pthread_mutex_unlock(&calls->lock);
	return found;
}

void calls_cancel(struct calls *calls, const json_t *id)
{
	struct call *call;

	pthread_mutex_lock(&calls->lock);
	list_for_each (call, &calls->list, struct call, link)
		if (!id || json_equal(call->request.id, id)) {
			call->cancelled = true;
			eventfd_write(call->cancel_fd, 1);
		}
	pthread_mutex_unlock(&calls->lock);
}

unsigned calls_count(struct calls *calls)
{
	unsigned count;

	pthread_mutex_lock(&calls->lock);
	count = calls->count;
	pthread_mutex_unlock(&calls->lock);
	return count;
}
