/*
 * merge: what became of a fork comes back to the sandbox. What is written is the name of
 * the fork, and the write is answered when its machine is the sandbox's; or "files" and
 * names of forks, and it is answered when what they changed is there. What is read tells
 * of the last merge. Sandboxes that are frozen are resumed first.
 */
#include "pffs/core/freeze.h"
#include "pffs/core/merge_files.h"
#include "pffs/fs/later.h"
#include "pffs/fs/operations.h"
#include "pffs/fs/text.h"

#include <errno.h>
#include <string.h>

#define TEXT_MAX  4096
#define WORDS_MAX (TEXT_MAX / 2 + 1)
#define RESUME_MS 20u	/* how often is looked whether they are resumed */
#define RESUMES	  1500u /* so often */

static void render_report(const struct node *node, FILE *out)
{
	if (node->sb->merge_report)
		fputs(node->sb->merge_report, out);
}

/* A write that is answered when the merge has come to its end. */
struct pending {
	struct later later;
	struct handle *handle;
	char *text;		 /* of the write */
	struct loop_timer again; /* while somebody is resumed, or being frozen */
	unsigned looks;
	struct merge *merge; /* either of these */
	struct merge_files *files;
};

static void pending_free(struct pending *pending)
{
	loop_timer_cancel(&pending->again);
	free(pending->text);
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

/* Return: whether @sb will have a machine, but has none now. */
static bool resumes(struct sandbox *sb)
{
	if (sb->state == SANDBOX_STORED && !sb->freeze)
		freeze_use(sb);
	return sb->freeze;
}

/* Of the sandbox, or of forks that are named. */
static bool somebody_resumes(struct sandbox *sb, char **words, size_t count)
{
	bool some = resumes(sb);
	struct sandbox *fork;

	for (size_t i = 0; i < count; i++) {
		fork = sandbox_find(sb->core, FOLDER_FORKS(sb->serial), words[i]);
		some |= fork && resumes(fork);
	}
	return some;
}

static void begin(struct pending *pending);

static void look_again(struct loop_timer *timer)
{
	begin(container_of(timer, struct pending, again));
}

static int begin_with(struct pending *pending, char *text, struct error *err)
{
	struct handle *h = pending->handle;
	char *words[WORDS_MAX];
	size_t count = text_words(text, words, WORDS_MAX);
	int r;

	if (pending->looks++ < RESUMES && somebody_resumes(h->node.sb, words, count)) {
		loop_timer_set(h->fs->loop, &pending->again, RESUME_MS);
		return 0;
	}
	if (count > 1 && strcmp(words[0], "files") == 0)
		return begin_files(h, pending, words + 1, count - 1, err);
	if (count != 1)
		return error_say(err, EINVAL,
				 "write the name of one fork, or \"files\" and names");
	r = check_access(h, words[0], true, err);
	return r < 0 ? r
		     : merge_begin(h->node.sb, words[0], merged, pending, &pending->merge,
				   err);
}

static void begin(struct pending *pending)
{
	char text[TEXT_MAX + 1];
	struct error err;

	strcpy(text, pending->text);
	if (begin_with(pending, text, &err) < 0)
		merged(pending, &err);
}

static int take_text(struct pending *pending, const char *data, size_t len,
		     struct error *err)
{
	if (len > TEXT_MAX || memchr(data, '\0', len))
		return error_say(err, EINVAL,
				 "what merge takes is text of at most %d bytes", TEXT_MAX);
	pending->text = strndup(data, len);
	return pending->text ? 0 : error_set(err, ENOMEM, "cannot merge");
}

static void write_merge(struct handle *h, fuse_req_t req, const char *data, size_t len)
{
	struct pending *pending = malloc(sizeof(*pending));
	struct error err;

	if (!pending) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	*pending = (struct pending){.handle = h};
	loop_timer_init(&pending->again, look_again);
	later_init(&pending->later, req, h->fs, h->node.sb, len);
	if (!fs_on_interrupt(req, interrupted, pending))
		pending_free(pending);
	else if (take_text(pending, data, len, &err) < 0)
		merged(pending, &err);
	else
		begin(pending);
}

const struct file_ops merge_ops = {TEXT_OPS, .render = render_report,
				   .write_later = write_merge};
