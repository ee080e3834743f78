/*
 * net/ports, and the sockets of ports, net/NUMBER.
 */
#pragma once

#include "pffs/fs/node.h"

/** net_port_at() - the port that has a socket in the mount, or will have when somebody
 * looks for it; or NULL. */
struct port *net_port_at(const struct fs *fs, const struct sandbox *sb, unsigned number);

/** net_child() - the socket of that name in net/. Return: 0, or -ENOENT. */
int net_child(const struct node *dir, const char *name, struct node *child);

/** net_list() - call @emit for each socket in net/. */
void net_list(const struct node *dir,
	      void (*emit)(void *ctx, const char *name, const struct node *node),
	      void *ctx);

/** net_lookup() - answer @req when the socket is there, which is at once or soon. */
void net_lookup(fuse_req_t req, const struct node *node);

/** net_mknod() - answer @req if it is the binder, or the porter, that makes a socket.
 * Return: was it? */
bool net_mknod(fuse_req_t req, fuse_ino_t parent, const char *name);
