/*
 * /v1/sandboxes/{id}/files/{path}: the files of a guest.
 *
 * Theory of operation: a path is resolved first (core/resolve.h), then what is there says
 * how the request is answered. One file_call is what a request waits for, of which one
 * part is at work at a time; all of it ends with the request, except what a client that
 * went away has begun to remove, which stays as it is then.
 */
#pragma once

#include "pffs/api/reply.h"
#include "pffs/core/files/dir_list.h"
#include "pffs/core/files/errand.h"
#include "pffs/core/files/make_dirs.h"
#include "pffs/core/files/reader.h"
#include "pffs/core/files/remove_tree.h"
#include "pffs/core/files/resolve.h"
#include "pffs/core/files/tar_in.h"
#include "pffs/core/files/writer.h"

#define FILE_LINKS_AT_ONCE 16 /* whose targets are asked for */

struct file_call;

/* A question for the target of a link in a list. */
struct file_link {
	struct errand errand;
	struct file_call *call;
	size_t index; /* in the list */
};

struct file_call {
	struct request *r;
	char *path; /* resolved, as wire/files.h has it */
	bool existed;
	size_t there; /* as struct resolved has it */
	struct files_attr attr;

	struct resolve *resolve;
	struct reader *reader; /* until it is read; then it is the outlet's */
	struct outlet *outlet;
	struct dir_list *listing;
	struct remove_tree *removal;
	struct make_dirs *dirs;
	struct writer *writer;
	struct tar_in *tar;
	struct errand errand;

	/* Of a list. */
	struct dir_entries entries;
	bool alone; /* it is of one entry */
	json_t **targets;
	struct file_link links[FILE_LINKS_AT_ONCE];
	size_t next_link;
	unsigned links_asked;
	struct buf list;   /* its JSON that was not sent, */
	size_t next_entry; /* from which on there is none yet, */
	bool list_ended;   /* and all of it */

	/* Of a download. */
	uint64_t offset, size;

	/* Of an upload. */
	bool is_dir, has_mode;
	uint32_t mode;
};

typedef void file_found_fn(struct file_call *call);

/**
 * file_begin() - resolve the path of the request, which is @which of its parameters.
 * @found: called when call->path and so on are set. What goes wrong before is answered.
 */
struct file_call *file_begin(struct request *r, unsigned how, file_found_fn *found);

/** file_fail() - answer with the text of an errno. */
void file_fail(struct file_call *call, int errnum);

/** file_send() - send what comes from an outlet. */
ssize_t file_send(struct request *r, char *to, size_t len);

/** file_came() - there is something to send. */
void file_came(void *ctx);

/** file_download() - the bytes of call->path, a regular file. */
void file_download(struct file_call *call);

/** file_list() - the entries of the directory call->path. */
void file_list(struct file_call *call);

/** file_stat() - the entry of call->path. */
void file_stat(struct file_call *call);

/** file_lists_end() - let go of what these two wait for. */
void file_lists_end(struct file_call *call);

/** files_put() - the handler of PUT. */
void files_put(struct request *r);
