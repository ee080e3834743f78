/*
 * What is known of the guest's directories.
 *
 * Theory of operation: a listing has what the guest said of a directory while it watched
 * it for us: its own attributes, and names with theirs, or that there is no such name;
 * when it is complete, a name that is not in it does not exist. All of that is true until
 * the guest names the watch as changed, and is dropped then. Attributes that inotify does
 * not cover are not kept: those of directories inside, but for their types, owners and
 * modes, and those of files with several links. It does not tell either of writing
 * through a shared mapping, so that attributes of files count for FILES_ATTR_MS only; and
 * where the guest does not tell that a file got another link elsewhere, by which it may
 * change, for FILES_LINKED_MS.
 *
 * What we change ourselves does not end what is known: the guest answers with what the
 * name is now, under the same watch (wire/files.h). Until then, and when it answers with
 * an error, nobody is sure of that name. What is answered later is newer, but what was
 * read in several pieces may be older than a change, and is not learnt.
 *
 * Mounts have the kernel keep attributes that are known (files_cache_show()), and are told
 * before anybody else when these end.
 *
 * A directory is a node as long as something is known of it, so that the kernel may forget
 * it and ask again: of its names it forgets all when it is told that one may be wrong.
 *
 * Entries are kept as they came, one behind the other, with an index by name. A listing
 * that somebody reads does not change; a copy does.
 *
 * A directory may be another one although nobody told its watch, because one that it is in
 * was replaced: what is known of it ends when that is found (files_node_seen()).
 *
 * Bounds: FILES_CACHE_EACH bytes for one sandbox, FILES_CACHE_ALL for all; what was used
 * longest ago goes first.
 */
#pragma once

#include "pffs/core/files/files.h"

#define FILES_CACHE_EACH (16u << 20)
#define FILES_CACHE_ALL	 (128u << 20)
#define FILES_ATTR_MS	 60000u
#define FILES_LINKED_MS	 1000u
#define FILES_SHOWN_MAX	 4096u /* entries of a directory, for the kernel to keep them */

#define FILES_UNSURE UINT32_MAX /* as a mode */

struct files_slot {
	uint32_t hash;
	uint32_t at; /* 1 + where an entry begins; 0: none */
};

struct files_listing {
	unsigned refs;
	struct link used;	/* on core->listings, the newest last */
	struct files_node *dir; /* whose listing it is, a reference; NULL: nobody's */
	struct link same;	/* of its bucket in files->watches */
	uint32_t watch;
	uint32_t number; /* 31 bits, not 0; another one when something in it changes */
	bool complete;
	bool shown; /* the kernel keeps some of the attributes */
	bool has_self;
	struct files_attr self; /* of the directory */
	struct buf entries;	/* as files_get_entry() reads them; mode 0: no such name;
				   FILES_UNSURE: not known. The cookie is when it came, in
				   ms of CLOCK_MONOTONIC */
	uint32_t count, unsure;
	struct files_slot *index;
	uint32_t slots; /* a power of two */
	size_t bytes;	/* what it counts for */
};

/* When something was asked of a directory. */
struct files_moment {
	const struct files_node *dir;
	uint64_t changes, replacements;
};

enum files_known {
	FILES_UNKNOWN,
	FILES_ABSENT,
	FILES_PRESENT, /* with all attributes */
	FILES_NAMED,   /* type, inode, owner and mode; the rest may be old */
};

/** files_cache_moment() - now, of a directory or of NULL. */
struct files_moment files_cache_moment(const struct files_node *dir);

/** files_cache_same() - @dir is the directory that was asked then. */
bool files_cache_same(const struct files_node *dir, const struct files_moment *then);

/** files_cache_unchanged() - and we have not changed anything in it since. */
bool files_cache_unchanged(const struct files_node *dir, const struct files_moment *then);

/** files_cache_lookup() - what is known of a name. */
enum files_known files_cache_lookup(struct files_node *dir, const char *name,
				    struct files_attr *attr);

/** files_cache_self() - the attributes of a directory. Return: are they known? */
bool files_cache_self(struct files_node *dir, struct files_attr *attr);

/** files_cache_attr() - the attributes of a node. Return: are all of them known? */
bool files_cache_attr(struct files_node *node, struct files_attr *attr);

/** files_cache_learn() - of a watched directory: a name. @attr: NULL: there is none. */
void files_cache_learn(struct files_node *dir, int32_t watch, const char *name,
		       const struct files_attr *attr);

/** files_cache_learn_self() - of a watched directory: its own attributes. */
void files_cache_learn_self(struct files_node *dir, int32_t watch,
			    const struct files_attr *attr);

/** files_cache_install() - the whole of a watched directory has been read. */
void files_cache_install(struct files_node *dir, struct files_listing *listing,
			 int32_t watch);

/**
 * files_cache_unsure() - we begin to change a name in a directory.
 * @self: and with it the directory itself.
 */
void files_cache_unsure(struct files_node *dir, const char *name, bool self);

/**
 * files_cache_change() - we changed a name in a directory.
 * @watch: still the one of what is known, or that ends.
 * @attr:  what the name is now; NULL: there is none.
 * @self:  attributes of the directory now; NULL: these did not change.
 */
void files_cache_change(struct files_node *dir, int32_t watch, const char *name,
			const struct files_attr *attr, const struct files_attr *self);

/** files_cache_complete() - Return: a reference to all of it, or NULL. */
struct files_listing *files_cache_complete(struct files_node *dir);

/**
 * files_cache_show() - the kernel will be told attributes of a node that are known.
 * Return: for how many ms it may keep them, unless mounts are told otherwise.
 */
unsigned files_cache_show(struct files_node *node);

/** files_cache_hide() - what it keeps of the node is not true any more. */
void files_cache_hide(struct files_node *node);

/* files_listing.c */

/** files_listing_new() - one that is being read. Return: a reference, or NULL. */
struct files_listing *files_listing_new(void);

void files_listing_unref(struct files_listing *listing);

/** files_listing_copy() - Return: one with the same entries, or NULL without memory. */
struct files_listing *files_listing_copy(const struct files_listing *listing);

/**
 * files_listing_add() - what is said of a name, in place of what was said before.
 * Return: 0, -ENOMEM, or -EFBIG: larger than is worth keeping.
 */
int files_listing_add(struct files_listing *listing, const struct files_entry *entry);

/**
 * files_listing_take() - the entries of a reply to FILES_LIST.
 * Return: 0, -ENOMEM or -EFBIG as files_listing_add(), -EPROTO: malformed.
 */
int files_listing_take(struct files_listing *listing, const struct files_reply *reply);

/** files_listing_find() - what was said of a name. Return: was anything? */
bool files_listing_find(const struct files_listing *listing, const char *name,
			struct files_entry *entry);

/* files_cache.c */

/** files_cache_drop() - nothing is known of a directory. */
void files_cache_drop(struct files_node *dir);

/** files_cache_drop_below() - nor of any below it. */
void files_cache_drop_below(struct files_node *dir);

/** files_cache_changed() - the guest says so. UINT32_MAX: everything may have. */
void files_cache_changed(struct files *files, uint32_t watch);

/** files_cache_clear() - nothing is known. */
void files_cache_clear(struct files *files);
