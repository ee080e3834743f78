#include "pffs/core/files/files_node.h"

#include "pffs/core/files/files_cache.h"
#include "util/siphash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define ROOM_FIRST 64u

static size_t hash(const struct files_node *dir, const char *name)
{
	return (size_t)siphash_secret(dir->number, name, strlen(name));
}

static struct files_node **bucket(const struct files *files, const struct files_node *dir,
				  const char *name)
{
	return &files->buckets[hash(dir, name) & (files->bucket_count - 1)];
}

static void insert(struct files_node *node)
{
	struct files_node **head = bucket(node->files, node->parent, node->name);

	node->next = *head;
	*head = node;
	list_del(&node->sibling);
	list_add_before(&node->parent->children, &node->sibling);
}

/* What mounts were told of it was true of it under the name that it had. */
static void take_out(struct files_node *node)
{
	struct files_node **at = bucket(node->files, node->parent, node->name);

	while (*at != node)
		at = &(*at)->next;
	*at = node->next;
	list_del(&node->sibling);
	files_cache_hide(node);
}

/* Room for one more number, and about as many buckets as nodes. */
static int grow(struct files *files)
{
	uint32_t room = files->node_room ? 2 * files->node_room : ROOM_FIRST;
	struct files_node **nodes, **buckets;

	if (files->node_count < files->node_room)
		return 0;
	if (room > FILES_NODE_MAX + 1)
		return -ENFILE;
	buckets = calloc(room, sizeof(struct files_node *));
	if (!buckets)
		return -ENOMEM;
	nodes = realloc(files->nodes, room * sizeof(struct files_node *));
	if (!nodes) {
		free(buckets);
		return -ENOMEM;
	}
	memset(nodes + files->node_room, 0,
	       (room - files->node_room) * sizeof(struct files_node *));
	free(files->buckets);
	files->buckets = buckets;
	files->bucket_count = room;
	files->nodes = nodes;
	files->free_number = files->node_room;
	files->node_room = room;
	for (uint32_t i = 0; i < room; i++)
		if (nodes[i] && nodes[i]->parent)
			insert(nodes[i]);
	return 0;
}

static uint32_t take_number(struct files *files)
{
	uint32_t number = files->free_number;

	while (files->nodes[number])
		number = (number + 1) & (files->node_room - 1);
	files->free_number = (number + 1) & (files->node_room - 1);
	return number;
}

static struct files_node *node_new(struct files *files, struct files_node *dir,
				   const char *name)
{
	struct files_node *node = grow(files) == 0 ? calloc(1, sizeof(*node)) : NULL;

	if (node)
		node->name = strdup(name);
	if (!node || !node->name) {
		free(node);
		return NULL;
	}
	node->files = files;
	node->number = take_number(files);
	node->generation = ++files->next_generation;
	list_init(&node->children);
	list_init(&node->sibling);
	list_init(&node->opens);
	list_init(&node->writes);
	list_init(&node->settle);
	list_init(&node->full);
	files->nodes[node->number] = node;
	files->node_count++;
	if (dir) {
		node->parent = files_node_ref(dir);
		insert(node);
	}
	return node;
}

static void node_free(struct files_node *node)
{
	struct files *files = node->files;

	files->nodes[node->number] = NULL;
	files->node_count--;
	free(node->name);
	free(node);
}

struct files_node *files_root(struct sandbox *sb)
{
	struct files *files = files_of(sb);

	if (!files || files->root)
		return files ? files->root : NULL;
	files->root = node_new(files, NULL, "");
	if (files->root) {
		files->root->type = S_IFDIR;
		files->root->refs = 1;
	}
	return files->root;
}

struct files_node *files_node_at(const struct files *files, uint32_t number)
{
	return files && number < files->node_room ? files->nodes[number] : NULL;
}

struct files_node *files_node_find(const struct files_node *dir, const char *name)
{
	struct files_node *node = *bucket(dir->files, dir, name);

	while (node && (node->parent != dir || strcmp(node->name, name) != 0))
		node = node->next;
	return node;
}

static bool same_inode(const struct files_node *node, const struct files_attr *attr)
{
	return node->epoch != node->files->epoch ||
	       (node->dev == attr->dev && node->ino == attr->ino);
}

bool files_node_is(const struct files_node *node, const struct files_attr *attr)
{
	if (node->type != (attr->mode & S_IFMT))
		return false;
	return node->type == S_IFDIR || same_inode(node, attr);
}

static void learn(struct files_node *node, const struct files_attr *attr)
{
	node->dev = attr->dev;
	node->ino = attr->ino;
	node->nlink = attr->nlink;
	node->epoch = node->files->epoch;
}

void files_node_learn(struct files_node *node, const struct files_attr *attr)
{
	bool known = node->type == S_IFDIR && node->epoch == node->files->epoch;

	if (node->type == (attr->mode & S_IFMT) && !known)
		learn(node, attr);
}

void files_node_seen(struct files_node *node, const struct files_attr *attr)
{
	if (!same_inode(node, attr)) {
		node->files->replacements++;
		files_cache_drop_below(node);
	}
	learn(node, attr);
}

struct files_node *files_node_get(struct files_node *dir, const char *name,
				  const struct files_attr *attr)
{
	struct files_node *node = files_node_find(dir, name);

	if (node && files_node_is(node, attr)) {
		files_node_seen(node, attr);
		return node;
	}
	if (node)
		files_node_unlink(node);
	node = node_new(dir->files, dir, name);
	if (!node)
		return NULL;
	node->type = attr->mode & S_IFMT;
	learn(node, attr);
	return node;
}

static void free_unless_known(struct files_node *node)
{
	struct files_node *parent;

	while (node && !node->refs && !node->lookups) {
		parent = node->parent;
		if (parent)
			take_out(node);
		node_free(node);
		if (parent)
			parent->refs--;
		node = parent;
	}
}

void files_node_unlink(struct files_node *node)
{
	struct files_node *parent = node->parent;

	if (!parent)
		return;
	files_node_ref(node);
	take_out(node);
	files_cache_drop_below(node);
	node->parent = NULL;
	files_node_unref(node);
	files_node_unref(parent);
}

static bool is_inside(const struct files_node *dir, const struct files_node *node)
{
	while (dir && dir != node)
		dir = dir->parent;
	return dir;
}

/* What was asked by its path may be answered of what has that path now. */
static void note_move(struct files_node *node)
{
	node->files->replacements += node->type == S_IFDIR;
}

int files_node_move(struct files_node *node, struct files_node *dir, const char *name)
{
	struct files_node *there = files_node_find(dir, name), *from = node->parent;
	char *copy;

	if (there == node || !from)
		return 0;
	if (is_inside(dir, node)) /* the guest lies */
		return -EINVAL;
	copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	if (there)
		files_node_unlink(there);
	note_move(node);
	take_out(node);
	free(node->name);
	node->name = copy;
	node->parent = files_node_ref(dir);
	insert(node);
	files_node_unref(from);
	return 0;
}

void files_node_swap(struct files_node *a, struct files_node *b)
{
	struct files_node *parent = a->parent;
	char *name = a->name;

	if (!a->parent || !b->parent || is_inside(a->parent, b) || is_inside(b->parent, a))
		return;
	note_move(a);
	note_move(b);
	take_out(a);
	take_out(b);
	a->parent = b->parent;
	a->name = b->name;
	b->parent = parent;
	b->name = name;
	insert(a);
	insert(b);
}

struct files_node *files_node_ref(struct files_node *node)
{
	node->refs++;
	return node;
}

void files_node_unref(struct files_node *node)
{
	if (!node)
		return;
	node->refs--;
	free_unless_known(node);
}

void files_node_forget(struct files_node *node, uint64_t count)
{
	node->lookups -= count < node->lookups ? count : node->lookups;
	node->shown &= node->lookups > 0;
	free_unless_known(node);
}

/* The path is written from its end. */
static int prepend(char *path, size_t *at, const char *name)
{
	size_t len = strlen(name);

	if (len + 1 > *at)
		return -ENAMETOOLONG;
	*at -= len;
	memcpy(path + *at, name, len);
	path[--*at] = '/';
	return 0;
}

int files_node_path(const struct files_node *node, const char *name, char *path)
{
	size_t at = FILES_PATH_MAX, len;
	int r = name ? prepend(path, &at, name) : 0;

	for (; r == 0 && node->parent; node = node->parent)
		r = prepend(path, &at, node->name);
	if (r < 0)
		return r;
	if (node != node->files->root)
		return -ESTALE;
	at += at < FILES_PATH_MAX; /* the first slash */
	len = FILES_PATH_MAX - at;
	memmove(path, path + at, len);
	path[len] = '\0';
	return 0;
}

unsigned files_node_depth(const struct files_node *node)
{
	unsigned depth = 0;

	while (node->parent && node->parent->parent) {
		node = node->parent;
		depth++;
	}
	return depth;
}

void files_nodes_free(struct files *files)
{
	for (uint32_t i = 0; i < files->node_room; i++)
		if (files->nodes[i])
			node_free(files->nodes[i]);
	free(files->nodes);
	free(files->buckets);
}
