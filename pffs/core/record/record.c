#include "pffs/core/record/record.h"

#include "pffs/core/record/journal.h"
#include "pffs/core/record/record_format.h"
#include "pffs/core/twin.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define DATA ".data"
#define JSON ".json"
#define NEW  ".new"

char *record_path(const struct core *core, const char *id, const char *suffix)
{
	char *path;

	return asprintf(&path, "%s/%s%s", core->options.state, id, suffix) < 0 ? NULL
									       : path;
}

static const char *state_name(const struct core *core)
{
	return core->options.state_name ? core->options.state_name : core->options.state;
}

/* Its machines are known by what is in the file. */
static int name_group(struct core *core, struct error *err)
{
	size_t len = sizeof(core->group) - 1;
	ssize_t n = pread(core->state_fd, core->group, len, 0);
	uint8_t raw[sizeof(core->group) / 2];

	if (n == (ssize_t)len && strspn(core->group, "0123456789abcdef") == len)
		return 0;
	if (getrandom(raw, sizeof(raw), 0) != sizeof(raw))
		return error_set(err, EIO, "cannot use %s", state_name(core));
	for (size_t i = 0; i < len; i += 2)
		snprintf(core->group + i, 3, "%02x", raw[i / 2]);
	if (pwrite(core->state_fd, core->group, len, 0) != (ssize_t)len)
		return error_set(err, errno, "cannot use %s", state_name(core));
	return 0;
}

static int lock(struct core *core, struct error *err)
{
	const char *dir = state_name(core);
	cleanup_free char *path = record_path(core, "lock", "");

	if (!path)
		return error_set(err, ENOMEM, "cannot use %s", dir);
	if (mkdir(core->options.state, 0700) < 0 && errno != EEXIST)
		return error_set(err, errno, "cannot make %s", dir);
	core->state_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (core->state_fd < 0)
		return error_set(err, errno, "cannot use %s", dir);
	/* A pffs that was killed leaves a process that has it, as long as that writes. */
	if (io_lock(core->state_fd) == 0)
		return name_group(core, err);
	return error_say(err, EBUSY,
			 "sandboxes cannot be frozen: another pffs uses %s (see --state)",
			 dir);
}

void record_open(struct core *core)
{
	core->state_fd = -1;
	if (!core->options.state)
		error_say(&core->state_error, ENOTSUP,
			  "sandboxes cannot be frozen: pffs has no state directory");
	else if (lock(core, &core->state_error) < 0)
		record_close(core);
}

void record_close(struct core *core)
{
	if (core->state_fd >= 0)
		close(core->state_fd);
	core->state_fd = -1;
}

int record_check(const struct core *core, struct error *err)
{
	if (core->state_fd < 0)
		*err = core->state_error;
	return core->state_fd < 0 ? err->code : 0;
}

/* Whether @file is an id and @suffix, then without the latter. */
static bool take_suffix(char *file, const char *suffix)
{
	size_t len = strlen(file), tail = strlen(suffix);

	if (len != SANDBOX_ID_LEN + tail || strcmp(file + SANDBOX_ID_LEN, suffix) != 0)
		return false;
	file[SANDBOX_ID_LEN] = '\0';
	return true;
}

void record_unlink(const struct core *core, const char *id, const char *suffix)
{
	cleanup_free char *path = core->state_fd < 0 ? NULL : record_path(core, id, suffix);

	if (path)
		unlink(path);
}

/* What is left of a process that did not come to its end. */
static bool is_half(const struct core *core, const char *id)
{
	cleanup_free char *json = record_path(core, id, JSON);

	return json && access(json, F_OK) < 0;
}

static bool has_journal(const struct core *core, const char *id)
{
	cleanup_free char *live = record_path(core, id, RECORD_LIVE);

	return live && access(live, F_OK) == 0;
}

bool record_has(const struct core *core, const char *id)
{
	return has_journal(core, id) || !is_half(core, id);
}

/* A journal is newer than a record: it was begun when somebody had use for the sandbox. */
static json_t *read_one(struct core *core, const char *id, bool live)
{
	cleanup_free char *path = record_path(core, id, live ? RECORD_LIVE : JSON);
	struct error err = {.code = -ENOMEM, .text = "no memory for a sandbox"};
	json_t *record = !path	? NULL
			 : live ? journal_read(path, &err)
				: record_read(path, &err);

	if (!record) {
		fprintf(stderr, "pffs: %s\n", err.text);
		core->error = err;
	}
	return record;
}

/* Templates first, then fork points, and parents before the forks that are in their
 * folders. */
static json_int_t rank(const json_t *record)
{
	const char *place = json_string_value(json_object_get(record, "place"));

	if (place && strcmp(place, RECORD_TEMPLATE) == 0)
		return -2;
	if (place && strcmp(place, RECORD_TWIN) == 0)
		return -1;
	return json_integer_value(json_object_get(record, "generation"));
}

static int by_rank(const void *a, const void *b)
{
	const json_t *const *one = a, *const *other = b;
	json_int_t x = rank(*one), y = rank(*other);

	return (x > y) - (x < y);
}

static void restore(struct core *core, const json_t *record)
{
	const char *id = json_string_value(json_object_get(record, "id"));
	bool live = json_object_get(record, "entries");
	cleanup_free char *data =
	    id ? record_path(core, id, live ? RECORD_LIVE : DATA) : NULL;
	struct error err;

	if (!data || (live ? journal_restore(core, record, data, &err)
			   : record_restore(core, record, data, &err)))
		return;
	fprintf(stderr, "pffs: %s\n", err.text);
	core->unread |= live;
	core->error = err;
}

static json_t **read_all(struct core *core, size_t *count)
{
	cleanup_closedir DIR *dir = opendir(core->options.state);
	json_t **records = NULL, **grown;
	struct dirent *entry;
	bool live;

	*count = 0;
	while (dir && (entry = readdir(dir))) {
		if (take_suffix(entry->d_name, DATA) && is_half(core, entry->d_name))
			record_unlink(core, entry->d_name, DATA);
		if (take_suffix(entry->d_name, JSON NEW))
			record_unlink(core, entry->d_name, JSON NEW);
		if (take_suffix(entry->d_name, RECORD_LIVE ".new"))
			record_unlink(core, entry->d_name, RECORD_LIVE ".new");
		live = take_suffix(entry->d_name, RECORD_LIVE);
		if (!live &&
		    (!take_suffix(entry->d_name, JSON) || has_journal(core, entry->d_name)))
			continue;
		grown = reallocarray(records, *count + 1, sizeof(void *));
		if (!grown)
			break;
		records = grown;
		records[*count] = read_one(core, entry->d_name, live);
		/* One that was not on the disk when the host went down. */
		if (!records[*count] && live && !is_half(core, entry->d_name))
			records[*count] = read_one(core, entry->d_name, false);
		*count += records[*count] != NULL;
	}
	return records;
}

void record_load(struct core *core)
{
	cleanup_free json_t **records = NULL;
	size_t count;

	if (core->state_fd < 0)
		return;
	records = read_all(core, &count);
	if (count)
		qsort(records, count, sizeof(void *), by_rank);
	for (size_t i = 0; i < count; i++) {
		restore(core, records[i]);
		json_decref(records[i]);
	}
	twins_restored(core);
}

void record_writer_init(struct record_writer *writer)
{
	*writer = (struct record_writer){.source = LOOP_SOURCE_NONE};
}

static int sync_dir(const char *path)
{
	cleanup_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int write_files(const struct sandbox *sb, struct error *err)
{
	cleanup_free char *data = record_path(sb->core, sb->id, DATA);
	cleanup_free char *json = record_path(sb->core, sb->id, JSON);
	cleanup_free char *fresh = record_path(sb->core, sb->id, JSON NEW);
	int r;

	if (!data || !json || !fresh)
		return error_set(err, ENOMEM, "cannot freeze %s", sb->name);
	r = record_save(sb, data, fresh, err);
	if (r == 0 && (rename(fresh, json) < 0 || sync_dir(sb->core->options.state) < 0))
		r = error_set(err, errno, "cannot freeze %s", sb->name);
	if (r < 0) {
		unlink(json);
		unlink(fresh);
		unlink(data);
	}
	return r;
}

void record_renew(struct sandbox *sb)
{
	cleanup_free char *json = record_path(sb->core, sb->id, JSON);
	cleanup_free char *fresh = record_path(sb->core, sb->id, JSON NEW);
	struct error err;
	json_t *record, *facts;
	int r;

	if (!json || !fresh || access(json, F_OK) < 0)
		return; /* its journal alone is there */
	record = record_read(json, &err);
	facts = record_facts(sb);
	r = record && json_object_update(record, facts) == 0
		? record_write_json(json_incref(record), fresh, &err)
		: error_say(&err, EIO, "what has changed of %s is lost when pffs ends",
			    sb->name);
	if (r == 0 && (rename(fresh, json) < 0 || sync_dir(sb->core->options.state) < 0))
		r = error_set(&err, errno, "cannot write %s", json);
	if (r < 0)
		sandbox_fail(sb, &err);
	json_decref(facts);
	json_decref(record);
}

/* In the process that is forked for it: the error, if there is one, goes to the pipe. It
 * has the lock as well, and so ends with pffs; the journal has all that it would write. */
static _Noreturn void write_and_end(const struct sandbox *sb, int fd, pid_t parent)
{
	struct error err = {0};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	write_files(sb, &err);
	_exit(write(fd, &err, sizeof(err)) != sizeof(err));
}

static void writer_said(struct loop_source *source, uint32_t revents)
{
	struct record_writer *writer = container_of(source, struct record_writer, source);
	struct error err;
	ssize_t n = read(source->fd, &err, sizeof(err));

	(void)revents;
	if (n < 0 && errno == EAGAIN)
		return;
	err.text[sizeof(err.text) - 1] = '\0';
	if (n != sizeof(err))
		error_say(&err, EIO,
			  "the process that wrote the sandbox's record has died");
	record_stop(writer);
	writer->done(writer, err.code ? &err : NULL);
}

int record_write(struct record_writer *writer, struct sandbox *sb,
		 void (*done)(struct record_writer *writer, const struct error *err),
		 struct error *err)
{
	pid_t parent = getpid();
	int fds[2];

	writer->sb = sb;
	writer->done = done;
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return error_set(err, errno, "cannot freeze %s", sb->name);
	writer->pid = fork();
	if (writer->pid == 0)
		write_and_end(sb, fds[1], parent);
	close(fds[1]);
	if (writer->pid < 0 ||
	    loop_add(sb->core->loop, &writer->source, fds[0], EPOLLIN, writer_said) < 0) {
		close(fds[0]);
		return error_set(err, ENOMEM, "cannot freeze %s", sb->name);
	}
	return 0;
}

/* Nothing is to appear behind what is removed; when pffs ends in order what was begun is
 * finished. Somebody else may have reaped the process: then it has no child of that number.
 */
void record_stop(struct record_writer *writer)
{
	int fd = writer->source.fd;

	if (fd < 0)
		return;
	loop_del(writer->sb->core->loop, &writer->source);
	close(fd);
	writer->source = LOOP_SOURCE_NONE;
	if (!writer->sb->core->ending && waitpid(writer->pid, NULL, WNOHANG) == 0)
		kill(writer->pid, SIGKILL);
	waitpid(writer->pid, NULL, 0);
}

/* The order matters: without ID.json there is no sandbox, whatever else is left. */
void record_drop(struct core *core, const char *id)
{
	if (core->state_fd < 0)
		return;
	record_unlink(core, id, JSON);
	record_unlink(core, id, DATA);
	vmm_request(&core->vmm, json_pack("{s:s, s:s}", "op", "drop", "image", id), NULL,
		    NULL);
}
