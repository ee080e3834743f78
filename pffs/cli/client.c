#include "pffs/cli/client.h"

#include "util/cleanup.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define ANSWER_MAX   (256u << 20)
#define CONNECT_MS   10000L
#define TURN_MS	     1000 /* nothing depends on it */
#define ERRNO_MAX    134
#define POLLED_MAX   16
#define URL_BEGIN    "http://localhost"
#define GOOD(status) ((status) >= 200 && (status) < 300)

void client_close(struct client *client)
{
	if (!client)
		return;
	free(client->socket);
	free(client);
}

char *client_escape(const char *text)
{
	char *escaped = curl_easy_escape(NULL, text, 0), *copy = NULL;

	if (escaped)
		copy = strdup(escaped);
	curl_free(escaped);
	return copy;
}

char *client_escape_path(const char *text)
{
	char *escaped = client_escape(text), *to = escaped;

	for (const char *from = escaped; from && *from; to++) {
		bool slash = strncmp(from, "%2F", 3) == 0;

		if (slash)
			*to = '/';
		else
			*to = *from;
		from += slash ? 3 : 1;
	}
	if (to)
		*to = '\0';
	return escaped;
}

static int errno_of_name(const char *name)
{
	for (int i = 1; i < ERRNO_MAX; i++) {
		const char *known = strerrorname_np(i);

		if (known && strcmp(known, name) == 0)
			return i;
	}
	return EIO;
}

static size_t take_bytes(char *data, size_t size, size_t count, void *ctx)
{
	struct transfer *t = ctx;
	size_t len = size * count;

	curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &t->status);
	if (t->take && GOOD(t->status))
		t->taken = t->take(t->ctx, data, len);
	else if (t->text.len + len > ANSWER_MAX)
		t->taken = -EFBIG;
	else
		t->taken = buf_append(&t->text, data, len);
	return t->taken < 0 ? 0 : len;
}

static size_t take_header(char *data, size_t size, size_t count, void *ctx)
{
	static const char name[] = "pffs-run:";
	struct transfer *t = ctx;
	size_t len = size * count;

	if (len > sizeof(name) && strncasecmp(data, name, sizeof(name) - 1) == 0)
		for (size_t i = sizeof(name) - 1; i < len; i++)
			if (data[i] >= '0' && data[i] <= '9')
				t->run = t->run * 10 + (unsigned)(data[i] - '0');
	return len;
}

/* What is to be sent and is not there yet lets the transfer pause. */
static size_t give_bytes(char *data, size_t size, size_t count, void *ctx)
{
	struct transfer *t = ctx;
	struct pollfd pfd = {.fd = t->send_fd, .events = POLLIN};
	ssize_t n;

	if (poll(&pfd, 1, 0) == 0) {
		t->paused = true;
		return CURL_READFUNC_PAUSE;
	}
	n = read(t->send_fd, data, size * count);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		t->paused = true;
		return CURL_READFUNC_PAUSE;
	}
	if (n < 0)
		t->taken = -errno;
	return n < 0 ? CURL_READFUNC_ABORT : (size_t)n;
}

static int add_header(struct transfer *t, const char *header)
{
	struct curl_slist *list = curl_slist_append(t->headers, header);

	if (!list)
		return -ENOMEM;
	t->headers = list;
	return 0;
}

static int add_headers(struct transfer *t)
{
	char accept[128];
	int r = add_header(t, "Expect:");

	if (r == 0 && t->body)
		r = add_header(t, "Content-Type: application/json");
	if (r == 0 && t->accept) {
		snprintf(accept, sizeof(accept), "Accept: %s", t->accept);
		r = add_header(t, accept);
	}
	return r;
}

/* What is asked, but for where. */
static int set_content(struct transfer *t)
{
	CURL *curl = t->curl;

	if (t->sends) {
		curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(curl, CURLOPT_READFUNCTION, give_bytes);
		curl_easy_setopt(curl, CURLOPT_READDATA, t);
	} else if (t->body) {
		t->payload = json_dumps(t->body, JSON_COMPACT);
		if (!t->payload)
			return -ENOMEM;
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE,
				 (curl_off_t)strlen(t->payload));
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, t->payload);
	} else if (t->method && strcmp(t->method, "POST") == 0) {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "");
	}
	if (t->method && strcmp(t->method, "HEAD") == 0)
		curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
	if (t->method)
		curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, t->method);
	return 0;
}

static int prepare(const struct client *client, struct transfer *t)
{
	cleanup_free char *url = NULL;

	t->curl = curl_easy_init();
	if (!t->curl || asprintf(&url, URL_BEGIN "%s", t->path) < 0) {
		url = NULL;
		return -ENOMEM;
	}
	curl_easy_setopt(t->curl, CURLOPT_URL, url);
	curl_easy_setopt(t->curl, CURLOPT_UNIX_SOCKET_PATH, client->socket);
	curl_easy_setopt(t->curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(t->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(t->curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	curl_easy_setopt(t->curl, CURLOPT_WRITEFUNCTION, take_bytes);
	curl_easy_setopt(t->curl, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(t->curl, CURLOPT_HEADERFUNCTION, take_header);
	curl_easy_setopt(t->curl, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(t->curl, CURLOPT_PRIVATE, t);
	if (set_content(t) < 0 || add_headers(t) < 0)
		return -ENOMEM;
	curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, t->headers);
	return 0;
}

static void parse_answer(struct transfer *t)
{
	const char *text = (const char *)buf_peek(&t->text);

	if (!t->text.len)
		t->answer = json_null();
	else
		t->answer =
		    json_loadb(text, t->text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	if (!t->answer && GOOD(t->status))
		t->answer = json_stringn(text, t->text.len);
	buf_fini(&t->text);
}

/* The server's own words. */
static void explain_refusal(struct transfer *t)
{
	const char *sentence = json_string_value(json_object_get(t->answer, "error"));
	const char *code = json_string_value(json_object_get(t->answer, "code"));
	const char *report = json_string_value(json_object_get(t->answer, "report"));

	if (sentence)
		error_say(&t->err, code ? errno_of_name(code) : EIO, "%s", sentence);
	else if (report)
		error_say(&t->err, EBUSY, "%s", report);
	else
		error_say(&t->err, EIO, "pffs answered with status %ld", t->status);
}

static void explain_failure(const struct client *client, struct transfer *t, CURLcode code)
{
	if (t->taken == -ECANCELED)
		error_say(&t->err, ECANCELED, "it was ended");
	else if (t->taken < 0)
		error_set(&t->err, -t->taken, "cannot pass on what came");
	else if (code == CURLE_COULDNT_CONNECT)
		error_say(&t->err, ECONNREFUSED, "no pffs answers at %s", client->socket);
	else
		error_say(&t->err, EIO, "the connection to pffs at %s broke: %s",
			  client->socket, curl_easy_strerror(code));
}

static void finish(const struct client *client, struct transfer *t, CURLcode code)
{
	t->ended = true;
	t->paused = false;
	curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &t->status);
	if (code == CURLE_OK || (t->status && !GOOD(t->status)))
		parse_answer(t);
	if (code == CURLE_OK && GOOD(t->status))
		return;
	if (t->status && !GOOD(t->status))
		explain_refusal(t);
	else
		explain_failure(client, t, code);
}

static void reap(const struct client *client, CURLM *multi)
{
	const CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(multi, &left))) {
		CURLcode code = msg->data.result;
		char *t = NULL;

		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &t);
		finish(client, (struct transfer *)(void *)t, code);
	}
}

/* Wait for the net and for all else. Return: 0, or what a watch returned. */
static int await(CURLM *multi, struct transfer *transfers, size_t count,
		 const struct client_watch *watches, size_t watch_count)
{
	struct curl_waitfd fds[POLLED_MAX] = {0};
	struct transfer *paused[POLLED_MAX];
	unsigned used = 0;
	int r = 0;

	for (size_t i = 0; i < watch_count && used < POLLED_MAX; i++)
		fds[used++] =
		    (struct curl_waitfd){.fd = watches[i].fd, .events = CURL_WAIT_POLLIN};
	for (size_t i = 0; i < count && used < POLLED_MAX; i++)
		if (transfers[i].paused) {
			paused[used] = &transfers[i];
			fds[used++] = (struct curl_waitfd){.fd = transfers[i].send_fd,
							   .events = CURL_WAIT_POLLIN};
		}
	curl_multi_poll(multi, fds, used, TURN_MS, NULL);
	for (size_t i = 0; i < used && r == 0; i++) {
		if (!fds[i].revents)
			continue;
		if (i < watch_count)
			r = watches[i].ready(watches[i].ctx);
		else {
			paused[i]->paused = false;
			curl_easy_pause(paused[i]->curl, CURLPAUSE_CONT);
		}
	}
	return r;
}

static void no_memory(struct transfer *t)
{
	if (!t->ended)
		error_set(&t->err, ENOMEM, "cannot ask pffs");
	t->ended = true;
}

static void begin(const struct client *client, CURLM *multi, struct transfer *t)
{
	t->status = 0;
	t->answer = NULL;
	t->run = 0;
	t->err = (struct error){0};
	t->headers = NULL;
	t->payload = NULL;
	t->curl = NULL;
	t->text = (struct buf){0};
	t->taken = 0;
	t->paused = t->ended = false;
	if (prepare(client, t) < 0 || curl_multi_add_handle(multi, t->curl) != CURLM_OK)
		no_memory(t);
}

static void end(CURLM *multi, struct transfer *t)
{
	if (!t->ended)
		error_say(&t->err, ECANCELED, "it was ended");
	if (t->curl) {
		curl_multi_remove_handle(multi, t->curl);
		curl_easy_cleanup(t->curl);
	}
	curl_slist_free_all(t->headers);
	free(t->payload);
	buf_fini(&t->text);
	t->curl = t->headers = t->payload = NULL;
}

static bool all_ended(const struct transfer *transfers, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!transfers[i].ended && !transfers[i].beside)
			return false;
	return true;
}

int client_transfer(const struct client *client, struct transfer *transfers, size_t count,
		    const struct client_watch *watches, size_t watch_count)
{
	CURLM *multi = curl_multi_init();
	int running, r = 0;

	for (size_t i = 0; i < count; i++)
		if (multi)
			begin(client, multi, &transfers[i]);
		else
			no_memory(&transfers[i]);
	while (multi && r == 0) {
		if (curl_multi_perform(multi, &running) != CURLM_OK)
			break;
		reap(client, multi);
		if (all_ended(transfers, count))
			break;
		r = await(multi, transfers, count, watches, watch_count);
	}
	for (size_t i = 0; multi && i < count; i++)
		end(multi, &transfers[i]);
	curl_multi_cleanup(multi);
	return r;
}

void transfer_fini(struct transfer *transfer)
{
	json_decref(transfer->answer);
	transfer->answer = NULL;
}

int client_call(const struct client *client, const char *method, const json_t *body,
		json_t **answer, struct error *err, const char *path, ...)
{
	struct transfer t = {.method = method, .body = body};
	cleanup_free char *formatted = NULL;
	va_list args;
	int n;

	if (answer)
		*answer = NULL;
	va_start(args, path);
	n = vasprintf(&formatted, path, args);
	va_end(args);
	if (n < 0) {
		formatted = NULL;
		return error_set(err, ENOMEM, "cannot ask pffs");
	}
	t.path = formatted;
	client_transfer(client, &t, 1, NULL, 0);
	if (answer)
		*answer = steal_pointer(&t.answer);
	transfer_fini(&t);
	if (t.err.code < 0 && err)
		*err = t.err;
	return t.err.code;
}
