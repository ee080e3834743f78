/*
 * pty/: the terminals of a sandbox.
 */
#pragma once

#include "pffs/fs/node.h"

/** terminal_mkdir() - make one in @dir, a pty/, and answer @req. */
void terminal_mkdir(fuse_req_t req, const struct node *dir, const char *name);

/** terminal_rmdir() - end what runs in @node, and answer @req. */
void terminal_rmdir(fuse_req_t req, const struct node *node);
