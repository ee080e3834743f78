/*
 * The files of a guest that somebody on the host knows.
 *
 * Theory of operation: a node is a name in a directory, which is a node, and so has a
 * path; the root is number 0. It lives as long as the kernel knows it (@lookups) or
 * somebody here holds it (@refs; each node holds its directory, and what is known of a
 * directory holds that). A number is used again
 * only with another generation.
 *
 * Names come and go in the guest without asking. A name that stands for another file now
 * (another inode, or another type) is another node, and the old one has no name any
 * more. In another epoch, which may be another machine, the file of that name is the
 * same file whatever its inode is.
 *
 * A directory is its name, so that who is in it stays there when it is replaced. But what
 * is known of it, and of all below it, was of the old one, of which alone the guest's
 * watches tell. Which one it is says whoever asks for the attributes of its name; as the
 * kernel does so for each part of a path of which it is not sure, no path leads to what
 * an old one had.
 */
#pragma once

#include "pffs/core/files/files.h"

#define FILES_NODE_MAX 0xffffffu

/* A file with the same of these has the same in it, unless it is young. */
struct files_version {
	uint64_t size;
	int64_t mtime_ns, ctime_ns;
};

static inline struct files_version files_version_of(const struct files_attr *attr)
{
	return (struct files_version){attr->size, attr->mtime_ns, attr->ctime_ns};
}

static inline bool files_version_is(const struct files_version *version,
				    const struct files_attr *attr)
{
	return version->size == attr->size && version->mtime_ns == attr->mtime_ns &&
	       version->ctime_ns == attr->ctime_ns;
}

/* What the kernel's page cache has of a file: true until this changes. */
struct files_content {
	struct files_version version;
	uint64_t mount; /* whose cache: that of its newest open */
	bool known;	/* these are what they were when it was opened last */
	bool read;	/* and some of it was read */
	bool fresh; /* so soon after these times that a later change might have the same */
};

struct files_node {
	struct files_node *next; /* of its bucket */
	struct files *files;
	struct files_node *parent; /* NULL: the root, or one without a name */
	struct link children;	   /* nodes that have this one as their parent */
	struct link sibling;	   /* on parent->children */
	char *name;
	uint32_t number, generation;
	uint64_t lookups; /* the kernel's */
	unsigned refs;
	mode_t type;	/* S_IFMT bits */
	uint32_t nlink; /* as it was last seen */
	uint64_t dev, ino;
	uint64_t epoch; /* in which these were true: files->epoch */

	/* files_cache.c: of a directory */
	struct files_listing *listing;
	uint64_t changes; /* that we made in it */
	unsigned misses;  /* lookups that the listing did not answer */
	bool large;	  /* it is not worth while to fetch all of it */
	bool shown;	  /* of any file: the kernel keeps its attributes */

	/* The mount's */
	uint32_t entries_of; /* the number of the listing that the kernel keeps; 0: none */
	uint64_t entries_in; /* the mount of which it does */
	struct link opens;   /* open files */
	struct link writes;  /* what was written and the guest has not got, in order */
	struct link settle;  /* requests that wait for these */
	struct link full;    /* writers that wait for there to be less of it */
	size_t unwritten;    /* memory that @writes take */
	unsigned flying;     /* calls of these */
	uint64_t written;    /* number of the newest write */
	unsigned leaving;    /* requests that will take its name */
	bool removed;	     /* by the only mount, which leads nobody to it any more */
	bool locked;	     /* there were POSIX locks, which close(2) lets go of */
	struct files_content content;
};

/** files_root() - Return: the root's node, or NULL without memory. */
struct files_node *files_root(struct sandbox *sb);

/** files_node_at() - the node with that number, or NULL. */
struct files_node *files_node_at(const struct files *files, uint32_t number);

/** files_node_find() - the node of a name, or NULL when nobody knows it. */
struct files_node *files_node_find(const struct files_node *dir, const char *name);

/**
 * files_node_get() - the node of a name that has these attributes.
 * Return: it, without a reference for the caller; NULL without memory or numbers.
 */
struct files_node *files_node_get(struct files_node *dir, const char *name,
				  const struct files_attr *attr);

/** files_node_is() - do the attributes, found under its name, belong to this node? */
bool files_node_is(const struct files_node *node, const struct files_attr *attr);

/**
 * files_node_seen() - these attributes were found under the name of the node, whose they
 * are (files_node_is()). A directory may be another one than it was.
 */
void files_node_seen(struct files_node *node, const struct files_attr *attr);

/** files_node_learn() - what an operation on this very file said of it. Directories only
 * take it when nothing is known, see above. */
void files_node_learn(struct files_node *node, const struct files_attr *attr);

/** files_node_unlink() - it has no name any more. */
void files_node_unlink(struct files_node *node);

/** files_node_move() - its name is another one. Return: 0, -ENOMEM or -EINVAL. */
int files_node_move(struct files_node *node, struct files_node *dir, const char *name);

/** files_node_swap() - two nodes have each other's name now. */
void files_node_swap(struct files_node *a, struct files_node *b);

struct files_node *files_node_ref(struct files_node *node);
void files_node_unref(struct files_node *node);

/** files_node_forget() - the kernel gives back @count of its lookups. */
void files_node_forget(struct files_node *node, uint64_t count);

/**
 * files_node_path() - the path of a node, or of a name in it.
 * @name: or NULL.
 * @path: FILES_PATH_MAX + 1 bytes.
 * Return: 0, -ENAMETOOLONG, -ESTALE: it has no name any more.
 */
int files_node_path(const struct files_node *node, const char *name, char *path);

/** files_node_depth() - directories between a node and the root. */
unsigned files_node_depth(const struct files_node *node);

/** files_nodes_free() - the sandbox goes, and all of them with it. */
void files_nodes_free(struct files *files);
