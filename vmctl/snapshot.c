#include "vmctl/snapshot.h"

#include "util/cleanup.h"
#include "util/io.h"
#include "wire/cursor.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define MAGIC	     "pffs vm\n"
#define PIECE	     (1u << 20)
#define TELL_EVERY   (4u << 20) /* bytes between two signs of life */
#define CONFIG_MAX   (64u << 10)
#define RUNS_MAX     (64u << 20)	 /* bytes of a list of runs */
#define HEADER_BYTES (SNAPSHOT_PAGE - 8) /* its checksum is behind */

static void tell(uint64_t at, uint64_t *told, snapshot_progress_fn *progress)
{
	if (!progress || at - *told < TELL_EVERY)
		return;
	*told = at;
	progress();
}

int snapshot_begin(struct snapshot_writer *w, int fd, snapshot_progress_fn *progress,
		   struct error *err)
{
	*w = (struct snapshot_writer){
	    .snapshot.fd = fd,
	    .at = SNAPSHOT_PAGE,
	    .hash = XXH3_createState(),
	    .progress = progress,
	};
	return w->hash ? 0 : error_set(err, ENOMEM, "cannot write the machine's file");
}

void snapshot_end(struct snapshot_writer *w)
{
	XXH3_freeState(w->hash);
	w->hash = NULL;
}

static void close_section(struct snapshot_writer *w)
{
	struct snapshot_section *section = &w->snapshot.section[w->kind];

	if (!w->kind)
		return;
	section->sum = XXH3_64bits_digest(w->hash);
	w->kind = 0;
	w->at = (w->at + SNAPSHOT_PAGE - 1) / SNAPSHOT_PAGE * SNAPSHOT_PAGE;
}

static void open_section(struct snapshot_writer *w, enum snapshot_kind kind)
{
	if (w->kind == kind)
		return;
	close_section(w);
	w->kind = kind;
	w->snapshot.section[kind] = (struct snapshot_section){.offset = w->at};
	XXH3_64bits_reset(w->hash);
}

int snapshot_put(struct snapshot_writer *w, enum snapshot_kind kind, const void *data,
		 size_t len, struct error *err)
{
	const uint8_t *at = data;

	open_section(w, kind);
	w->snapshot.section[kind].len += len;
	while (len) {
		size_t n = len < PIECE ? len : PIECE;
		int r = io_pwrite_all(w->snapshot.fd, at, n, w->at);

		if (r < 0)
			return error_set(err, -r, "cannot write the machine's file");
		XXH3_64bits_update(w->hash, at, n);
		at += n;
		w->at += n;
		len -= n;
		tell(w->at, &w->told, w->progress);
	}
	return 0;
}

int snapshot_put_json(struct snapshot_writer *w, enum snapshot_kind kind, json_t *value,
		      struct error *err)
{
	cleanup_free char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;

	json_decref(value);
	return text ? snapshot_put(w, kind, text, strlen(text), err)
		    : error_set(err, ENOMEM, "cannot write the machine's file");
}

static void encode_header(const struct snapshot *s, uint8_t header[SNAPSHOT_PAGE])
{
	struct cursor c = cursor_into(header, SNAPSHOT_PAGE);

	memset(header, 0, SNAPSHOT_PAGE);
	cursor_put_raw(&c, MAGIC, strlen(MAGIC));
	cursor_put_u32(&c, SNAPSHOT_VERSION);
	cursor_put_u32(&c, SNAPSHOT_KINDS);
	cursor_put_u64(&c, s->len);
	for (int i = 0; i < SNAPSHOT_KINDS; i++) {
		cursor_put_u64(&c, s->section[i].offset);
		cursor_put_u64(&c, s->section[i].len);
		cursor_put_u64(&c, s->section[i].sum);
	}
	c = cursor_into(header + HEADER_BYTES, SNAPSHOT_PAGE - HEADER_BYTES);
	cursor_put_u64(&c, XXH3_64bits(header, HEADER_BYTES));
}

/*
 * A disk may be slow: each piece that is on it is a sign of life. What fails here
 * fdatasync(2) does not tell again.
 */
static int sync_pieces(const struct snapshot_writer *w)
{
	const unsigned all = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
			     SYNC_FILE_RANGE_WAIT_AFTER;

	for (uint64_t at = 0; at < w->at; at += TELL_EVERY) {
		if (sync_file_range(w->snapshot.fd, (off_t)at, TELL_EVERY, all) < 0)
			return -1;
		if (w->progress)
			w->progress();
	}
	return 0;
}

/* What is in the file's last page is all that was put; so its length tells if it was cut.
 */
/* #syscalls:vm pread64 pwrite64 sync_file_range fdatasync fsync */
/* #syscalls:vm newfstatat(3==AT_EMPTY_PATH) */
int snapshot_commit(struct snapshot_writer *w, struct error *err)
{
	struct snapshot *s = &w->snapshot;
	uint8_t header[SNAPSHOT_PAGE];
	int r;

	close_section(w);
	s->len = w->at;
	if (ftruncate(s->fd, (off_t)s->len) < 0 || sync_pieces(w) < 0 ||
	    fdatasync(s->fd) < 0)
		return error_set(err, errno, "cannot write the machine's file");
	encode_header(s, header);
	s->sum = XXH3_64bits(header, HEADER_BYTES);
	r = io_pwrite_all(s->fd, header, sizeof(header), 0);
	if (r < 0 || fsync(s->fd) < 0)
		return error_set(err, r < 0 ? -r : errno,
				 "cannot write the machine's file");
	return 0;
}

static int damaged(struct error *err, const char *how)
{
	return error_say(err, EBADMSG,
			 "the file of the frozen machine is damaged: %s; it is not resumed",
			 how);
}

static bool section_fits(const struct snapshot *s, const struct snapshot_section *section)
{
	return section->offset % SNAPSHOT_PAGE == 0 && section->offset <= s->len &&
	       section->len <= s->len - section->offset;
}

static int decode_header(struct snapshot *s, const uint8_t *header, struct error *err)
{
	struct cursor c = cursor_over(header, SNAPSHOT_PAGE), sum;
	const char *magic = cursor_get_raw(&c, strlen(MAGIC));
	uint32_t version = cursor_get_u32(&c), kinds = cursor_get_u32(&c);

	sum = cursor_over(header + HEADER_BYTES, SNAPSHOT_PAGE - HEADER_BYTES);
	s->sum = XXH3_64bits(header, HEADER_BYTES);
	if (memcmp(magic, MAGIC, strlen(MAGIC)) != 0 || cursor_get_u64(&sum) != s->sum)
		return damaged(err, "its header is not what was written");
	if (version != SNAPSHOT_VERSION || kinds != SNAPSHOT_KINDS)
		return error_say(
		    err, ENOTSUP,
		    "the frozen machine is of version %u, and this vmctl knows "
		    "%u: resume it with the one that froze it",
		    version, SNAPSHOT_VERSION);
	s->len = cursor_get_u64(&c);
	for (int i = 0; i < SNAPSHOT_KINDS; i++) {
		s->section[i].offset = cursor_get_u64(&c);
		s->section[i].len = cursor_get_u64(&c);
		s->section[i].sum = cursor_get_u64(&c);
		if (!section_fits(s, &s->section[i]))
			return damaged(err, "a part is outside of it");
	}
	return 0;
}

static int read_header(struct snapshot *s, int fd, struct error *err)
{
	uint8_t header[SNAPSHOT_PAGE];
	struct stat st;
	int r;

	*s = (struct snapshot){.fd = fd};
	if (fstat(fd, &st) < 0)
		return error_set(err, errno, "cannot read the frozen machine");
	r = io_pread_all(fd, header, sizeof(header), 0);
	if (r == -ENODATA)
		return damaged(err, "it has no header");
	if (r < 0)
		return error_set(err, -r, "cannot read the frozen machine");
	r = decode_header(s, header, err);
	if (r < 0)
		return r;
	if ((uint64_t)st.st_size != s->len)
		return damaged(err, "it is not as long as it was");
	return 0;
}

static int check_section(const struct snapshot *s, const struct snapshot_section *section,
			 uint8_t *piece, XXH3_state_t *hash, snapshot_progress_fn *progress,
			 struct error *err)
{
	uint64_t told = 0, at = 0;

	XXH3_64bits_reset(hash);
	while (at < section->len) {
		uint64_t left = section->len - at;
		size_t n = left < PIECE ? (size_t)left : PIECE;
		int r = io_pread_all(s->fd, piece, n, section->offset + at);

		if (r < 0)
			return error_set(err, r == -ENODATA ? EBADMSG : -r,
					 "cannot read the frozen machine");
		XXH3_64bits_update(hash, piece, n);
		at += n;
		tell(at, &told, progress);
	}
	return XXH3_64bits_digest(hash) == section->sum
		   ? 0
		   : damaged(err, "its contents are not what was written");
}

/* Sections @from to @to, without the latter. */
static int check_sections(const struct snapshot *s, int from, int to,
			  snapshot_progress_fn *progress, struct error *err)
{
	cleanup_free uint8_t *piece = malloc(PIECE);
	XXH3_state_t *hash = XXH3_createState();
	int r = 0;

	if (!piece || !hash)
		r = error_set(err, ENOMEM, "cannot read the frozen machine");
	for (int i = from; i < to && r == 0; i++)
		if (s->section[i].offset)
			r = check_section(s, &s->section[i], piece, hash, progress, err);
	XXH3_freeState(hash);
	return r;
}

int snapshot_open(struct snapshot *s, int fd, snapshot_progress_fn *progress,
		  struct error *err)
{
	int r = read_header(s, fd, err);

	return r ? r : check_sections(s, 0, SNAPSHOT_KINDS, progress, err);
}

json_t *snapshot_peek(struct snapshot *s, int fd, struct error *err)
{
	if (read_header(s, fd, err) < 0 ||
	    check_sections(s, SNAPSHOT_CONFIG, SNAPSHOT_CONFIG + 1, NULL, err) < 0)
		return NULL;
	return snapshot_load_json(s, SNAPSHOT_CONFIG, err);
}

void *snapshot_load(const struct snapshot *s, enum snapshot_kind kind, size_t max,
		    size_t *len, struct error *err)
{
	const struct snapshot_section *section = &s->section[kind];
	cleanup_free void *data = NULL;
	int r;

	if (!section->offset || section->len > max) {
		damaged(err, "a part is missing");
		return NULL;
	}
	*len = (size_t)section->len;
	data = malloc(*len + 1);
	r = data ? io_pread_all(s->fd, data, *len, section->offset) : -ENOMEM;
	if (r < 0) {
		error_set(err, -r, "cannot read the frozen machine");
		return NULL;
	}
	return steal_pointer(&data);
}

json_t *snapshot_load_json(const struct snapshot *s, enum snapshot_kind kind,
			   struct error *err)
{
	size_t len;
	cleanup_free char *text = snapshot_load(s, kind, CONFIG_MAX, &len, err);
	json_t *value = text ? json_loadb(text, len, 0, NULL) : NULL;

	if (text && !value)
		damaged(err, "its description cannot be read");
	return value;
}

/* Return: how many pages there are in all runs, or UINT64_MAX when they are out of order.
 */
static uint64_t count_units(const struct snapshot_run *runs, size_t count, uint64_t limit)
{
	uint64_t end = 0, units = 0;

	for (size_t i = 0; i < count; i++) {
		if (runs[i].first < end || !runs[i].count)
			return UINT64_MAX;
		end = (uint64_t)runs[i].first + runs[i].count;
		units += runs[i].count;
	}
	return end <= limit ? units : UINT64_MAX;
}

struct snapshot_run *snapshot_load_runs(const struct snapshot *s, enum snapshot_kind kind,
					enum snapshot_kind data, uint64_t unit,
					uint64_t limit, size_t *count, struct error *err)
{
	cleanup_free struct snapshot_run *runs = NULL;
	uint64_t units;
	size_t len;

	runs = snapshot_load(s, kind, RUNS_MAX, &len, err);
	if (!runs)
		return NULL;
	*count = len / sizeof(*runs);
	units = count_units(runs, *count, limit);
	if (len % sizeof(*runs) || units == UINT64_MAX ||
	    s->section[data].len != units * unit) {
		damaged(err, "its parts do not fit together");
		return NULL;
	}
	return steal_pointer(&runs);
}
