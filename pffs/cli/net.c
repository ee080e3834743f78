/*
 * pffs net: what may leave a sandbox, and what has.
 */
#include "pffs/cli/command.h"
#include "pffs/cli/commands.h"
#include "util/cleanup.h"

#include <errno.h>
#include <string.h>

static const char help[] =
    "usage: pffs net SANDBOX [--egress on|off|allow] [--allow ENTRY]...\n"
    "       pffs net SANDBOX --log [--follow]\n"
    "\n"
    "Prints the network of SANDBOX, after it was set, if anything is to be set.\n"
    "\n"
    "      --egress MODE   what may leave it: all, nothing, or what is allowed\n"
    "      --allow ENTRY   add example.com:443, *.example.com, 203.0.113.0/24 or the like\n"
    "      --clear         forget what was allowed before\n"
    "      --log           print what its network did: a JSON object a line\n"
    "  -f, --follow        with --log: and what it does, until interrupted\n"
    "      --json          what GET /v1/sandboxes/SANDBOX/net answers\n"
    "      --api PATH      socket of the pffs that is asked (PFFS_API; else the only "
    "one)\n";

struct net_options {
	const char *egress;
	json_t *allow; /* what is to be added */
	bool clear, log, follow;
};

static int take(void *ctx, int option, const char *value)
{
	struct net_options *o = ctx;

	if (option == 'e')
		o->egress = value;
	else if (option == 'a')
		return json_array_append_new(o->allow, json_string(value)) < 0 ? -EINVAL
									       : 0;
	else if (option == 'c')
		o->clear = true;
	else if (option == 'l')
		o->log = true;
	else
		o->follow = true;
	return 0;
}

static void print_lines(const char *key, const json_t *lines)
{
	const json_t *line;
	size_t i;

	json_array_foreach(lines, i, line)
	{
		printf("%s %s\n", key, json_string_value(line));
	}
}

static void print_text(const json_t *net, const char *key)
{
	printf("%s %s\n", key, json_string_value(json_object_get(net, key)));
}

static void print_secrets(const json_t *secrets)
{
	const json_t *secret;
	size_t i;

	json_array_foreach(secrets, i, secret)
	{
		printf("secret %s %s\n",
		       json_string_value(json_object_get(secret, "domain")),
		       json_string_value(json_object_get(secret, "header")));
	}
}

static void print(const json_t *net)
{
	print_text(net, "egress");
	print_lines("allow", json_object_get(net, "allow"));
	print_secrets(json_object_get(net, "secrets"));
	print_lines("port", json_object_get(net, "ports"));
	print_text(net, "uplink");
	printf("connected %s\n",
	       json_is_true(json_object_get(net, "connected")) ? "yes" : "no");
}

/* What is to be sent: the list that there is, and what is added. */
static json_t *change(const struct net_options *o, const json_t *now)
{
	json_t *allow = o->clear ? json_array() : json_copy(json_object_get(now, "allow"));

	json_array_extend(allow, o->allow);
	return json_pack("{s:s*, s:o}", "egress", o->egress, "allow", allow);
}

/* Set what is to be set; *@net is what it was, and then is. Return: 0, or the status. */
static int set(struct command *c, const struct net_options *o, const char *sandbox,
	       json_t **net)
{
	json_t *body, *after = NULL;
	int r;

	if (!o->egress && !o->clear && !json_array_size(o->allow))
		return 0;
	body = change(o, *net);
	r = command_ask(c, "PUT", body, &after, "/v1/sandboxes/%s/net", sandbox);
	json_decref(body);
	json_decref(*net);
	*net = after;
	return r;
}

static void show(struct command *c, const struct net_options *o, const char *sandbox)
{
	json_t *net = NULL;

	if (command_ask(c, "GET", NULL, &net, "/v1/sandboxes/%s/net", sandbox) == 0 &&
	    set(c, o, sandbox, &net) == 0) {
		if (c->json)
			command_print_json(c, net);
		else
			print(net);
		command_flush(c);
	}
	json_decref(net);
}

static void show_log(struct command *c, const struct net_options *o, const char *sandbox)
{
	cleanup_free char *path = NULL;
	struct transfer transfer = {.take = command_to_stdout};

	if (asprintf(&path, "/v1/sandboxes/%s/net/log%s", sandbox,
		     o->follow ? "?follow=true" : "") < 0)
		path = NULL;
	transfer.path = path;
	if (command_transfer(c, &transfer, NULL) < 0)
		command_fail(c, &transfer.err);
	transfer_fini(&transfer);
	command_flush(c);
}

int cmd_net(int argc, char **argv)
{
	static const struct option options[] = {{"egress", required_argument, NULL, 'e'},
						{"allow", required_argument, NULL, 'a'},
						{"clear", no_argument, NULL, 'c'},
						{"log", no_argument, NULL, 'l'},
						{"follow", no_argument, NULL, 'f'},
						{0}};
	struct net_options net = {.allow = json_array()};
	struct command c = {.help = help,
			    .options = options,
			    .take = take,
			    .ctx = &net,
			    .least = 1,
			    .most = 1};
	cleanup_free char *sandbox = NULL;

	if (command_begin(&c, argc, argv)) {
		sandbox = client_reference(c.operands[0]);
		if (net.log || net.follow)
			show_log(&c, &net, sandbox);
		else
			show(&c, &net, sandbox);
	}
	json_decref(net.allow);
	command_end(&c);
	return c.status;
}
