#include "vmctl/ctl.h"

#include "util/buf.h"
#include "util/cleanup.h"
#include "util/io.h"
#include "vmctl/serve.h"
#include "vmctl/usage.h"
#include "wire/link.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CTL_SEQ	       1
#define CTL_TIMEOUT_MS 30000

/* One request on a connection of its own. */
struct ctl {
	const char *socket;
	bool json;
	int fd;
	struct buf in;
};

static const char usage_text[] =
    "usage: vmctl list [--socket PATH] [--json]\n"
    "       vmctl stat [--socket PATH] [--json] [VM]\n"
    "       vmctl log  [--socket PATH] [--json] VM\n"
    "       vmctl kill [--socket PATH] [--json] VM [SIGNAL]\n"
    "Ask a running `vmctl serve`. VM is a number of `vmctl list`, SIGNAL a number (9).\n";

/* Parse the options. Return: 0, or the exit status with which to end, plus 1. */
static int ctl_options(struct ctl *ctl, int argc, char **argv, int min, int max)
{
	static const struct option longs[] = {
	    {"socket", required_argument, NULL, 's'},
	    {"json", no_argument, NULL, 'j'},
	    {"help", no_argument, NULL, 'h'},
	    {0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 's')
			ctl->socket = optarg;
		else if (c == 'j')
			ctl->json = true;
		else
			return usage_exit(usage_text, c == 'h') + 1;
	}
	if (argc - optind < min || argc - optind > max)
		return usage_exit(usage_text, false) + 1;
	ctl->socket = serve_socket_path(ctl->socket);
	return 0;
}

/* A number of the command line; the server says what is wrong with a wrong one. */
static json_int_t number(const char *text)
{
	char *end;
	long long value = strtoll(text, &end, 10);

	return *text && !*end ? value : 0;
}

/* Wait for a whole frame; the previous one has to be consumed. */
static int next_frame(struct ctl *ctl, struct link_frame *frame, struct error *err)
{
	for (;;) {
		struct pollfd wait = {.fd = ctl->fd, .events = POLLIN};
		int r = link_next(&ctl->in, frame, err);
		ssize_t n;

		if (r != 0)
			return r;
		if (poll(&wait, 1, CTL_TIMEOUT_MS) == 0)
			return error_say(err, ETIMEDOUT, "%s did not answer within %d s",
					 ctl->socket, CTL_TIMEOUT_MS / 1000);
		n = buf_fill(&ctl->in, ctl->fd, 64 << 10);
		if (n == 0)
			return error_say(err, EPIPE, "%s closed the connection",
					 ctl->socket);
		if (n < 0 && n != -EAGAIN)
			return error_set(err, (int)-n, "cannot read from %s", ctl->socket);
	}
}

static int send_request(struct ctl *ctl, json_t *request, struct error *err)
{
	static const uint8_t nonce[LINK_NONCE];
	cleanup_free char *text = json_dumps(request, JSON_COMPACT);
	struct buf out = {0};
	int r = text ? link_put_hello(&out, nonce) : -ENOMEM;

	if (r == 0)
		r = link_put(&out, 0, LINK_CONTROL, text, strlen(text));
	if (r == 0)
		r = io_write_all(ctl->fd, buf_peek(&out), out.len);
	buf_fini(&out);
	return r < 0 ? error_set(err, -r, "cannot write to %s", ctl->socket) : 0;
}

/* The reply to our request in @frame, or NULL: it is something else. */
static json_t *reply_in(const struct link_frame *frame)
{
	json_t *message;

	if (frame->type != LINK_CONTROL)
		return NULL;
	message = json_loadb((const char *)frame->payload, frame->len, 0, NULL);
	if (json_integer_value(json_object_get(message, "seq")) == CTL_SEQ ||
	    json_object_get(message, "error"))
		return message;
	json_decref(message);
	return NULL;
}

static int wait_reply(struct ctl *ctl, json_t **reply, struct error *err)
{
	*reply = NULL;
	while (!*reply) {
		struct link_frame frame;
		struct link_hello hello;
		int r = next_frame(ctl, &frame, err);

		if (r < 0)
			return r;
		if (frame.type == LINK_HELLO && link_get_hello(&frame, &hello, err) < 0)
			return -EPROTO;
		*reply = reply_in(&frame);
		buf_consume(&ctl->in, link_frame_size(&frame));
	}
	return 0;
}

/* @request is consumed. Return: 0 with @reply, or -errno with @err. */
static int ctl_call(struct ctl *ctl, json_t *request, json_t **reply, struct error *err)
{
	const char *sentence;
	int r;

	*reply = NULL;
	ctl->fd = io_connect_unix(ctl->socket, err);
	r = ctl->fd < 0 ? ctl->fd : 0;
	if (r == -ENOENT || r == -ECONNREFUSED)
		error_say(err, -r, "no vmctl listens at %s: start `vmctl serve`",
			  ctl->socket);
	json_object_set_new(request, "seq", json_integer(CTL_SEQ));
	if (r == 0)
		r = send_request(ctl, request, err);
	if (r == 0)
		r = wait_reply(ctl, reply, err);
	json_decref(request);
	buf_fini(&ctl->in);
	if (ctl->fd >= 0)
		close(ctl->fd);
	ctl->fd = -1;
	sentence = json_string_value(json_object_get(*reply, "error"));
	if (!sentence)
		return r;
	error_say(err, EIO, "%s", sentence);
	json_decref(*reply);
	*reply = NULL;
	return err->code;
}

static int fail(const struct error *err)
{
	fprintf(stderr, "vmctl: %s\n", err->text);
	return EXIT_FAILURE;
}

/* Show a reply as it came, or as KEY VALUE lines. */
static void show(const struct ctl *ctl, json_t *reply)
{
	const char *key;
	json_t *value;

	json_object_del(reply, "seq");
	if (ctl->json) {
		json_dumpf(reply, stdout, JSON_INDENT(2));
		putchar('\n');
		return;
	}
	json_object_foreach(reply, key, value)
	{
		printf("%s", key);
		for (size_t i = 0; i < json_array_size(value); i++)
			printf(" %s", json_string_value(json_array_get(value, i)));
		if (json_is_string(value))
			printf(" %s", json_string_value(value));
		else if (json_is_integer(value))
			printf(" %lld", (long long)json_integer_value(value));
		putchar('\n');
	}
}

static void show_vm(const json_t *vm)
{
	printf("%-5lld %-8s %7lld %5lld MiB %lld  %-16s %-20s %s\n",
	       (long long)json_integer_value(json_object_get(vm, "vm")),
	       json_string_value(json_object_get(vm, "state")),
	       (long long)json_integer_value(json_object_get(vm, "pid")),
	       (long long)json_integer_value(json_object_get(vm, "memory_mib")),
	       (long long)json_integer_value(json_object_get(vm, "vcpus")),
	       json_string_value(json_object_get(vm, "template")),
	       json_string_value(json_object_get(vm, "name")),
	       json_string_value(json_object_get(vm, "reason")));
}

/* A server with many VMs tells of them in several replies. */
static int list_all(struct ctl *ctl, json_t *all, struct error *err)
{
	json_int_t after = 0;
	bool more = true;

	while (more) {
		json_t *request = json_pack("{s:s, s:I}", "op", "list", "after", after);
		json_t *reply, *vms, *last;
		int r = ctl_call(ctl, request, &reply, err);

		if (r < 0)
			return r;
		vms = json_object_get(reply, "vms");
		last = json_array_get(vms, json_array_size(vms) - 1);
		after = json_integer_value(json_object_get(last, "vm"));
		more = json_is_true(json_object_get(reply, "more"));
		json_array_extend(all, vms);
		json_decref(reply);
	}
	return 0;
}

int ctl_list_main(int argc, char **argv)
{
	struct ctl ctl = {.fd = -1};
	json_t *body, *all;
	struct error err;
	int r = ctl_options(&ctl, argc, argv, 0, 0);

	if (r)
		return r - 1;
	all = json_array();
	body = json_pack("{s:o}", "vms", all);
	r = list_all(&ctl, all, &err);
	if (r == 0 && ctl.json)
		show(&ctl, body);
	for (size_t i = 0; r == 0 && !ctl.json && i < json_array_size(all); i++)
		show_vm(json_array_get(all, i));
	json_decref(body);
	return r < 0 ? fail(&err) : EXIT_SUCCESS;
}

int ctl_stat_main(int argc, char **argv)
{
	struct ctl ctl = {.fd = -1};
	json_t *request, *reply;
	struct error err;
	int r = ctl_options(&ctl, argc, argv, 0, 1);

	if (r)
		return r - 1;
	request = json_pack("{s:s}", "op", "stat");
	if (optind < argc)
		json_object_set_new(request, "vm", json_integer(number(argv[optind])));
	if (ctl_call(&ctl, request, &reply, &err) < 0)
		return fail(&err);
	show(&ctl, reply);
	json_decref(reply);
	return EXIT_SUCCESS;
}

int ctl_log_main(int argc, char **argv)
{
	struct ctl ctl = {.fd = -1};
	struct error err;
	json_t *reply;
	int r = ctl_options(&ctl, argc, argv, 1, 1);

	if (r)
		return r - 1;
	if (ctl_call(&ctl, json_pack("{s:s, s:I}", "op", "log", "vm", number(argv[optind])),
		     &reply, &err) < 0)
		return fail(&err);
	if (ctl.json)
		show(&ctl, reply);
	else
		printf("%s", json_string_value(json_object_get(reply, "log")));
	json_decref(reply);
	return EXIT_SUCCESS;
}

int ctl_kill_main(int argc, char **argv)
{
	struct ctl ctl = {.fd = -1};
	json_int_t signal = SIGKILL;
	struct error err;
	json_t *reply;
	int r = ctl_options(&ctl, argc, argv, 1, 2);

	if (r)
		return r - 1;
	if (optind + 1 < argc)
		signal = number(argv[optind + 1]);
	if (ctl_call(&ctl,
		     json_pack("{s:s, s:I, s:I}", "op", "kill", "vm", number(argv[optind]),
			       "signal", signal),
		     &reply, &err) < 0)
		return fail(&err);
	json_decref(reply);
	return EXIT_SUCCESS;
}
