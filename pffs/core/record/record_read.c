#include "pffs/core/record/record_bytes.h"

#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

int bytes_init(struct bytes *b, const char *path, int flags, uint64_t start,
	       struct error *err)
{
	*b = (struct bytes){
	    .fd = open(path, flags | O_CLOEXEC, 0600), .start = start, .at = start};
	if (b->fd < 0)
		return error_set(err, errno, "cannot open %s", path);
	b->hash = XXH3_createState();
	if (!b->hash) {
		close(b->fd);
		return error_set(err, ENOMEM, "cannot use %s", path);
	}
	XXH3_64bits_reset(b->hash);
	return 0;
}

void bytes_fini(struct bytes *b)
{
	XXH3_freeState(b->hash);
	close(b->fd);
}

/* The first line: version, where the record is, its length and its checksum. */
static bool read_live_head(int fd, uint64_t *at, uint64_t *len, uint64_t *sum)
{
	char head[RECORD_LIVE_LEN + 1] = "", *end;

	if (fd < 0 || io_pread_all(fd, head, RECORD_LIVE_LEN, 0) < 0 ||
	    strncmp(head, RECORD_LIVE_HEAD, strlen(RECORD_LIVE_HEAD)) != 0 ||
	    strtol(head + strlen(RECORD_LIVE_HEAD), &end, 10) != RECORD_VERSION)
		return false;
	*at = strtoull(end, &end, 16);
	*len = strtoull(end, &end, 16);
	*sum = strtoull(end, &end, 16);
	return *end == '\n' && *len <= RECORD_JSON_MAX;
}

json_t *record_read_live(const char *path, uint64_t *end, struct error *err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	cleanup_free char *text = NULL;
	uint64_t at = 0, len = 0, sum = 0;
	json_t *record = NULL;

	if (read_live_head(fd, &at, &len, &sum))
		text = malloc(len + 1);
	if (text && io_pread_all(fd, text, len, at) == 0 && XXH3_64bits(text, len) == sum)
		record = json_loadb(text, len, 0, NULL);
	if (!record)
		error_say(err, EBADMSG, "%s is damaged: the sandbox is not listed", path);
	*end = at + len;
	return record;
}

/* The first line. Return: what follows it, or NULL. */
static const char *read_head(const char *text, size_t len, long *version)
{
	char *end;
	uint64_t sum;

	if (strncmp(text, RECORD_HEAD, strlen(RECORD_HEAD)) != 0)
		return NULL;
	*version = strtol(text + strlen(RECORD_HEAD), &end, 10);
	sum = strtoull(end, &end, 16);
	if (*end++ != '\n' || XXH3_64bits(end, len - (size_t)(end - text)) != sum)
		return NULL;
	return end;
}

json_t *record_read(const char *path, struct error *err)
{
	size_t len;
	cleanup_free char *text = io_read_file(path, RECORD_JSON_MAX, &len, err);
	long version = RECORD_VERSION;
	const char *body = text ? read_head(text, len, &version) : NULL;
	json_t *record =
	    body && version == RECORD_VERSION ? json_loads(body, 0, NULL) : NULL;

	if (text && version != RECORD_VERSION)
		error_say(err, ENOTSUP, "%s is of another version of pffs", path);
	else if (text && !record)
		error_say(err, EBADMSG, "%s is damaged: the sandbox is not listed", path);
	return record;
}
