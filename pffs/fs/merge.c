/*
 * merge: what became of a fork comes back to the sandbox. What is written is the name of
 * the fork, and the write is answered when its machine is the sandbox's; or "files" and
 * names of forks, and it is answered when what they changed is there. What is read tells
 * of the last merge. Sandboxes that are frozen are resumed first.
 */
#include "pffs/core/merge/merge_files.h"
#include "pffs/core/merge/rouse.h"
#include "pffs/fs/later.h"
#include "pffs/fs/operations.h"
#include "pffs/fs/text.h"

#include <errno.h>
#include <string.h>

#define TEXT_MAX  4096
#define WORDS_MAX (TEXT_MAX / 2 + 1)

static void render_report(const struct node *node, FILE *out)
{
	if (node->sb->merge_report)
		fputs(node->sb->merge_report, out);
}

/* A write that is answered when the merge has come to its end. */
struct pending {
	struct later later;
	struct handle *handle;
	char text[TEXT_MAX + 1]; /* of the write */
	char *words[WORDS_MAX];	 /* in there */
	size_t count;
	struct rouse rouse; /* before one of these */
	struct merge *merge;
	struct merge_files *files;
};

static void pending_free(struct pending *pending)
{
	rouse_cancel(&pending->rouse);
	later_fini(&pending->later);
	free(pending);
}

static void merged(void *ctx, const struct error *err)
{
	struct pending *pending = ctx;

	later_answer_write(&pending->later, err);
	pending_free(pending);
}

static void interrupted(fuse_req_t req, void *data)
{
	struct pending *pending = data;

	(void)req;
	if (pending->merge) {
		merge_cancel(pending->merge);
	} else if (pending->files) {
		merge_files_cancel(pending->files);
	} else {
		fuse_reply_err(pending->later.req, EINTR);
		pending_free(pending);
	}
}

/* What is no fork at all is for the merge to refuse. */
static int check_access(const struct handle *h, const char *name, bool whole,
			struct error *err)
{
	const struct sandbox *sb = h->node.sb;
	const struct sandbox *fork = sandbox_find(sb->core, FOLDER_FORKS(sb->serial), name);
	bool owns = fork && (!h->uid || h->uid == fork->uid);

	if (!fork ||
	    (node_may_see(h->fs, fork) && (whole ? owns : handle_may_read(h, fork))))
		return 0;
	return error_say(err, EACCES, "%s is not for you to %s", fork->name,
			 whole ? "give away" : "read");
}

/* files [--ours|--theirs] NAME... */
static int begin_files(struct handle *h, struct pending *pending, char **words,
		       size_t count, struct error *err)
{
	enum merge3_favour favour = MERGE3_FAVOUR_NONE;
	int r = 0;

	if (count && strcmp(words[0], "--ours") == 0)
		favour = MERGE3_FAVOUR_OURS;
	else if (count && strcmp(words[0], "--theirs") == 0)
		favour = MERGE3_FAVOUR_THEIRS;
	if (favour) {
		words++;
		count--;
	}
	if (!count)
		return error_say(err, EINVAL, "write the names of forks after \"files\"");
	for (size_t i = 0; i < count && r == 0; i++)
		r = check_access(h, words[i], false, err);
	return r < 0 ? r
		     : merge_files_begin(h->node.sb, words, count, favour, merged, pending,
					 &pending->files, err);
}

static void begin(struct rouse *rouse)
{
	struct pending *pending = container_of(rouse, struct pending, rouse);
	struct handle *h = pending->handle;
	char **words = pending->words;
	struct error err;
	int r;

	if (pending->count > 1 && strcmp(words[0], "files") == 0) {
		r = begin_files(h, pending, words + 1, pending->count - 1, &err);
	} else if (pending->count == 1) {
		r = check_access(h, words[0], true, &err);
		if (r == 0)
			r = merge_begin(h->node.sb, words[0], merged, pending,
					&pending->merge, &err);
	} else {
		r = error_say(&err, EINVAL,
			      "write the name of one fork, or \"files\" and names");
	}
	if (r < 0)
		merged(pending, &err);
}

static int take_text(struct pending *pending, const char *data, size_t len,
		     struct error *err)
{
	if (len > TEXT_MAX || memchr(data, '\0', len))
		return error_say(err, EINVAL,
				 "what merge takes is text of at most %d bytes", TEXT_MAX);
	memcpy(pending->text, data, len);
	pending->count = text_words(pending->text, pending->words, WORDS_MAX);
	return 0;
}

static void write_merge(struct handle *h, fuse_req_t req, const char *data, size_t len)
{
	struct pending *pending = calloc(1, sizeof(*pending));
	struct error err;

	if (!pending) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	pending->handle = h;
	later_init(&pending->later, req, h->fs, h->node.sb, len);
	if (!fs_on_interrupt(req, interrupted, pending))
		pending_free(pending);
	else if (take_text(pending, data, len, &err) < 0)
		merged(pending, &err);
	else
		rouse_begin(&pending->rouse, h->node.sb, pending->words, pending->count,
			    begin);
}

const struct file_ops merge_ops = {TEXT_OPS, .render = render_report,
				   .write_later = write_merge};
