/*
 * Theory of operation: what the kernel has of a file is read without the guest, and so is
 * it opened (guest_open.c). The guest gets to know 10 ms later, by path. A name that goes
 * before, by unlink(2) or a rename(2) over it, would leave those without their file: so the
 * guest opens it for them first, one after the other, and then takes the name away.
 */
#include "pffs/fs/guest.h"

/* What has a name now that will be nobody's, or another's. */
static struct files_node *loses_name(const struct ask *ask)
{
	if (ask->request.op == FILES_UNLINK)
		return files_node_find(ask->node, ask->name);
	if (ask->request.op == FILES_RENAME && !(ask->request.flags & FILES_EXCHANGE))
		return files_node_find(ask->to, ask->to_name);
	return NULL;
}

/* If it could not be opened, whoever uses it is told why. */
static void spared(void *ctx, const struct files_reply *reply)
{
	struct ask *ask = ctx;
	struct guest_file *file = ask->spare;

	ask->parts[0].call = NULL;
	ask->spare = NULL;
	guest_file_reopened(file, reply);
	guest_file_unref(file);
	ask_send(ask);
}

static void stays(struct ask *ask)
{
	if (ask->leaving)
		ask->leaving->leaving--;
	files_node_unref(ask->leaving);
	ask->leaving = NULL;
}

/* Who opens it from now on asks the guest, so that this ends. */
static void leaves(struct ask *ask, struct files_node *node)
{
	if (node == ask->leaving)
		return;
	stays(ask);
	ask->leaving = files_node_ref(node);
	node->leaving++;
}

bool guest_spare(struct ask *ask)
{
	struct files_node *node = loses_name(ask);

	if (node)
		leaves(ask, node);
	while (node && (ask->spare = guest_file_unopened(node))) {
		if (guest_file_reopen(ask->spare, spared, ask, &ask->parts[0].call) == 0)
			return true;
		guest_file_unref(ask->spare);
		ask->spare = NULL;
	}
	return false;
}

void guest_spare_end(struct ask *ask)
{
	stays(ask);
	if (!ask->spare)
		return;
	guest_file_open_soon(ask->spare);
	guest_file_unref(ask->spare);
}
