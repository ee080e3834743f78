#include "pffs/mcp/mcp_session.h"

#include "pffs/cli/start.h"
#include "pffs/mcp/mcp.h"
#include "util/cleanup.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/timerfd.h>

#define NAMES_MAX 100  /* tried for the session's own sandbox */
#define END_MS	  5000 /* for all that goes with a session */

void session_init(struct session *session, const struct session_options *options)
{
	*session = (struct session){.options = *options, .made = json_object()};
	pthread_mutex_init(&session->lock, NULL);
	pthread_cond_init(&session->settled, NULL);
}

void target_fini(struct target *target)
{
	free(target->name);
	free(target->id);
	free(target->path);
	*target = (struct target){0};
}

static int is_cancelled(void *ctx)
{
	(void)ctx;
	return -ECANCELED;
}

/* To do what only one call does at a time. */
static void begin_alone(struct session *session)
{
	pthread_mutex_lock(&session->lock);
	while (session->busy)
		pthread_cond_wait(&session->settled, &session->lock);
	session->busy = true;
	pthread_mutex_unlock(&session->lock);
}

static void end_alone(struct session *session)
{
	pthread_mutex_lock(&session->lock);
	session->busy = false;
	session->trying[0] = '\0';
	pthread_cond_broadcast(&session->settled);
	pthread_mutex_unlock(&session->lock);
}

/* With begin_alone(). */
static int find_pffs(struct session *session, struct error *err)
{
	struct client *client;

	if (session->client)
		return 0;
	client = start_client(session->options.api, session->options.sandbox, -1, err);
	if (!client)
		return err->code;
	pthread_mutex_lock(&session->lock);
	session->client = client;
	pthread_mutex_unlock(&session->lock);
	return 0;
}

static const struct client *client_of(struct session *session, struct error *err)
{
	const struct client *client;

	pthread_mutex_lock(&session->lock);
	client = session->client;
	pthread_mutex_unlock(&session->lock);
	if (client)
		return client;
	begin_alone(session);
	if (find_pffs(session, err) == 0)
		client = session->client;
	end_alone(session);
	return client;
}

const struct client *session_client(struct call *call, struct error *err)
{
	return client_of(call->mcp->session, err);
}

int session_transfer(struct call *call, struct transfer *transfers, size_t count,
		     const struct client_watch *timer, struct error *err)
{
	const struct client *client = session_client(call, err);
	struct client_watch watches[2] = {{.fd = call->cancel_fd, .ready = is_cancelled}};

	if (!client)
		return err->code;
	if (timer)
		watches[1] = *timer;
	if (client_transfer(client, transfers, count, watches, timer ? 2 : 1) == -ECANCELED)
		return error_say(err, ECANCELED, "the call was cancelled");
	return 0;
}

int session_ask(struct call *call, const char *method, const json_t *body, json_t **answer,
		struct error *err, const char *path, ...)
{
	struct transfer t = {.method = method, .body = body};
	cleanup_free char *formatted = NULL;
	va_list args;
	int r;

	if (answer)
		*answer = NULL;
	va_start(args, path);
	r = vasprintf(&formatted, path, args);
	va_end(args);
	if (r < 0) {
		formatted = NULL;
		return error_set(err, ENOMEM, "cannot ask pffs");
	}
	t.path = formatted;
	r = session_transfer(call, &t, 1, NULL, err);
	if (r == 0 && t.err.code < 0) {
		*err = t.err;
		r = err->code;
	}
	if (answer)
		*answer = steal_pointer(&t.answer);
	transfer_fini(&t);
	return r;
}

/* Of its own accord a sandbox is called like the process that it is for. */
static void next_name(struct session *session)
{
	unsigned n = ++session->tries;

	pthread_mutex_lock(&session->lock);
	if (n == 1)
		snprintf(session->trying, sizeof(session->trying), "mcp-%d", getpid());
	else
		snprintf(session->trying, sizeof(session->trying), "mcp-%d-%u", getpid(),
			 n);
	pthread_mutex_unlock(&session->lock);
}

static json_t *wish(const struct session *session, const char *name)
{
	json_t *body = json_pack("{s:s}", "name", name);

	if (session->options.template)
		json_object_set_new(body, "template",
				    json_string(session->options.template));
	return body;
}

static int make(struct session *session, const char *name, struct error *err)
{
	json_t *body = wish(session, name);
	int r = client_call(session->client, "POST", body, NULL, err, "/v1/sandboxes");

	json_decref(body);
	return r;
}

static void set_own(struct session *session, const char *name)
{
	pthread_mutex_lock(&session->lock);
	session->own = strdup(name);
	pthread_mutex_unlock(&session->lock);
}

/* The user's, which is made when it is not there. */
static int find_named(struct session *session, struct error *err)
{
	const char *name = session->options.sandbox;
	cleanup_free char *ref = client_reference(name);
	int r = ref ? client_call(session->client, "GET", NULL, NULL, err,
				  "/v1/sandboxes/%s", ref)
		    : error_set(err, ENOMEM, "cannot ask for %s", name);

	if (r == -ENOENT && !strchr(name, '/'))
		r = make(session, name, err);
	if (r == 0)
		set_own(session, name);
	return r;
}

static int make_own(struct session *session, struct error *err)
{
	int r = -EEXIST;

	for (int i = 0; i < NAMES_MAX && r == -EEXIST; i++) {
		next_name(session);
		r = make(session, session->trying, err);
	}
	if (r == 0)
		set_own(session, session->trying);
	return r;
}

static char *own_name(struct session *session)
{
	char *name;

	pthread_mutex_lock(&session->lock);
	name = session->own ? strdup(session->own) : NULL;
	pthread_mutex_unlock(&session->lock);
	return name;
}

/* What the session's own sandbox is called, to free(). */
static char *find_own(struct session *session, struct error *err)
{
	char *name = own_name(session);
	int r = 0;

	if (name)
		return name;
	begin_alone(session);
	name = own_name(session);
	if (!name)
		r = find_pffs(session, err);
	if (!name && r == 0)
		r = session->options.sandbox ? find_named(session, err)
					     : make_own(session, err);
	end_alone(session);
	if (!name && r == 0)
		name = own_name(session);
	if (!name && r == 0)
		error_set(err, ENOMEM, "cannot make a sandbox");
	return name;
}

/* The id of what the session made and calls @name, the newest one; or @name. */
static const char *id_of(const struct session *session, const char *name)
{
	void *it = json_object_iter(session->made);
	const char *found = name;

	for (; it; it = json_object_iter_next(session->made, it))
		if (strcmp(json_string_value(json_object_iter_value(it)), name) == 0)
			found = json_object_iter_key(it);
	return found;
}

int session_target(struct call *call, const char *name, struct target *target,
		   struct error *err)
{
	struct session *session = call->mcp->session;
	cleanup_free char *ref = NULL;

	*target = (struct target){.own = !name};
	if (!session_client(call, err))
		return err->code;
	target->name = name ? strdup(name) : find_own(session, err);
	if (!target->name)
		return err->code ? err->code : error_set(err, ENOMEM, "cannot ask pffs");
	pthread_mutex_lock(&session->lock);
	target->id = strdup(id_of(session, target->name));
	if (name && session->own && strcmp(name, session->own) == 0)
		target->own = true;
	pthread_mutex_unlock(&session->lock);
	/* The user's may be named by a path of this machine, a model's may not. */
	if (target->id)
		ref = target->own && session->options.sandbox ? client_reference(target->id)
							      : client_escape(target->id);
	if (!ref || asprintf(&target->path, "/v1/sandboxes/%s", ref) < 0) {
		target->path = NULL;
		return error_set(err, ENOMEM, "cannot ask pffs");
	}
	return 0;
}

int session_argument(struct call *call, struct target *target, struct error *err)
{
	return session_target(
	    call, json_string_value(json_object_get(call->arguments, "sandbox")), target,
	    err);
}

void session_add(struct call *call, const json_t *sandbox)
{
	struct session *session = call->mcp->session;
	const char *id = json_string_value(json_object_get(sandbox, "id"));
	json_t *name = json_object_get(sandbox, "name");

	if (!id || !json_is_string(name))
		return;
	pthread_mutex_lock(&session->lock);
	json_object_set(session->made, id, name);
	pthread_mutex_unlock(&session->lock);
}

bool session_made(struct call *call, const char *name)
{
	struct session *session = call->mcp->session;
	bool made;

	pthread_mutex_lock(&session->lock);
	made = json_object_get(session->made, id_of(session, name)) != NULL;
	pthread_mutex_unlock(&session->lock);
	return made;
}

void session_forget(struct call *call, const struct target *target)
{
	struct session *session = call->mcp->session;

	pthread_mutex_lock(&session->lock);
	json_object_del(session->made, target->id);
	if (session->own && strcmp(session->own, target->name) == 0) {
		free(session->own);
		session->own = NULL;
	}
	pthread_mutex_unlock(&session->lock);
}

/* Is it no more? Of what does not answer that is not said. */
static bool has_gone(struct call *call, const struct target *target, const char **state,
		     json_t **answer)
{
	struct error err = {0};
	int r = session_ask(call, "GET", NULL, answer, &err, "%s", target->path);

	*state = json_string_value(json_object_get(*answer, "state"));
	return r == -ENOENT;
}

void session_explain(struct call *call, const struct target *target, struct error *err)
{
	const char *state = NULL;
	json_t *answer = NULL;
	char why[200];

	if (!target->own || !target->path || call->mcp->session->options.sandbox)
		return;
	snprintf(why, sizeof(why), "%.199s", err->text);
	if (has_gone(call, target, &state, &answer)) {
		session_forget(call, target);
		error_say(err, ENOENT, "%s; the next call has a new, empty sandbox", why);
	} else if (state && strcmp(state, "dead") == 0) {
		error_say(err, EIO,
			  "%s; destroy_sandbox %s, and the next call has a new one", why,
			  target->name);
	}
	json_decref(answer);
}

/* All that goes, as segments of paths. */
static json_t *leaving(struct session *session)
{
	json_t *list = json_array();
	void *it = json_object_iter(session->made);

	for (; it; it = json_object_iter_next(session->made, it))
		json_array_append_new(list, json_string(json_object_iter_key(it)));
	if (session->own && !session->options.sandbox)
		json_array_append_new(list, json_string(session->own));
	else if (session->trying[0])
		json_array_append_new(list, json_string(session->trying));
	return list;
}

/* A timer that ends transfers. Return: its descriptor, or -1. */
static int deadline(long ms)
{
	struct itimerspec in = {.it_value = {.tv_sec = ms / 1000}};
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

	if (fd >= 0)
		timerfd_settime(fd, 0, &in, NULL);
	return fd;
}

static void remove_all(const struct client *client, const json_t *list)
{
	size_t count = json_array_size(list);
	cleanup_free struct transfer *transfers = calloc(count, sizeof(*transfers));
	cleanup_close int timer = deadline(END_MS);
	struct client_watch watch = {.fd = timer, .ready = is_cancelled};
	char(*paths)[128] = calloc(count, sizeof(*paths));

	for (size_t i = 0; transfers && paths && i < count; i++) {
		snprintf(paths[i], sizeof(*paths), "/v1/sandboxes/%s",
			 json_string_value(json_array_get(list, i)));
		transfers[i] = (struct transfer){.method = "DELETE", .path = paths[i]};
	}
	if (transfers && paths)
		client_transfer(client, transfers, count, &watch, timer >= 0);
	for (size_t i = 0; transfers && i < count; i++)
		transfer_fini(&transfers[i]);
	free(paths);
}

void session_end(struct session *session)
{
	const struct client *client;
	json_t *list;

	pthread_mutex_lock(&session->lock);
	client = session->client;
	list = leaving(session);
	pthread_mutex_unlock(&session->lock);
	if (client && json_array_size(list) && !session->options.keep)
		remove_all(client, list);
	json_decref(list);
}
