#include "vmctl/request.h"

#include "vmctl/broker.h"
#include "vmctl/client.h"
#include "vmctl/fork.h"
#include "vmctl/freeze.h"
#include "vmctl/vmproc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

void reply(struct client *client, json_t *seq, json_t *body)
{
	int r = -ENOMEM;

	if (body && (!seq || json_object_set(body, "seq", seq) == 0))
		r = client_send(client, body);
	json_decref(body);
	if (r == -EMSGSIZE) {
		body = json_pack("{s:O*, s:s, s:i}", "seq", seq, "error",
				 "the reply does not fit one frame", "errno", EMSGSIZE);
		r = body ? client_send(client, body) : -ENOMEM;
		json_decref(body);
	}
	if (r < 0)
		client_break(client);
}

/* A sentence may quote what a client said, and not always to its end. */
static json_t *text_of(const char *text)
{
	json_t *string = json_string(text);
	char ascii[sizeof(((struct error *)0)->text)];

	if (string)
		return string;
	snprintf(ascii, sizeof(ascii), "%s", text);
	for (char *p = ascii; *p; p++)
		if (*p & 0x80)
			*p = '?';
	return json_string(ascii);
}

void reply_error(struct client *client, json_t *seq, const struct error *err)
{
	reply(client, seq,
	      json_pack("{s:o, s:i}", "error", text_of(err->text), "errno", -err->code));
}

static void on_deadline(struct loop_timer *timer)
{
	struct request *request = container_of(timer, struct request, deadline);
	struct error err;

	error_say(&err, ETIMEDOUT, "the VM's process did not answer within %u s",
		  request->vm->broker->config.deadline_ms / 1000);
	request_fail(request, &err);
}

struct request *request_new(struct client *client, json_t *seq, struct vmproc *vm,
			    enum request_kind kind)
{
	struct request *request = calloc(1, sizeof(*request));

	if (!request)
		return NULL;
	request->client = client;
	request->vm = vm;
	request->kind = kind;
	request->seq = json_incref(seq);
	loop_timer_init(&request->deadline, on_deadline);
	list_add_before(&client->requests, &request->client_link);
	list_add_before(&vm->requests, &request->vm_link);
	return request;
}

void request_wait(struct request *request)
{
	struct broker *broker = request->vm->broker;

	loop_timer_set(&broker->loop, &request->deadline, broker->config.deadline_ms);
}

void request_alive(struct vmproc *vm)
{
	struct request *request;

	list_for_each (request, &vm->requests, struct request, vm_link)
		if (request->kind != REQUEST_DESTROY)
			request_wait(request);
}

int request_ask(struct request *request, json_t *question, const int *fds, unsigned count,
		struct error *err)
{
	struct vmproc *vm = request->vm;
	json_t *seq = json_integer((json_int_t)++vm->facts->last_seq);
	int r = json_object_set_new(question, "seq", seq) < 0
		    ? error_set(err, ENOMEM, "cannot ask the VM's process")
		    : vmproc_ask(vm, question, fds, count, err);

	json_decref(question);
	request->vm_seq = vm->facts->last_seq;
	request_wait(request);
	return r;
}

struct request *request_find(struct vmproc *vm, uint64_t vm_seq)
{
	struct request *request;

	list_for_each (request, &vm->requests, struct request, vm_link)
		if (request->kind != REQUEST_DESTROY && request->kind != REQUEST_THAW &&
		    request->vm_seq == vm_seq)
			return request;
	return NULL;
}

void request_reply(struct request *request, json_t *body)
{
	reply(request->client, request->seq, body);
	request_free(request);
}

void request_fail(struct request *request, const struct error *err)
{
	reply_error(request->client, request->seq, err);
	request_free(request);
}

json_int_t number_in(const json_t *message, const char *key)
{
	json_int_t value = json_integer_value(json_object_get(message, key));

	return value > 0 ? value : 0;
}

void request_free(struct request *request)
{
	if (request->kind == REQUEST_FORK)
		fork_end(request);
	else
		freeze_end(request);
	loop_timer_cancel(&request->deadline);
	list_del(&request->client_link);
	list_del(&request->vm_link);
	json_decref(request->seq);
	free(request);
}
