/*
 * Bytes that go into a sandbox and come out of it: of files, and of what runs have said.
 */
#include "pffs/api/base64.h"
#include "pffs/mcp/mcp.h"
#include "pffs/mcp/mcp_session.h"
#include "pffs/mcp/mcp_text.h"
#include "pffs/mcp/mcp_tools.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define HOME	     "/root" /* where programs begin */
#define SANDBOXES    "/v1/sandboxes/"
#define PART_DEFAULT 100000
#define IMAGE_MAX    (5u << 20) /* an image is of use only as a whole */

static const char *argument(const struct call *call, const char *name)
{
	return json_string_value(json_object_get(call->arguments, name));
}

static size_t number(const struct call *call, const char *name, size_t otherwise)
{
	const json_t *value = json_object_get(call->arguments, name);

	return json_is_integer(value) ? (size_t)json_integer_value(value) : otherwise;
}

/* The path of requests for a file. Return: to free(), or NULL with @err filled. */
static char *file_path(const struct target *target, const char *path, const char *query,
		       struct error *err)
{
	cleanup_free char *whole = NULL, *escaped = NULL;
	char *request;

	if (asprintf(&whole, "%s%s", *path == '/' ? "" : HOME "/", path) < 0)
		whole = NULL;
	escaped = whole ? client_escape_path(whole + 1) : NULL;
	if (!escaped ||
	    asprintf(&request, "%s/files/%s%s", target->path, escaped, query) < 0) {
		error_set(err, ENOMEM, "cannot ask for %s", path);
		return NULL;
	}
	return request;
}

/* A part of a stream of bytes. */
struct part {
	uint64_t skip;
	size_t max;
	bool more; /* there is more than that */
	struct buf bytes;
};

static int take_part(void *ctx, const void *data, size_t len)
{
	struct part *part = ctx;
	size_t skipped = part->skip < len ? (size_t)part->skip : len, n;

	part->skip -= skipped;
	len -= skipped;
	n = part->max - part->bytes.len;
	part->more = len > n;
	if (n > len)
		n = len;
	if (n && buf_append(&part->bytes, (const char *)data + skipped, n) < 0)
		return -ENOMEM;
	return part->more ? -ECANCELED : 0;
}

/* Return: 0, with the bytes in @part for buf_fini(), or -errno with @err filled. */
static int get_part(struct call *call, const char *path, struct part *part,
		    struct error *err)
{
	struct transfer t = {.path = path, .take = take_part, .ctx = part};
	int r = session_transfer(call, &t, 1, NULL, err);

	transfer_fini(&t);
	if (r < 0)
		return r;
	if (t.err.code < 0 && !part->more) {
		*err = t.err;
		return err->code;
	}
	return 0;
}

/* Characters at its end that go on behind it are left for the next part. */
static size_t whole_characters(const struct part *part)
{
	const char *text = (const char *)buf_peek(&part->bytes);
	size_t len = part->bytes.len, to;

	for (to = len; part->more && to && len - to < 4; to--)
		if (text_is_utf8(text, to))
			return to;
	return len;
}

static json_t *next_offset(const struct part *part, size_t offset, size_t len)
{
	size_t next = offset + len;

	return part->more ? json_integer((json_int_t)next) : json_null();
}

/* What models' APIs show. Return: NULL for anything else. */
static const char *image_type(const uint8_t *data, size_t len)
{
	if (len > 8 && memcmp(data, "\x89PNG\r\n\x1a\n", 8) == 0)
		return "image/png";
	if (len > 3 && memcmp(data, "\xff\xd8\xff", 3) == 0)
		return "image/jpeg";
	if (len > 6 && (memcmp(data, "GIF87a", 6) == 0 || memcmp(data, "GIF89a", 6) == 0))
		return "image/gif";
	if (len > 12 && memcmp(data, "RIFF", 4) == 0 && memcmp(data + 8, "WEBP", 4) == 0)
		return "image/webp";
	return NULL;
}

/* A file below the directory of --allow-files; nothing leads out of that. */
static int open_local(const struct call *call, const char *path, int flags,
		      struct error *err)
{
	const char *dir = call->mcp->session->options.files;
	struct open_how how = {.flags =
				   (uint64_t)(unsigned)(flags | O_CLOEXEC | O_NONBLOCK),
			       .mode = flags & O_CREAT ? 0666 : 0,
			       .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
	cleanup_close int top = -1, fd = -1;
	size_t len = strlen(dir);
	struct stat st;

	while (len > 1 && dir[len - 1] == '/')
		len--;
	if (strncmp(path, dir, len) == 0 && path[len] == '/')
		path += len + 1;
	top = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (top < 0)
		return error_set(err, errno, "cannot use %s", dir);
	fd = (int)syscall(SYS_openat2, top, path, &how, sizeof(how));
	if (fd < 0 && errno == EXDEV)
		return error_say(err, EACCES, "%s is outside %s", path, dir);
	if (fd < 0)
		return error_set(err, errno, "cannot open %s in %s", path, dir);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return error_say(err, EINVAL, "%s is no file", path);
	return steal_fd(&fd);
}

static int memory_file(const void *data, size_t len, struct error *err)
{
	cleanup_close int fd = memfd_create("upload", MFD_CLOEXEC);

	if (fd < 0 || io_pwrite_all(fd, data, len, 0) < 0)
		return error_set(err, ENOMEM, "cannot take the bytes");
	return steal_fd(&fd);
}

/* What is to be uploaded. Return: a descriptor, or -errno with @err filled. */
static int open_content(const struct call *call, struct error *err)
{
	const json_t *text = json_object_get(call->arguments, "text");
	const char *base64 = argument(call, "base64"),
		   *local = argument(call, "local_path");
	cleanup_free void *bytes = NULL;
	size_t len;

	if (!!json_is_string(text) + !!base64 + !!local != 1)
		return error_say(
		    err, EINVAL, "say what to upload by one of text and base64%s",
		    call->mcp->session->options.files ? " and local_path" : "");
	if (local)
		return open_local(call, local, O_RDONLY, err);
	if (!base64)
		return memory_file(json_string_value(text), json_string_length(text), err);
	bytes = base64_decode(base64, &len);
	if (!bytes)
		return error_say(err, EINVAL,
				 "base64 is no base64 (RFC 4648, in one line)");
	return memory_file(bytes, len, err);
}

int tool_upload(struct call *call, struct result *result, struct error *err)
{
	cleanup_target struct target target = {0};
	cleanup_free char *request = NULL;
	const char *path = argument(call, "path");
	cleanup_close int fd = open_content(call, err);
	struct transfer t = {.method = "PUT", .sends = true, .send_fd = fd};
	struct stat st;
	int r = fd < 0 ? err->code : session_argument(call, &target, err);

	if (r == 0) {
		request = file_path(&target, path, "", err);
		t.path = request;
		r = request ? session_transfer(call, &t, 1, NULL, err) : err->code;
	}
	if (r == 0 && t.err.code < 0) {
		*err = t.err;
		r = err->code;
	}
	transfer_fini(&t);
	if (r < 0) {
		session_explain(call, &target, err);
		return r;
	}
	if (fstat(fd, &st) < 0)
		return error_set(err, errno, "cannot tell how much was sent");
	result->structured = json_pack("{s:s, s:s, s:I}", "sandbox", target.name, "path",
				       path, "size", (json_int_t)st.st_size);
	result_say(result, "%s has %lld bytes now", path, (long long)st.st_size);
	return 0;
}

/* Return: its size, or -errno with @err filled. */
static json_int_t size_of(struct call *call, const struct target *target, const char *path,
			  struct error *err)
{
	cleanup_free char *request = file_path(target, path, "?stat=true", err);
	json_t *entry = NULL;
	const char *type;
	json_int_t size;
	int r;

	if (!request)
		return err->code;
	r = session_ask(call, "GET", NULL, &entry, err, "%s", request);
	type = json_string_value(json_object_get(entry, "type"));
	size = json_integer_value(json_object_get(entry, "size"));
	if (r == 0 && (!type || strcmp(type, "file") != 0))
		r = error_say(err, EINVAL,
			      "%s is no file but a %s: run_bash can look at it", path,
			      type ? type : "thing of no type");
	json_decref(entry);
	return r < 0 ? r : size;
}

static int write_part(void *ctx, const void *data, size_t len)
{
	return io_write_all(*(int *)ctx, data, len);
}

static int save(struct call *call, const char *request, struct error *err)
{
	cleanup_close int fd = open_local(call, argument(call, "local_path"),
					  O_WRONLY | O_CREAT | O_TRUNC, err);
	struct transfer t = {.path = request, .take = write_part, .ctx = &fd};
	int r = fd < 0 ? fd : session_transfer(call, &t, 1, NULL, err);

	if (r == 0 && t.err.code < 0) {
		*err = t.err;
		r = err->code;
	}
	transfer_fini(&t);
	return r;
}

/* What the model can use: text, an image, or a resource. */
static json_t *block_of(const struct target *target, const char *path, const char *image,
			json_t *base64)
{
	cleanup_free char *escaped = NULL, *uri = NULL;

	if (image)
		return json_pack("{s:s, s:o, s:s}", "type", "image", "data", base64,
				 "mimeType", image);
	escaped = client_escape_path(path + (*path == '/'));
	if (!escaped ||
	    asprintf(&uri, "pffs://%s/%s", target->path + strlen(SANDBOXES), escaped) < 0)
		uri = NULL;
	return json_pack("{s:s, s:{s:s, s:s, s:o}}", "type", "resource", "resource", "uri",
			 uri ? uri : "pffs:", "mimeType", "application/octet-stream",
			 "blob", base64);
}

static void add_bytes(struct result *result, const struct target *target, const char *path,
		      const struct part *part, bool whole)
{
	const uint8_t *data = buf_peek(&part->bytes);
	size_t len = part->bytes.len;
	json_t *base64;

	if (text_is_utf8((const char *)data, len)) {
		json_object_set_new(result->structured, "text",
				    text_clean((const char *)data, len));
		result_text(result, (const char *)data, len);
		return;
	}
	base64 = base64_json(data, len);
	if (base64)
		json_array_append_new(
		    result->content,
		    block_of(target, path, whole ? image_type(data, len) : NULL, base64));
}

static int show(struct call *call, const struct target *target, const char *path,
		const char *request, struct result *result, struct error *err)
{
	size_t offset = number(call, "offset", 0), max = number(call, "max_bytes", 0), len;
	json_int_t size = json_integer_value(json_object_get(result->structured, "size"));
	struct part part = {.skip = offset};
	int r;

	part.max = max ? max : offset == 0 && size <= IMAGE_MAX ? IMAGE_MAX : PART_DEFAULT;
	r = get_part(call, request, &part, err);
	/* So much only of what is an image: text has to be asked for. */
	if (r == 0 && !max && !image_type(buf_peek(&part.bytes), part.bytes.len) &&
	    part.bytes.len > PART_DEFAULT) {
		part.bytes.len = PART_DEFAULT;
		part.more = true;
	}
	len = r == 0 ? whole_characters(&part) : 0;
	if (r == 0) {
		part.bytes.len = len;
		json_object_set_new(result->structured, "offset",
				    json_integer((json_int_t)offset));
		json_object_set_new(result->structured, "next_offset",
				    next_offset(&part, offset, len));
		add_bytes(result, target, path, &part, offset == 0 && !part.more);
	}
	if (r == 0 && part.more)
		result_say(result, "[%zu of %lld bytes; the next ones have the offset %zu]",
			   len, (long long)size, offset + len);
	buf_fini(&part.bytes);
	return r;
}

int tool_download(struct call *call, struct result *result, struct error *err)
{
	cleanup_target struct target target = {0};
	cleanup_free char *request = NULL;
	const char *path = argument(call, "path"), *local = argument(call, "local_path");
	int r = session_argument(call, &target, err);
	json_int_t size = r < 0 ? r : size_of(call, &target, path, err);

	request = size < 0 ? NULL : file_path(&target, path, "", err);
	if (!request)
		return err->code;
	result->structured = json_pack("{s:s, s:s, s:I}", "sandbox", target.name, "path",
				       path, "size", size);
	if (!local)
		return show(call, &target, path, request, result, err);
	r = save(call, request, err);
	if (r == 0)
		result_say(result, "%s is in %s now", path, local);
	return r;
}

int tool_read_output(struct call *call, struct result *result, struct error *err)
{
	cleanup_target struct target target = {0};
	cleanup_free char *request = NULL;
	const char *stream = argument(call, "stream");
	size_t offset = number(call, "offset", 0), run = number(call, "run", 0), len;
	struct part part = {.skip = offset, .max = number(call, "max_bytes", PART_DEFAULT)};
	int r = session_argument(call, &target, err);

	if (!stream)
		stream = "output";
	if (r == 0 && asprintf(&request, "%s/runs/%zu/%s", target.path, run, stream) < 0) {
		request = NULL;
		r = error_set(err, ENOMEM, "cannot read the output");
	}
	if (r == 0)
		r = get_part(call, request, &part, err);
	if (r == 0) {
		const char *text = (const char *)buf_peek(&part.bytes);

		len = whole_characters(&part);
		result->structured = json_pack(
		    "{s:s, s:I, s:s, s:I, s:o, s:o}", "sandbox", target.name, "run",
		    (json_int_t)run, "stream", stream, "offset", (json_int_t)offset,
		    "next_offset", next_offset(&part, offset, len), "text",
		    text_clean(text ? text : "", len));
		result_text(result, text ? text : "", len);
		if (part.more)
			result_say(result, "[there is more: offset %zu]", offset + len);
	}
	buf_fini(&part.bytes);
	return r;
}
