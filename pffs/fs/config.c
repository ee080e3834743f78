/*
 * config/: what can be set of a sandbox, one value in each file.
 */
#include "pffs/core/config.h"
#include "pffs/fs/fs.h"
#include "pffs/fs/text.h"

_Static_assert(KIND_CPU_PERCENT - KIND_EXEC_TIMEOUT == CONFIG_NUMBERS - 1,
	       "the files are in the order of enum config_key");

static enum config_key key_of(const struct node *node)
{
	return node->kind == KIND_DIFF_PATHS
		   ? CONFIG_DIFF_PATHS
		   : (enum config_key)(node->kind - KIND_EXEC_TIMEOUT);
}

static void render(const struct node *node, FILE *out)
{
	config_print(node->sb, key_of(node), out);
}

static int store(const struct node *node, char *value, struct error *err)
{
	return config_set(node->sb, key_of(node), value, err);
}

const struct file_ops config_ops = {TEXT_OPS, .render = render, .store = store};

/* What is written is all of it: an empty write, or a line without a path, is the whole
 * tree. */
static int write_paths(struct handle *h, const char *data, size_t len, struct error *err)
{
	return config_set_paths(h->node.sb, data, len, err);
}

const struct file_ops diff_paths_ops = {.open = text_open,
					.read = text_read,
					.write = write_paths,
					.size = text_size,
					.render = render};
