#include "guest/files/dirty.h"

#include "util/cleanup.h"

#include <errno.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MARGIN_NS 50000000LL /* some ticks */
#define KEPT_NS	  (2 * MARGIN_NS)

/* As what was dropped, until all that is to stay is there again: nothing is known. It
 * stays so when the process ends meanwhile. */
#define DROPPING INT64_MAX

/* Who drops takes out what is to stay as well, for a moment in which nobody may look. */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

/* All of the map of inodes. */
struct noted {
	uint64_t inodes[DIRTY_MAX], times[DIRTY_MAX];
	uint32_t count;
};

int dirty_bpf(int command, void *attr, uint32_t size)
{
	long r = syscall(SYS_bpf, command, attr, size);

	return r < 0 ? -errno : (int)r;
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static uint64_t address(const void *at)
{
	return (uint64_t)(uintptr_t)at;
}

static int64_t state_of(const struct dirty *dirty, uint32_t key)
{
	int64_t value = 0;
	union bpf_attr attr = {0};
	int r;

	attr.map_fd = (uint32_t)dirty->state;
	attr.key = address(&key);
	attr.value = address(&value);
	r = dirty_bpf(BPF_MAP_LOOKUP_ELEM, &attr, sizeof(attr));
	return r < 0 ? r : value;
}

static int put(int map, const void *key, const void *value, uint64_t how)
{
	union bpf_attr attr = {0};

	attr.map_fd = (uint32_t)map;
	attr.key = address(key);
	attr.value = address(value);
	attr.flags = how;
	return dirty_bpf(BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr));
}

static int set_state(const struct dirty *dirty, uint32_t key, int64_t value)
{
	return put(dirty->state, &key, &value, BPF_ANY);
}

/*
 * @command: BPF_MAP_LOOKUP_BATCH, or one that empties the map, too.
 * Return: whether there is more of it than has room here; or -errno, and of what it was
 * emptied of not all may be here.
 */
static int take_all(const struct dirty *dirty, int command, struct noted *noted)
{
	union bpf_attr attr = {0};
	uint64_t place;
	int r;

	attr.batch.map_fd = (uint32_t)dirty->inodes;
	attr.batch.out_batch = address(&place);
	attr.batch.keys = address(noted->inodes);
	attr.batch.values = address(noted->times);
	attr.batch.count = DIRTY_MAX;
	r = dirty_bpf(command, &attr, sizeof(attr));
	noted->count = attr.batch.count;
	if (r == -ENOENT) /* it came to the end */
		return 0;
	return r < 0 ? r : 1;
}

/* What was noted again meanwhile is there, by a later time. */
static int put_back(const struct dirty *dirty, const struct noted *noted, int64_t until)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < noted->count; i++) {
		if ((int64_t)noted->times[i] <= until)
			continue;
		r = put(dirty->inodes, &noted->inodes[i], &noted->times[i], BPF_NOEXIST);
		r = r == -EEXIST ? 0 : r;
	}
	return r;
}

/* What is noted meanwhile stays, and so does what has no room to be taken. */
static int take_out(const struct dirty *dirty, struct noted *noted, int64_t until)
{
	int r = set_state(dirty, DIRTY_NOTED, 0);

	if (r == 0)
		r = take_all(dirty, BPF_MAP_LOOKUP_AND_DELETE_BATCH, noted);
	return r < 0 ? r : put_back(dirty, noted, until);
}

/* Where that fails, or a process ended at it, nothing is known of all that was before. */
static int drop(const struct dirty *dirty, struct noted *noted, int64_t until)
{
	int64_t former = state_of(dirty, DIRTY_DROPPED);
	int r = set_state(dirty, DIRTY_DROPPED, DROPPING);

	if (r < 0)
		return r;
	r = take_out(dirty, noted, until);
	if (r < 0 || former == DROPPING)
		until = now_ns();
	else if (former > until)
		until = former;
	return set_state(dirty, DIRTY_DROPPED, until) < 0 ? -EIO : r;
}

static int make_room(const struct dirty *dirty, int64_t until)
{
	cleanup_free struct noted *noted = calloc(1, sizeof(*noted));

	return noted ? drop(dirty, noted, until) : -ENOMEM;
}

static bool needs_room(const struct dirty *dirty)
{
	int64_t dropped = state_of(dirty, DIRTY_DROPPED);

	return state_of(dirty, DIRTY_NOTED) > DIRTY_MAX / 2 || dropped == DROPPING ||
	       state_of(dirty, DIRTY_LOST) > dropped;
}

int64_t dirty_mark(const struct dirty *dirty)
{
	int64_t moment;
	int r = 0;

	if (dirty->inodes < 0)
		return -ENODATA;
	pthread_mutex_lock(&turn);
	moment = now_ns();
	if (needs_room(dirty))
		r = make_room(dirty, moment - KEPT_NS);
	pthread_mutex_unlock(&turn);
	return r < 0 ? r : moment - MARGIN_NS;
}

static bool is_known(const struct dirty *dirty, int64_t moment)
{
	int64_t lost = state_of(dirty, DIRTY_LOST),
		dropped = state_of(dirty, DIRTY_DROPPED);

	return lost >= 0 && dropped >= 0 && moment > lost && moment > dropped;
}

/* Return: 0, -ENODATA, or another -errno. */
static int look(const struct dirty *dirty, int64_t moment, struct noted *noted)
{
	int r;

	pthread_mutex_lock(&turn);
	r = take_all(dirty, BPF_MAP_LOOKUP_BATCH, noted);
	if (r > 0 || (r == 0 && !is_known(dirty, moment)))
		r = -ENODATA;
	pthread_mutex_unlock(&turn);
	return r;
}

int dirty_since(const struct dirty *dirty, int64_t moment, uint64_t **inodes)
{
	cleanup_free struct noted *noted = NULL;
	uint32_t count = 0;
	int r;

	*inodes = NULL;
	if (dirty->inodes < 0)
		return -ENODATA;
	noted = malloc(sizeof(*noted));
	r = noted ? look(dirty, moment, noted) : -ENOMEM;
	if (r == 0)
		*inodes = malloc((noted->count + 1) * sizeof(**inodes));
	if (r < 0 || !*inodes)
		return r < 0 ? r : -ENOMEM;
	for (uint32_t i = 0; i < noted->count; i++)
		if ((int64_t)noted->times[i] >= moment)
			(*inodes)[count++] = noted->inodes[i];
	return (int)count;
}
