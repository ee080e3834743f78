#include "vmctl/proxy/exchange.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *exchange_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
	struct visit *visit = visit_of(connection);
	struct exchange *exchange =
	    visit && visit->slot ? calloc(1, sizeof(*exchange)) : NULL;

	if (!exchange)
		return NULL;
	exchange->proxy = cls;
	exchange->visit = visit;
	exchange->body = SPOOL_NONE;
	exchange->peer = LOOP_SOURCE_NONE;
	list_init(&exchange->resolving);
	exchange->target = strdup(uri);
	visit->exchange = exchange;
	return exchange;
}

void exchange_say(struct exchange *exchange, unsigned status, const char *format, ...)
{
	va_list list;

	exchange->status = status;
	va_start(list, format);
	vsnprintf(exchange->text, sizeof(exchange->text), format, list);
	va_end(list);
	exchange_wake(exchange);
}

static void peer_changed(struct loop_source *source, uint32_t revents)
{
	(void)revents;
	exchange_break(container_of(source, struct exchange, peer));
}

/* The server does not look at a connection that is suspended: we see whether it ends. */
void exchange_suspend(struct exchange *exchange)
{
	exchange->suspended = true;
	MHD_suspend_connection(exchange->visit->connection);
	loop_add(&exchange->proxy->loop, &exchange->peer, exchange->visit->fd, EPOLLRDHUP,
		 peer_changed);
}

void exchange_wake(struct exchange *exchange)
{
	if (!exchange->suspended)
		return;
	exchange->suspended = false;
	loop_del(&exchange->proxy->loop, &exchange->peer);
	MHD_resume_connection(exchange->visit->connection);
	server_run_soon(exchange->proxy);
}

void exchange_break(struct exchange *exchange)
{
	exchange->broken = true;
	exchange_wake(exchange);
}

static enum MHD_Result answer_ourselves(struct exchange *exchange)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(
	    strlen(exchange->text), exchange->text, MHD_RESPMEM_MUST_COPY);
	enum MHD_Result result;

	if (!response)
		return MHD_NO;
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
				"text/plain; charset=utf-8");
	result =
	    MHD_queue_response(exchange->visit->connection, exchange->status, response);
	MHD_destroy_response(response);
	return result;
}

static bool has_room(const struct exchange *exchange, size_t size)
{
	return exchange->visit->slot->bodies + size <= PROXY_BODIES_OF &&
	       exchange->proxy->bodies + size <= PROXY_BODIES;
}

static void keep(struct exchange *exchange, const char *data, size_t size)
{
	if (exchange->body.len + size > PROXY_BODY_MAX)
		return exchange_say(exchange, MHD_HTTP_CONTENT_TOO_LARGE,
				    "pffs: a request to a domain with a secret has at "
				    "most %u MiB\n",
				    PROXY_BODY_MAX >> 20);
	if (!has_room(exchange, size) || spool_put(&exchange->body, data, size) < 0)
		return exchange_say(exchange, MHD_HTTP_SERVICE_UNAVAILABLE,
				    "pffs: too much is being sent at a time to domains "
				    "with secrets: try again later\n");
	exchange->visit->slot->bodies += size;
	exchange->proxy->bodies += size;
}

static void forget_body(struct exchange *exchange)
{
	if (exchange->visit->slot)
		exchange->visit->slot->bodies -= exchange->body.len;
	exchange->proxy->bodies -= exchange->body.len;
	spool_fini(&exchange->body);
}

/* What comes behind a refusal is thrown away, for a while. */
static enum MHD_Result take(struct exchange *exchange, const char *data, size_t *size)
{
	if (!exchange->status)
		keep(exchange, data, *size);
	else
		exchange->thrown_away += *size;
	*size = 0;
	return exchange->thrown_away > PROXY_BODY_MAX ? MHD_NO : MHD_YES;
}

static enum MHD_Result begin(struct exchange *exchange, const char *method)
{
	exchange->begun = true;
	exchange->method = strdup(method);
	if (!exchange->target || !exchange->method || !exchange->visit->leaf)
		return MHD_NO;
	if (exchange_check(exchange))
		return MHD_YES;
	/* Who asks before he sends is told before. */
	return exchange->status &&
		       MHD_lookup_connection_value(exchange->visit->connection,
						   MHD_HEADER_KIND, MHD_HTTP_HEADER_EXPECT)
		   ? answer_ourselves(exchange)
		   : MHD_YES;
}

enum MHD_Result exchange_step(void *cls, struct MHD_Connection *connection, const char *url,
			      const char *method, const char *version, const char *data,
			      size_t *size, void **ctx)
{
	struct exchange *exchange = *ctx;

	(void)cls;
	(void)connection;
	(void)url;
	(void)version;
	if (!exchange || exchange->broken || !exchange->visit->slot)
		return MHD_NO;
	if (!exchange->begun)
		return begin(exchange, method);
	if (*size)
		return take(exchange, data, size);
	if (!exchange->complete && !exchange->status)
		exchange_addresses(exchange);
	exchange->complete = true;
	if (exchange->status)
		return answer_ourselves(exchange);
	if (exchange->fetch.has_begun)
		return fetch_answer(&exchange->fetch);
	exchange_suspend(exchange);
	return MHD_YES;
}

void exchange_completed(void *cls, struct MHD_Connection *connection, void **ctx,
			enum MHD_RequestTerminationCode code)
{
	struct exchange *exchange = *ctx;

	(void)cls;
	(void)connection;
	(void)code;
	if (!exchange)
		return;
	fetch_end(&exchange->fetch);
	forget_body(exchange);
	loop_del(&exchange->proxy->loop, &exchange->peer);
	list_del(&exchange->resolving);
	fields_fini(&exchange->fields);
	exchange->visit->exchange = NULL;
	free(exchange->target);
	free(exchange->method);
	free(exchange);
	*ctx = NULL;
}
