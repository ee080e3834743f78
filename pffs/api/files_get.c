/*
 * A file's bytes: all, or a range of them (RFC 9110, 13 and 14).
 */
#include "pffs/api/files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TAG_MAX 64
#define SECOND	1000000000

/* A file that changes twice within a tick of its clock has the same times: so what has just
 * been changed gets a weak one. */
static void make_tag(const struct files_attr *attr, char tag[TAG_MAX])
{
	bool young = attr->ctime_ns / SECOND + 1 >= (int64_t)time(NULL);

	snprintf(tag, TAG_MAX, "%s\"%llx-%llx-%llx\"", young ? "W/" : "",
		 (unsigned long long)attr->size, (unsigned long long)attr->mtime_ns,
		 (unsigned long long)attr->ctime_ns);
}

static bool is_strong(const char *tag)
{
	return *tag == '"';
}

static void put_date(struct request *r, const char *name, int64_t ns)
{
	static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
	static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
					     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	time_t seconds = ns / SECOND;
	struct tm tm;
	char text[64];

	if (!gmtime_r(&seconds, &tm))
		return;
	snprintf(text, sizeof(text), "%s, %02d %s %04d %02d:%02d:%02d GMT",
		 days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900,
		 tm.tm_hour, tm.tm_min, tm.tm_sec);
	reply_header(r, name, text);
}

/* pffs itself has no locale: names of months are English. */
static bool is_unmodified(const struct request *r, const struct files_attr *attr)
{
	const char *since = request_header(r, MHD_HTTP_HEADER_IF_MODIFIED_SINCE), *end;
	struct tm tm = {0};

	if (!since)
		return false;
	end = strptime(since, "%a, %d %b %Y %H:%M:%S GMT", &tm);
	return end && !*end && attr->mtime_ns / SECOND <= timegm(&tm);
}

/* The weak comparison, which leaves W/ out. */
static bool is_known(const struct request *r, const struct files_attr *attr,
		     const char *tag)
{
	const char *known = request_header(r, MHD_HTTP_HEADER_IF_NONE_MATCH);

	if (!known)
		return is_unmodified(r, attr);
	return strcmp(known, "*") == 0 || strstr(known, strchr(tag, '"'));
}

/* Return: whether it is a number, and then what is behind it. */
static const char *number(const char *text, uint64_t *value)
{
	char *end;

	if (*text < '0' || *text > '9')
		return NULL;
	errno = 0;
	*value = strtoull(text, &end, 10);
	if (errno)
		*value = UINT64_MAX;
	return end;
}

enum range { RANGE_NONE, RANGE_PART, RANGE_BAD };

static enum range cut(struct file_call *call, uint64_t first, uint64_t last)
{
	uint64_t size = call->attr.size;

	if (first >= size)
		return RANGE_BAD;
	call->offset = first;
	call->size = (last < size ? last + 1 : size) - first;
	return RANGE_PART;
}

/* Several ranges, and what is no range at all, are as if nobody had asked for one. */
static enum range parse_range(struct file_call *call, const char *text)
{
	uint64_t first, last = UINT64_MAX - 1, size = call->attr.size;

	if (strncmp(text, "bytes=", 6) != 0)
		return RANGE_NONE;
	text += 6;
	if (*text == '-') {
		text = number(text + 1, &last);
		if (!text || *text)
			return RANGE_NONE;
		return last ? cut(call, last < size ? size - last : 0, size) : RANGE_BAD;
	}
	text = number(text, &first);
	if (!text || *text != '-')
		return RANGE_NONE;
	if (*++text) {
		text = number(text, &last);
		if (!text || *text || last < first)
			return RANGE_NONE;
	}
	return cut(call, first, last);
}

static enum range find_range(struct file_call *call, const char *tag)
{
	const char *range = request_header(call->r, MHD_HTTP_HEADER_RANGE);
	const char *only = request_header(call->r, MHD_HTTP_HEADER_IF_RANGE);

	if (!range || (only && (!is_strong(tag) || strcmp(only, tag) != 0)))
		return RANGE_NONE;
	return parse_range(call, range);
}

/* Nothing is read for who wants to know the headers alone. */
static ssize_t send_file(struct request *r, char *to, size_t len)
{
	struct file_call *call = r->state;

	if (!call->outlet) {
		call->outlet =
		    reader_start(call->reader, call->offset, call->size, file_came, call);
		call->reader = NULL;
	}
	return file_send(r, to, len);
}

static void refuse_range(struct file_call *call)
{
	char text[64];

	snprintf(text, sizeof(text), "bytes */%llu", (unsigned long long)call->attr.size);
	reply_header(call->r, MHD_HTTP_HEADER_CONTENT_RANGE, text);
	reply_json(call->r, MHD_HTTP_RANGE_NOT_SATISFIABLE,
		   json_pack("{s:s, s:s}", "error", "the file has no such bytes", "code",
			     "ERANGE"));
}

static void send_range(struct file_call *call)
{
	char text[80];

	snprintf(text, sizeof(text), "bytes %llu-%llu/%llu",
		 (unsigned long long)call->offset,
		 (unsigned long long)(call->offset + call->size - 1),
		 (unsigned long long)call->attr.size);
	reply_header(call->r, MHD_HTTP_HEADER_CONTENT_RANGE, text);
	reply_stream(call->r, MHD_HTTP_PARTIAL_CONTENT, "application/octet-stream",
		     call->size, send_file);
}

static void opened(void *ctx, const struct files_attr *attr, const struct error *err)
{
	struct file_call *call = ctx;
	struct request *r = call->r;
	char tag[TAG_MAX];
	enum range range;

	if (!attr) {
		reply_error(r, err);
		return;
	}
	call->attr = *attr;
	call->size = attr->size;
	make_tag(attr, tag);
	reply_header(r, MHD_HTTP_HEADER_ETAG, tag);
	put_date(r, MHD_HTTP_HEADER_LAST_MODIFIED, attr->mtime_ns);
	reply_header(r, MHD_HTTP_HEADER_ACCEPT_RANGES, "bytes");
	range = find_range(call, tag);
	if (is_known(r, attr, tag))
		reply_empty(r, MHD_HTTP_NOT_MODIFIED);
	else if (range == RANGE_BAD)
		refuse_range(call);
	else if (range == RANGE_PART)
		send_range(call);
	else
		reply_stream(r, MHD_HTTP_OK, "application/octet-stream", call->size,
			     send_file);
}

void file_download(struct file_call *call)
{
	call->reader = reader_open(call->r->sb, call->path, opened, call);
	if (!call->reader)
		file_fail(call, ENOMEM);
}
