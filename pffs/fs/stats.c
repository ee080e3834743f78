/*
 * stats: what a sandbox uses, and may. vmctl is asked when the file is opened; reads wait
 * for its answer.
 */
#include "pffs/core/stats.h"
#include "pffs/fs/fs.h"
#include "pffs/fs/question.h"

#include <errno.h>
#include <stdlib.h>

static void keep_answer(struct handle *h, const struct usage *usage)
{
	struct stat_value values[STATS_COUNT];
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return;
	stats_of(h->node.sb, usage, values);
	for (size_t i = 0; i < STATS_COUNT; i++)
		fprintf(out, "%s %llu\n", values[i].name,
			(unsigned long long)values[i].value);
	if (fclose(out) == 0)
		handle_text(h, text, len);
	else
		free(text);
}

static void answered(void *ctx, const struct usage *usage, const struct error *err)
{
	struct question *question = ctx;
	struct handle *h = question->h;

	free(question);
	if (!h)
		return;
	h->question = NULL;
	if (usage)
		keep_answer(h, usage);
	else
		sandbox_fail(h->node.sb, err);
	handle_changed(&h->watch);
}

static int open_stats(struct handle *h, struct error *err)
{
	struct question *question = question_new(h, err);

	if (!question)
		return err->code;
	usage_ask(h->node.sb, answered, question);
	return 0;
}

static ssize_t read_stats(struct handle *h, uint64_t offset, char *to, size_t len)
{
	if (h->question)
		return -EAGAIN;
	return h->text ? handle_read_text(h, offset, to, len) : -EIO;
}

const struct file_ops stats_ops = {.open = open_stats,
				   .read = read_stats,
				   .poll = question_poll,
				   .release = question_release};
