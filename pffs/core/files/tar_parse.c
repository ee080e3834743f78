#include "pffs/core/files/tar_parse.h"

#include "pffs/core/files/tar_locale.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECORDS_ENOUGH (512u << 10) /* bytes that wait to be looked at */

static unsigned count; /* of those that there are: each has a thread and sockets */

/* What goes through the socket in front of each record. */
struct head {
	uint32_t kind, len;
};

/* The fixed part of TAR_ENTRY. */
struct fixed {
	uint32_t mode, uid, gid, hardlink;
	int64_t mtime_ns;
};

struct tar_parse {
	struct work work;
	struct loop *loop;
	pthread_t main;
	int thread_in, thread_out;  /* the thread's ends */
	struct loop_source in, out; /* ours */
	struct buf pending;	    /* of the tar, that the thread has not got */
	struct buf records;	    /* that came of it */
	bool eof;		    /* nothing comes behind what is pending */
	bool running, abandoned;
	void (*came)(void *ctx);
	void *ctx;
};

/* In the thread. Return: whether all of it was sent. */
static bool send_all(int fd, const void *data, size_t len)
{
	const char *at = data;

	while (len) {
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

static bool send_record(int fd, enum tar_kind kind, const void *data, size_t len)
{
	const struct head head = {kind, (uint32_t)len};

	return send_all(fd, &head, sizeof(head)) && send_all(fd, data, len);
}

static bool send_failure(int fd, const char *text)
{
	return send_record(fd, TAR_FAILED, text, strlen(text) + 1);
}

static bool send_entry(int fd, struct archive_entry *entry)
{
	const char *name = archive_entry_pathname(entry);
	const char *hardlink = archive_entry_hardlink(entry);
	const char *link = hardlink ? hardlink : archive_entry_symlink(entry);
	const struct fixed fixed = {
	    .mode = archive_entry_mode(entry),
	    .uid = (uint32_t)archive_entry_uid(entry),
	    .gid = (uint32_t)archive_entry_gid(entry),
	    .hardlink = hardlink != NULL,
	    .mtime_ns = (int64_t)((uint64_t)archive_entry_mtime(entry) * 1000000000u +
				  (uint64_t)archive_entry_mtime_nsec(entry)),
	};
	char record[sizeof(fixed) + 2 * (TAR_NAME_MAX + 1)];
	size_t name_len = name ? strlen(name) + 1 : 0;
	size_t link_len = link ? strlen(link) + 1 : 1;

	if (!name_len || name_len > TAR_NAME_MAX || link_len > TAR_NAME_MAX)
		return send_failure(fd, "a name in the tar is too long, or none");
	memcpy(record, &fixed, sizeof(fixed));
	memcpy(record + sizeof(fixed), name, name_len);
	memcpy(record + sizeof(fixed) + name_len, link ? link : "", link_len);
	return send_record(fd, TAR_ENTRY, record, sizeof(fixed) + name_len + link_len);
}

/* Holes are zeros. */
static bool send_contents(int fd, struct archive *archive)
{
	uint8_t piece[TAR_DATA_MAX];
	la_ssize_t n;

	while ((n = archive_read_data(archive, piece, sizeof(piece))) > 0)
		if (!send_record(fd, TAR_DATA, piece, (size_t)n))
			return false;
	return n == 0;
}

static void parse(struct archive *archive, int fd)
{
	struct archive_entry *entry;
	int r;

	while ((r = archive_read_next_header(archive, &entry)) == ARCHIVE_OK ||
	       r == ARCHIVE_WARN) {
		if (!send_entry(fd, entry))
			return;
		if (!archive_entry_hardlink(entry) && !send_contents(fd, archive))
			break;
	}
	if (r == ARCHIVE_EOF)
		send_record(fd, TAR_END, NULL, 0);
	else
		send_failure(fd, archive_error_string(archive)
				     ? archive_error_string(archive)
				     : "it is damaged");
}

static void run(struct work *work)
{
	struct tar_parse *tar = container_of(work, struct tar_parse, work);
	struct archive *archive;
	locale_t locale;

	/* Without a thread nobody would send what it waits for. */
	if (pthread_equal(pthread_self(), tar->main))
		return;
	locale = tar_locale();
	archive = archive_read_new();
	if (locale)
		uselocale(locale);
	if (archive && locale && archive_read_support_format_tar(archive) == ARCHIVE_OK &&
	    archive_read_open_fd(archive, tar->thread_in, TAR_DATA_MAX) == ARCHIVE_OK)
		parse(archive, tar->thread_out);
	else
		send_failure(tar->thread_out, "it is none");
	archive_read_free(archive);
	uselocale(LC_GLOBAL_LOCALE);
	if (locale)
		freelocale(locale);
}

static void close_source(struct loop *loop, struct loop_source *source)
{
	int fd = source->fd;

	if (fd < 0)
		return;
	loop_del(loop, source);
	close(fd);
}

static void tar_parse_free(struct tar_parse *tar)
{
	close_source(tar->loop, &tar->in);
	close_source(tar->loop, &tar->out);
	if (tar->thread_in >= 0)
		close(tar->thread_in);
	if (tar->thread_out >= 0)
		close(tar->thread_out);
	buf_fini(&tar->pending);
	buf_fini(&tar->records);
	free(tar);
	count--;
}

/* What it has sent is still to be read, and nobody reads what comes. */
static void has_run(struct work *work)
{
	struct tar_parse *tar = container_of(work, struct tar_parse, work);

	tar->running = false;
	if (tar->abandoned) {
		tar_parse_free(tar);
		return;
	}
	close(tar->thread_in);
	close(tar->thread_out);
	tar->thread_in = tar->thread_out = -1;
}

/* Of what nobody reads any more nothing is kept. */
static void send_pending(struct tar_parse *tar)
{
	if (tar->in.fd < 0 || buf_flush(&tar->pending, tar->in.fd) < 0)
		buf_consume(&tar->pending, tar->pending.len);
	if (tar->in.fd < 0)
		return;
	if (!tar->pending.len && tar->eof)
		close_source(tar->loop, &tar->in);
	else
		loop_mod(tar->loop, &tar->in, tar->pending.len ? EPOLLOUT : 0);
}

static void on_in(struct loop_source *source, uint32_t revents)
{
	struct tar_parse *tar = container_of(source, struct tar_parse, in);
	bool was_full = tar_parse_is_full(tar);

	if (revents & (EPOLLERR | EPOLLHUP)) {
		close_source(tar->loop, &tar->in);
		buf_consume(&tar->pending, tar->pending.len);
	}
	send_pending(tar);
	if (was_full && !tar_parse_is_full(tar))
		tar->came(tar->ctx);
}

static void listen_again(struct tar_parse *tar)
{
	if (tar->out.fd >= 0)
		loop_mod(tar->loop, &tar->out,
			 tar->records.len < RECORDS_ENOUGH ? EPOLLIN : 0);
}

static void lost(struct tar_parse *tar)
{
	static const char text[] = "there is no thread to read it";
	const struct head head = {TAR_FAILED, sizeof(text)};

	close_source(tar->loop, &tar->out);
	if (buf_append(&tar->records, &head, sizeof(head)) == 0)
		buf_append(&tar->records, text, sizeof(text));
}

static void on_out(struct loop_source *source, uint32_t revents)
{
	struct tar_parse *tar = container_of(source, struct tar_parse, out);
	ssize_t n = buf_fill(&tar->records, source->fd, TAR_RECORD_MAX);

	(void)revents;
	if (n == -EAGAIN)
		return;
	if (n <= 0)
		lost(tar);
	listen_again(tar);
	tar->came(tar->ctx);
}

/* Return: 0 or -errno. */
static int pair(int *thread, struct loop *loop, struct loop_source *source, uint32_t events,
		void (*fn)(struct loop_source *source, uint32_t revents))
{
	int fds[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	*thread = fds[1];
	r = fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0
		? -errno
		: loop_add(loop, source, fds[0], events, fn);
	if (r < 0)
		close(fds[0]);
	return r;
}

struct tar_parse *tar_parse_begin(struct loop *loop, void (*came)(void *ctx), void *ctx,
				  struct error *err)
{
	struct tar_parse *tar;
	int r;

	if (count == TAR_PARSE_MAX) {
		error_say(err, EAGAIN,
			  "%u tars are being taken out already: try again later", count);
		return NULL;
	}
	tar = malloc(sizeof(*tar));
	if (!tar) {
		error_set(err, ENOMEM, "cannot take out a tar");
		return NULL;
	}
	*tar = (struct tar_parse){.loop = loop,
				  .main = pthread_self(),
				  .thread_in = -1,
				  .thread_out = -1,
				  .in = LOOP_SOURCE_NONE,
				  .out = LOOP_SOURCE_NONE,
				  .running = true,
				  .came = came,
				  .ctx = ctx};
	count++;
	r = pair(&tar->thread_in, loop, &tar->in, 0, on_in);
	if (r == 0)
		r = pair(&tar->thread_out, loop, &tar->out, EPOLLIN, on_out);
	if (r < 0) {
		tar_parse_free(tar);
		error_set(err, -r, "cannot take out a tar");
		return NULL;
	}
	work_begin(loop, &tar->work, run, has_run);
	return tar;
}

int tar_parse_put(struct tar_parse *tar, const void *data, size_t len)
{
	int r = tar->in.fd < 0 ? 0 : buf_append(&tar->pending, data, len);

	send_pending(tar);
	return r;
}

bool tar_parse_is_full(const struct tar_parse *tar)
{
	return tar->pending.len >= TAR_ENOUGH;
}

void tar_parse_eof(struct tar_parse *tar)
{
	tar->eof = true;
	send_pending(tar);
}

/* Return: the whole record's length with its head, or 0: it has not come yet. */
static size_t first_record(const struct tar_parse *tar, struct head *head)
{
	if (tar->records.len < sizeof(*head))
		return 0;
	memcpy(head, buf_peek(&tar->records), sizeof(*head));
	return tar->records.len < sizeof(*head) + head->len ? 0 : sizeof(*head) + head->len;
}

bool tar_parse_peek(struct tar_parse *tar, struct tar_record *record)
{
	struct head head;
	struct fixed fixed;
	const char *names;

	if (!first_record(tar, &head))
		return false;
	*record = (struct tar_record){
	    .kind = (enum tar_kind)head.kind,
	    .data = buf_peek(&tar->records) + sizeof(head),
	    .len = head.len,
	};
	if (record->kind != TAR_ENTRY)
		return true;
	memcpy(&fixed, record->data, sizeof(fixed));
	names = (const char *)record->data + sizeof(fixed);
	record->entry = (struct tar_entry){.mode = fixed.mode,
					   .uid = fixed.uid,
					   .gid = fixed.gid,
					   .hardlink = fixed.hardlink,
					   .mtime_ns = fixed.mtime_ns,
					   .name = names,
					   .link = names + strlen(names) + 1};
	return true;
}

void tar_parse_drop(struct tar_parse *tar)
{
	struct head head;

	buf_consume(&tar->records, first_record(tar, &head));
	listen_again(tar);
}

void tar_parse_end(struct tar_parse *tar)
{
	close_source(tar->loop, &tar->in);
	close_source(tar->loop, &tar->out);
	tar->abandoned = true;
	if (!tar->running)
		tar_parse_free(tar);
}
