/*
 * stats: what a sandbox uses, and may. vmctl is asked when the file is opened; reads wait
 * for its answer.
 */
#include "pffs/core/usage.h"
#include "pffs/fs/fs.h"
#include "pffs/fs/question.h"

#include <errno.h>
#include <stdlib.h>

static unsigned long long limit_bytes(const struct sandbox *sb, enum resource which)
{
	return (unsigned long long)resources_get(sb, which) << 20;
}

static void keep_answer(struct handle *h, const struct usage *usage)
{
	const struct sandbox *sb = h->node.sb;
	char *text;
	int len = asprintf(
	    &text,
	    "cpu_usec %llu\n"
	    "memory_private %llu\n"
	    "memory_shared %llu\n"
	    "disk_bytes %llu\n"
	    "memory_limit %llu\n"
	    "disk_limit %llu\n"
	    "pids_limit %u\n"
	    "cpu_limit %u\n"
	    "forks %u\n"
	    "runs %u\n",
	    (unsigned long long)usage->cpu_usec, (unsigned long long)usage->memory_private,
	    (unsigned long long)usage->memory_shared, (unsigned long long)usage->disk_bytes,
	    limit_bytes(sb, RESOURCE_MEMORY_MIB), limit_bytes(sb, RESOURCE_DISK_MIB),
	    resources_get(sb, RESOURCE_PIDS), resources_cpu_percent(sb),
	    sandbox_count_forks(sb), sb->run_count);

	if (len >= 0)
		handle_text(h, text, (size_t)len);
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
