/*
 * net/ports: which ports of the guest can be reached from outside, and the sockets by which
 * they are.
 *
 * Theory of operation
 *
 * The kernel finds who listens at a socket by its inode, and keeps an inode in memory for
 * as long as a socket is bound to it. The number of this one is made of the sandbox's
 * serial and the port's number, so every look-up of it in this mount leads there, by
 * whatever path the sandbox has then, and from a container that has its directory bound as
 * well. How it is bound is in core/net/binder.h. A mount of a single sandbox has inodes of
 * its own: a socket is made there when somebody looks for it (core/net/porter.h).
 *
 * Who looks for a socket that is still being made is answered when it has been: so it can
 * be used as soon as the write to net/ports is done.
 */
#include "pffs/fs/net_ports.h"

#include "pffs/core/net/porter.h"
#include "pffs/core/net/ports.h"
#include "pffs/fs/operations.h"
#include "pffs/fs/text.h"
#include "util/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 16384

struct port *net_port_at(const struct fs *fs, const struct sandbox *sb, unsigned number)
{
	struct port *port = ports_find(sb, number);
	bool comes =
	    port && (fs->only ? fs->porter->fd >= 0 : port->ordered || port->local.fd >= 0);

	return comes ? port : NULL;
}

int net_child(const struct node *dir, const char *name, struct node *child)
{
	char *end;
	unsigned long number = strtoul(name, &end, 10);

	child->kind = KIND_PORT;
	if (name[0] < '1' || name[0] > '9' || *end || number > UINT16_MAX)
		return -ENOENT;
	child->port = net_port_at(dir->fs, dir->sb, (unsigned)number);
	return child->port ? 0 : -ENOENT;
}

void net_list(const struct node *dir,
	      void (*emit)(void *ctx, const char *name, const struct node *node), void *ctx)
{
	struct node child = *dir;
	const struct port *port;
	char number[16];

	if (!dir->sb->ports)
		return;
	child.kind = KIND_PORT;
	list_for_each (port, &dir->sb->ports->list, struct port, link) {
		child.port = net_port_at(dir->fs, dir->sb, port->number);
		snprintf(number, sizeof(number), "%u", port->number);
		if (child.port)
			emit(ctx, number, &child);
	}
}

/* Whose watchers are told when the socket of @node is there, if it is being made; or NULL.
 */
static struct link *awaited(const struct node *node)
{
	struct porter_socket *socket;

	if (!node->fs->only)
		return node->port->ordered ? &node->port->watchers : NULL;
	socket = porter_find(node->fs->porter, node->port);
	return socket && !socket->made ? &socket->watchers : NULL;
}

static void answer(fuse_req_t req, const struct node *node)
{
	if (node->fs->only && !porter_find(node->fs->porter, node->port))
		fuse_reply_err(req, ENOENT);
	else
		fs_reply_entry(req, node);
}

/* A look-up of a socket that is being made. */
struct waiting {
	struct watch watch; /* of the port, or of its socket */
	fuse_req_t req;
	struct fs *fs;
	fuse_ino_t ino;
};

static void waiting_free(struct waiting *waiting)
{
	struct fs *fs = waiting->fs;

	list_del(&waiting->watch.link);
	free(waiting);
	fs_settle(fs);
}

static void port_changed(struct watch *watch)
{
	struct waiting *waiting = container_of(watch, struct waiting, watch);
	struct node node;

	if (node_at(waiting->fs, waiting->ino, &node) < 0)
		fuse_reply_err(waiting->req, ENOENT);
	else if (awaited(&node))
		return;
	else
		answer(waiting->req, &node);
	waiting_free(waiting);
}

static void interrupted(fuse_req_t req, void *data)
{
	fuse_reply_err(req, EINTR);
	waiting_free(data);
}

void net_lookup(fuse_req_t req, const struct node *node)
{
	struct waiting *waiting;
	struct link *watchers;

	if (node->fs->only)
		porter_want(node->fs->porter, node->port);
	watchers = awaited(node);
	if (!watchers) {
		answer(req, node);
		return;
	}
	waiting = malloc(sizeof(*waiting));
	if (!waiting) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	*waiting = (struct waiting){.req = req, .fs = node->fs, .ino = node_ino(node)};
	if (!fs_on_interrupt(req, interrupted, waiting)) {
		free(waiting);
		return;
	}
	fs_owe(node->fs);
	watch_add(watchers, &waiting->watch, port_changed);
}

/* The port whose socket the binder is just making under that name. Return: is there one? */
static bool find_ordered(struct node *node, const char *name)
{
	struct core *core = node->fs->core;
	const struct binder_order *order = binder_find(&core->binder, name);

	if (!order)
		return false;
	node->sb = sandbox_by_serial(core, order->serial);
	if (node->sb)
		node->port = net_port_at(node->fs, node->sb, order->port);
	return true;
}

/* Likewise, the porter. */
static bool find_made(struct node *node, const char *name)
{
	node->port = porter_making(node->fs->porter, name);
	if (node->port)
		node->sb = node->port->ports->sb;
	return node->port;
}

bool net_mknod(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fuse_req_userdata(req);
	struct node node = {.fs = fs, .kind = KIND_PORT};

	if (parent != FUSE_ROOT_ID ||
	    !(fs->only ? find_made(&node, name) : find_ordered(&node, name)))
		return false;
	if (node.port)
		fs_reply_entry(req, &node);
	else
		fuse_reply_err(req, ENOENT);
	return true;
}

static void render_ports(const struct node *node, FILE *out)
{
	ports_print(node->sb, out);
}

/* What is written by one open file is one text. */
static int write_ports(struct handle *h, const char *data, size_t len, struct error *err)
{
	cleanup_free char *text = len <= TEXT_MAX ? strndup(data, len) : NULL;
	int r;

	if (!text || strlen(text) != len)
		return error_say(err, EINVAL, "net/ports is text of at most %d bytes",
				 TEXT_MAX);
	r = ports_set(h->node.sb, text, h->flags & O_APPEND || h->cursor, err);
	h->cursor += len; /* also when it was refused: nothing is to change then */
	return r;
}

/* `: >net/ports` writes nothing. */
static void release_ports(struct handle *h)
{
	struct error ignored;

	if (h->flags & O_TRUNC && !h->cursor)
		ports_set(h->node.sb, "", false, &ignored);
}

const struct file_ops net_ports_ops = {.open = text_open,
				       .read = text_read,
				       .write = write_ports,
				       .release = release_ports,
				       .size = text_size,
				       .render = render_ports};
