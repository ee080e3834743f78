/*
 * metrics: what the sandboxes use, and may, as OpenMetrics text for a monitoring system.
 *
 * Theory of operation: opening the file asks for the usage of each sandbox whose files the
 * reader may read; when all have answered the text is made of what is known then. usage.h
 * sees to it that none takes long.
 */
#include "config.h"

#include "pffs/core/usage.h"
#include "pffs/fs/fs.h"
#include "pffs/fs/question.h"
#include "util/io.h"

#include <errno.h>
#include <math.h>
#include <string.h>

static double cpu_seconds(const struct sandbox *sb, const struct usage *usage)
{
	(void)sb;
	return (double)usage->cpu_usec / 1e6;
}

static double memory_private(const struct sandbox *sb, const struct usage *usage)
{
	(void)sb;
	return (double)usage->memory_private;
}

static double memory_shared(const struct sandbox *sb, const struct usage *usage)
{
	(void)sb;
	return (double)usage->memory_shared;
}

static double disk(const struct sandbox *sb, const struct usage *usage)
{
	(void)sb;
	return (double)usage->disk_bytes;
}

static double memory_limit(const struct sandbox *sb, const struct usage *usage)
{
	(void)usage;
	return (double)resources_get(sb, RESOURCE_MEMORY_MIB) * (1 << 20);
}

static double disk_limit(const struct sandbox *sb, const struct usage *usage)
{
	(void)usage;
	return (double)resources_get(sb, RESOURCE_DISK_MIB) * (1 << 20);
}

static double cpu_limit(const struct sandbox *sb, const struct usage *usage)
{
	(void)usage;
	return resources_cpu_percent(sb) / 100.0;
}

/* 0 would be read as a limit that nothing can be below. */
static double pids_limit(const struct sandbox *sb, const struct usage *usage)
{
	uint32_t pids = resources_get(sb, RESOURCE_PIDS);

	(void)usage;
	return pids ? (double)pids : (double)NAN;
}

static double forks(const struct sandbox *sb, const struct usage *usage)
{
	(void)usage;
	return sandbox_count_forks(sb);
}

static double runs(const struct sandbox *sb, const struct usage *usage)
{
	(void)usage;
	return sb->run_count;
}

/* Of each sandbox. A counter's samples end in _total. */
static const struct family {
	const char *name, *type, *unit, *help;
	/* NAN: nothing is said of this one */
	double (*value)(const struct sandbox *sb, const struct usage *usage);
} families[] = {
    {"pffs_sandbox_cpu_seconds", "counter", "seconds", "CPU time of the VM's process.",
     cpu_seconds},
    {"pffs_sandbox_memory_private_bytes", "gauge", "bytes",
     "Host memory that nobody shares with the sandbox.", memory_private},
    {"pffs_sandbox_memory_shared_bytes", "gauge", "bytes",
     "The sandbox's share of host memory that it has in common with others.",
     memory_shared},
    {"pffs_sandbox_disk_bytes", "gauge", "bytes", "Disk of the host.", disk},
    {"pffs_sandbox_memory_limit_bytes", "gauge", "bytes",
     "Memory that its programs may take.", memory_limit},
    {"pffs_sandbox_disk_limit_bytes", "gauge", "bytes", "Disk that its programs may take.",
     disk_limit},
    {"pffs_sandbox_cpu_limit_cores", "gauge", "cores", "CPUs whose time it may take.",
     cpu_limit},
    {"pffs_sandbox_pids_limit", "gauge", NULL,
     "Processes and threads that it may have; none without a limit.", pids_limit},
    {"pffs_sandbox_forks", "gauge", NULL, "Sandboxes in forks/.", forks},
    {"pffs_sandbox_runs", "gauge", NULL, "Runs that are kept in runs/.", runs},
};

static void print_head(FILE *out, const struct family *family)
{
	fprintf(out, "# TYPE %s %s\n", family->name, family->type);
	if (family->unit)
		fprintf(out, "# UNIT %s %s\n", family->name, family->unit);
	fprintf(out, "# HELP %s %s\n", family->name, family->help);
}

static bool is_shown(const struct handle *h, const struct sandbox *sb)
{
	return sb->folder != FOLDER_HIDDEN && !sb->making && handle_may_read(h, sb);
}

static void print_sample(FILE *out, const struct family *family, const struct sandbox *sb)
{
	const char *suffix = strcmp(family->type, "counter") == 0 ? "_total" : "";
	struct usage usage;
	double value = usage_known(sb, &usage) ? family->value(sb, &usage) : NAN;

	if (!isnan(value))
		fprintf(out, "%s%s{id=\"%s\",sandbox=\"%s\",template=\"%s\"} %.16g\n",
			family->name, suffix, sb->id, sb->name,
			sb->core->templates.list[sb->template].name, value);
}

static void print_family(FILE *out, const struct handle *h, const struct family *family)
{
	const struct sandbox *sb;

	print_head(out, family);
	list_for_each (sb, &h->fs->core->sandboxes, struct sandbox, link)
		if (is_shown(h, sb))
			print_sample(out, family, sb);
}

static unsigned count_in_state(const struct core *core, const char *state)
{
	const struct sandbox *sb;
	unsigned count = 0;

	list_for_each (sb, &core->sandboxes, struct sandbox, link)
		count += sb->folder != FOLDER_HIDDEN && !sb->making &&
			 strcmp(sandbox_state_name(sb), state) == 0;
	return count;
}

static void print_states(FILE *out, const struct core *core)
{
	static const struct family head = {"pffs_sandboxes", "gauge", NULL,
					   "Sandboxes of all users.", NULL};
	static const char *const states[] = {"starting", "ready", "running", "frozen",
					     "dead"};

	print_head(out, &head);
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		fprintf(out, "pffs_sandboxes{state=\"%s\"} %u\n", states[i],
			count_in_state(core, states[i]));
}

static void print_all(FILE *out, const struct handle *h)
{
	static const struct family info = {"pffs", "info", NULL, "This pffs.", NULL};
	static const struct family uptime = {"pffs_uptime_seconds", "gauge", "seconds",
					     "Since this pffs began.", NULL};
	static const struct family events = {"pffs_events", "counter", NULL,
					     "Events, see the file events.", NULL};
	const struct core *core = h->fs->core;

	print_head(out, &info);
	fprintf(out, "pffs_info{engine=\"%s\",version=\"%s\"} 1\n",
		core->engine[0] ? core->engine : "none", PACKAGE_VERSION);
	print_head(out, &uptime);
	fprintf(out, "pffs_uptime_seconds %.3f\n",
		(double)(io_monotonic_ns() - core->started_ns) / 1e9);
	print_head(out, &events);
	fprintf(out, "pffs_events_total %llu\n",
		(unsigned long long)(core->events.next - 1));
	print_states(out, core);
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
		print_family(out, h, &families[i]);
	fputs("# EOF\n", out);
}

static void keep_text(struct handle *h)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return;
	print_all(out, h);
	if (fclose(out) == 0)
		handle_text(h, text, len);
	else
		free(text);
}

static void settle(struct question *question)
{
	struct handle *h = question->h;

	if (--question->pending)
		return;
	free(question);
	if (!h)
		return;
	h->question = NULL;
	keep_text(h);
	handle_changed(&h->watch);
}

static void answered(void *ctx, const struct usage *usage, const struct error *err)
{
	(void)usage;
	(void)err;
	settle(ctx);
}

static int open_metrics(struct handle *h, struct error *err)
{
	struct question *question = question_new(h, err);
	struct sandbox *sb;

	if (!question)
		return err->code;
	list_for_each (sb, &h->fs->core->sandboxes, struct sandbox, link) {
		if (!is_shown(h, sb))
			continue;
		question->pending++;
		usage_ask(sb, answered, question);
	}
	settle(question);
	return 0;
}

static ssize_t read_metrics(struct handle *h, uint64_t offset, char *to, size_t len)
{
	if (h->question)
		return -EAGAIN;
	return h->text ? handle_read_text(h, offset, to, len) : -ENOMEM;
}

const struct file_ops metrics_ops = {.open = open_metrics,
				     .read = read_metrics,
				     .poll = question_poll,
				     .release = question_release};
