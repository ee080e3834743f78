#include "pffs/api/reply.h"

#include "pffs/api/text.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define BLOCK (64u << 10) /* bytes of a stream that are asked for at a time */

unsigned reply_status(int code)
{
	switch (-code) {
	case EINVAL:
	case ENAMETOOLONG:
	case ENOTDIR:
	case EISDIR:
	case ELOOP:
		return MHD_HTTP_BAD_REQUEST;
	case EACCES:
	case EPERM:
	case EROFS:
		return MHD_HTTP_FORBIDDEN;
	case ENOENT:
	case ESRCH:
		return MHD_HTTP_NOT_FOUND;
	case EBUSY:
	case EPIPE:
	case EEXIST:
	case EAGAIN:
	case ENOTEMPTY:
		return MHD_HTTP_CONFLICT;
	case EFBIG:
		return MHD_HTTP_CONTENT_TOO_LARGE;
	case ENOTSUP:
		return MHD_HTTP_NOT_IMPLEMENTED;
	case ENOMEM:
		return MHD_HTTP_SERVICE_UNAVAILABLE;
	case ETIMEDOUT:
		return MHD_HTTP_GATEWAY_TIMEOUT;
	case ENOSPC:
	case EDQUOT:
		return MHD_HTTP_INSUFFICIENT_STORAGE;
	default:
		return MHD_HTTP_INTERNAL_SERVER_ERROR;
	}
}

void reply_header(struct request *r, const char *name, const char *value)
{
	if (!r->headers)
		r->headers = json_object();
	json_object_set_new(r->headers, name, json_string(value));
}

/* From now on this is the answer; a parked request goes on. */
static void answer(struct request *r, unsigned status, const char *media_type,
		   struct MHD_Response *response)
{
	if (r->response)
		MHD_destroy_response(r->response);
	request_unwatch(r);
	r->response = response;
	r->status = status;
	if (!response) {
		request_break(r);
		return;
	}
	if (media_type)
		reply_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, media_type);
	request_wake(r);
}

static void answer_bytes(struct request *r, unsigned status, const char *media_type,
			 void *data, size_t len)
{
	struct MHD_Response *response =
	    data ? MHD_create_response_from_buffer_with_free_callback(len, data, free)
		 : NULL;

	if (!response)
		free(data);
	answer(r, status, media_type, response);
}

void reply_bytes(struct request *r, unsigned status, const char *media_type, void *data,
		 size_t len)
{
	answer_bytes(r, status, media_type, data, len);
}

void reply_text(struct request *r, unsigned status, const char *text)
{
	answer_bytes(r, status, "text/plain; charset=utf-8", strdup(text), strlen(text));
}

void reply_json(struct request *r, unsigned status, json_t *body)
{
	char *text = json_dumps(body, JSON_COMPACT);

	json_decref(body);
	answer_bytes(r, status, "application/json", text, text ? strlen(text) : 0);
}

void reply_empty(struct request *r, unsigned status)
{
	answer(r, status, NULL,
	       MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT));
}

static const char *code_name(int code)
{
	const char *name = strerrorname_np(-code);

	return name ? name : "EIO";
}

void reply_error(struct request *r, const struct error *err)
{
	reply_json(r, reply_status(err->code),
		   json_pack("{s:o, s:s}", "error", text_json(err->text, strlen(err->text)),
			     "code", code_name(err->code)));
}

void reply_say(struct request *r, int errnum, const char *fmt, ...)
{
	struct error err = {.code = -errnum};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err.text, sizeof(err.text), fmt, ap);
	va_end(ap);
	reply_error(r, &err);
}

/* Nothing to send now: the connection sleeps until request_wake(). */
static ssize_t read_more(void *cls, uint64_t pos, char *to, size_t max)
{
	struct request *r = cls;
	ssize_t n;

	(void)pos;
	n = r->gone ? -EPIPE : r->read(r, to, max);
	if (n > 0)
		return n;
	if (n == -EAGAIN && !r->server->ending) {
		request_park(r);
		return 0;
	}
	return n == 0 ? MHD_CONTENT_READER_END_OF_STREAM
		      : MHD_CONTENT_READER_END_WITH_ERROR;
}

void reply_stream(struct request *r, unsigned status, const char *media_type, uint64_t size,
		  ssize_t (*read)(struct request *r, char *to, size_t len))
{
	r->read = read;
	answer(
	    r, status, media_type,
	    MHD_create_response_from_callback(size == REPLY_OPEN ? MHD_SIZE_UNKNOWN : size,
					      BLOCK, read_more, r, NULL));
}

/* What one trace has here (https://www.w3.org/TR/trace-context/): a line in the log. */
static void log_trace(const struct request *r)
{
	const char *trace = request_header(r, "traceparent");

	if (trace && !r->refused && strlen(trace) == 55 &&
	    strspn(trace, "0123456789abcdef-") == 55)
		fprintf(stderr, "pffs: %s %s %u traceparent %s\n", r->route->method,
			r->route->template, r->status, trace);
}

enum MHD_Result reply_queue(struct request *r)
{
	enum MHD_Result result;

	log_trace(r);
	for (void *it = json_object_iter(r->headers); it;
	     it = json_object_iter_next(r->headers, it))
		MHD_add_response_header(r->response, json_object_iter_key(it),
					json_string_value(json_object_iter_value(it)));
	/* What comes out of a sandbox is never a page of this server. */
	MHD_add_response_header(r->response, "X-Content-Type-Options", "nosniff");
	result = MHD_queue_response(r->connection, r->status, r->response);
	MHD_destroy_response(r->response);
	r->response = NULL;
	return result;
}
