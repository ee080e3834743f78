#include "vmctl/netproc.h"

#include "util/cleanup.h"
#include "util/io.h"
#include "vmctl/broker.h"
#include "vmctl/client.h"
#include "vmctl/request.h"
#include "vmctl/spawn.h"
#include "vmctl/vmproc.h"
#include "wire/policy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define AGAIN_MS      1000
#define AGAIN_MOST_MS 8000
#define LIVED_NS      (60 * 1000000000ull) /* so long: it starts, and works */
#define ERRNUM_MAX    4096

static struct netproc *net_of(const struct vmproc *vm)
{
	return &vm->broker->net;
}

static void send(struct netproc *net, json_t *message)
{
	peer_send(&net->peer, message, NULL, 0);
}

void netproc_tell(const struct vmproc *vm)
{
	json_t *event;

	if (!vm->channel.owner)
		return;
	event = json_pack("{s:s, s:I, s:b}", "event", "net", "vm",
			  (json_int_t)vm->facts->id, "connected", vm->facts->connected);
	client_send(vm->channel.owner, event);
	json_decref(event);
}

static void tell_uplink(const struct broker *broker)
{
	json_t *event = json_pack("{s:s, s:s, s:s}", "event", "uplink", "uplink",
				  broker->net.uplink, "uplink_why", broker->net.why);
	struct client *client;

	list_for_each (client, &broker->clients, struct client, link)
		if (event && client->greeted)
			client_send(client, event);
	json_decref(event);
}

/* Its guest's interface is connected to @tap. */
static void connect_vm(struct vmproc *vm, int tap)
{
	json_t *order =
	    json_pack("{s:s, s:I}", "op", "tap", "seq", (json_int_t)++vm->facts->last_seq);
	struct error err;

	vm->facts->connected = vmproc_ask(vm, order, &tap, 1, &err) == 0;
	if (!vm->facts->connected)
		fprintf(stderr, "vmctl: VM %u is not connected: %s\n", vm->channel.id,
			err.text);
	json_decref(order);
	netproc_tell(vm);
}

static void on_slot(struct broker *broker, const json_t *message)
{
	json_int_t id = json_integer_value(json_object_get(message, "vm"));
	struct vmproc *vm;

	if (broker->net.peer.came < 0)
		return;
	list_for_each (vm, &broker->vms, struct vmproc, link)
		if (vm->facts->id == (uint32_t)id && !vm->facts->dead)
			connect_vm(vm, broker->net.peer.came);
}

static void on_policy(struct broker *broker, const json_t *message)
{
	json_int_t id = json_integer_value(json_object_get(message, "vm"));
	const char *sentence = json_string_value(json_object_get(message, "error"));
	json_int_t errnum = number_in(message, "errno");
	struct vmproc *vm = broker_find_any(broker, (uint32_t)id);
	struct request *request =
	    vm ? request_find(vm, (uint64_t)number_in(message, "seq")) : NULL;
	struct error err;

	if (!request || request->kind != REQUEST_POLICY)
		return;
	if (!sentence) {
		request_reply(request, json_object());
		return;
	}
	error_say(&err, errnum > 0 && errnum < ERRNUM_MAX ? (int)errnum : EIO, "%s",
		  sentence);
	request_fail(request, &err);
}

/* The owner of the channel hears of what the guest did. */
static void on_records(struct broker *broker, json_t *message)
{
	json_int_t id = json_integer_value(json_object_get(message, "vm"));
	const struct vmproc *vm = broker_find(broker, (uint32_t)id);

	if (vm && vm->channel.owner && !client_busy(vm->channel.owner))
		client_send(vm->channel.owner, message);
}

static void on_uplink(struct broker *broker, const json_t *message)
{
	struct netproc *net = &broker->net;
	static const struct {
		const char *key;
		size_t at, size;
	} fields[] = {
	    {"uplink", offsetof(struct netproc, uplink), sizeof(net->uplink)},
	    {"uplink_why", offsetof(struct netproc, why), sizeof(net->why)},
	    {"link", offsetof(struct netproc, link), sizeof(net->link)},
	};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		const char *text =
		    json_string_value(json_object_get(message, fields[i].key));

		snprintf((char *)net + fields[i].at, fields[i].size, "%s",
			 text ? text : "");
	}
	tell_uplink(broker);
}

static void on_slots(struct netproc *net, const json_t *message)
{
	net->slots = (int)number_in(message, "slots");
	net->slots_free = (int)number_in(message, "slots_free");
	net->descriptors = (int)number_in(message, "net_descriptors");
}

static void on_message(struct peer *peer, json_t *message)
{
	struct broker *broker = container_of(peer, struct broker, net.peer);
	const char *event = json_string_value(json_object_get(message, "event"));

	if (!event)
		return;
	if (strcmp(event, "slot") == 0)
		on_slot(broker, message);
	else if (strcmp(event, "policy") == 0)
		on_policy(broker, message);
	else if (strcmp(event, "net") == 0)
		on_records(broker, message);
	else if (strcmp(event, "uplink") == 0)
		on_uplink(broker, message);
	else if (strcmp(event, "slots") == 0)
		on_slots(&broker->net, message);
}

static void no_uplink(struct netproc *net, const char *why)
{
	strcpy(net->uplink, "none");
	net->slots = net->slots_free = net->descriptors = 0;
	net->link[0] = '\0';
	snprintf(net->why, sizeof(net->why), "%s", why);
}

/* What is left in the host's namespace is another process's to take away. */
static void clean(struct netproc *net)
{
	const char *argv[] = {"vmctl", "net", "--clean", net->link, NULL};
	struct error ignored;

	if (net->link[0])
		spawn("/proc/self/exe", argv, &(struct spawn_options){0}, &ignored);
	net->link[0] = '\0';
}

/* Whatever way it has yet is of a policy that nobody can change any more. */
static void disconnect_vm(struct vmproc *vm)
{
	json_t *order;
	struct error ignored;

	vm->facts->connected = false;
	netproc_tell(vm);
	if (!vm->facts->policy || !vm->facts->started || vm->facts->dead)
		return;
	order =
	    json_pack("{s:s, s:I}", "op", "tap", "seq", (json_int_t)++vm->facts->last_seq);
	vmproc_ask(vm, order, NULL, 0, &ignored); /* one that is ending needs none */
	json_decref(order);
}

static void start_again(struct broker *broker)
{
	struct netproc *net = &broker->net;

	if (io_monotonic_ns() - net->started_ns > LIVED_NS)
		net->again_ms = AGAIN_MS;
	loop_timer_set(&broker->loop, &net->again, net->again_ms);
	if (net->again_ms < AGAIN_MOST_MS)
		net->again_ms *= 2;
}

static void on_gone(struct peer *peer)
{
	struct broker *broker = container_of(peer, struct broker, net.peer);
	struct netproc *net = &broker->net;
	struct vmproc *vm;

	clean(net);
	no_uplink(net, "the process of the sandboxes' network has ended");
	keeper_net(broker, -1);
	tell_uplink(broker);
	list_for_each (vm, &broker->vms, struct vmproc, link)
		disconnect_vm(vm);
	start_again(broker);
}

static int start(struct broker *broker, struct error *err)
{
	const char *uplink = broker->config.uplink ? broker->config.uplink : "auto";
	const char *argv[] = {"vmctl", "net", "--uplink", uplink, NULL};
	cleanup_close int ours = -1, theirs = -1;
	int pair[2], r = peer_pair(pair, err);
	pid_t pid;

	if (r < 0)
		return r;
	ours = pair[0];
	theirs = pair[1];
	pid = spawn("/proc/self/exe", argv,
		    &(struct spawn_options){.fds = &theirs, .count = 1}, err);
	if (pid < 0)
		return pid;
	broker->net.started_ns = io_monotonic_ns();
	r = peer_open(&broker->net.peer, &broker->loop, steal_fd(&ours), on_message,
		      on_gone, err);
	if (r == 0)
		keeper_net(broker, broker->net.peer.fd);
	return r;
}

/* The number of the newest policy that the former process was told of and did not answer,
 * or 0. */
static uint64_t unanswered(const struct vmproc *vm)
{
	const struct request *request;
	uint64_t seq = 0;

	list_for_each (request, &vm->requests, struct request, vm_link)
		if (request->kind == REQUEST_POLICY && request->vm_seq > seq)
			seq = request->vm_seq;
	return seq;
}

/* Tell a new process what is known. */
static void tell_all(struct broker *broker)
{
	struct netproc *net = &broker->net;
	struct vmproc *vm;

	if (net->network)
		send(net, json_incref(net->network));
	list_for_each (vm, &broker->vms, struct vmproc, link) {
		vm->facts->policy = vm->policy != NULL;
		if (vm->policy && !vm->facts->dead)
			send(net, json_pack("{s:s, s:I, s:O, s:I}", "op", "policy", "vm",
					    (json_int_t)vm->facts->id, "policy", vm->policy,
					    "seq", (json_int_t)unanswered(vm)));
		netproc_look(vm);
	}
}

static int need(struct broker *broker, struct error *err)
{
	int r;

	if (broker->net.peer.fd >= 0)
		return 0;
	r = start(broker, err);
	if (r == 0)
		tell_all(broker);
	return r;
}

static void on_again(struct loop_timer *timer)
{
	struct broker *broker = container_of(timer, struct broker, net.again);
	struct error err;

	if (broker->stopping || need(broker, &err) == 0)
		return;
	no_uplink(&broker->net, err.text);
	loop_timer_set(&broker->loop, timer, AGAIN_MS);
}

void netproc_init(struct broker *broker)
{
	struct netproc *net = &broker->net;

	*net = (struct netproc){.peer = {.fd = -1, .source = LOOP_SOURCE_NONE},
				.again_ms = AGAIN_MS};
	loop_timer_init(&net->again, on_again);
	no_uplink(net, "no sandbox has needed one yet");
}

void netproc_adopt(struct broker *broker, int fd)
{
	struct error err;

	if (fd >= 0 &&
	    peer_open(&broker->net.peer, &broker->loop, fd, on_message, on_gone, &err) < 0)
		fprintf(stderr, "vmctl: %s\n", err.text);
}

void netproc_go_on(struct broker *broker)
{
	struct vmproc *vm;

	if (broker->net.peer.fd >= 0)
		send(&broker->net, json_pack("{s:s}", "op", "uplink"));
	list_for_each (vm, &broker->vms, struct vmproc, link) {
		vm->facts->connected = false;
		netproc_look(vm);
	}
}

void netproc_close(struct broker *broker)
{
	struct netproc *net = &broker->net;

	loop_timer_cancel(&net->again);
	peer_close(&net->peer);
	clean(net);
	json_decref(net->network);
}

int netproc_network(struct broker *broker, const json_t *fields, struct error *err)
{
	json_t *network = json_deep_copy(fields);

	if (!network)
		return error_set(err, ENOMEM, "cannot keep what is the host's");
	json_object_del(network, "seq");
	json_decref(broker->net.network);
	broker->net.network = network;
	if (broker->net.peer.fd < 0)
		return need(broker, err);
	send(&broker->net, json_incref(network));
	return 0;
}

int netproc_policy(struct vmproc *vm, json_t *policy, struct request *request,
		   struct error *err)
{
	struct policy *parsed = policy_from_json(policy, err);
	int r;

	if (!parsed)
		return err->code;
	policy_unref(parsed);
	/* First of all: a process that starts later is not to hear of an older one. */
	json_decref(vm->policy);
	vm->policy = json_incref(policy);
	vm->facts->policy = true;
	r = need(vm->broker, err);
	if (r < 0)
		return r;
	request->vm_seq = ++vm->facts->last_seq;
	request_wait(request);
	send(net_of(vm), json_pack("{s:s, s:I, s:O, s:I}", "op", "policy", "vm",
				   (json_int_t)vm->facts->id, "policy", policy, "seq",
				   (json_int_t)request->vm_seq));
	netproc_look(vm); /* it is asked after that has been heard */
	return 0;
}

void netproc_inherit(struct vmproc *vm, const struct vmproc *parent)
{
	if (!parent->facts->policy)
		return;
	vm->facts->policy = true;
	vm->policy = json_incref(parent->policy);
	send(net_of(vm),
	     json_pack("{s:s, s:I, s:I, s:b}", "op", "inherit", "vm",
		       (json_int_t)vm->facts->id, "parent", (json_int_t)parent->facts->id,
		       "parked", vm->facts->parked));
}

void netproc_look(struct vmproc *vm)
{
	const struct vm_facts *facts = vm->facts;

	if (facts->policy && facts->started && !facts->dead && !facts->destroying &&
	    !facts->parked && !facts->connected)
		send(net_of(vm),
		     json_pack("{s:s, s:I}", "op", "take", "vm", (json_int_t)facts->id));
}

void netproc_gone(struct vmproc *vm)
{
	if (!vm->facts->policy)
		return;
	vm->facts->policy = vm->facts->connected = false;
	send(net_of(vm),
	     json_pack("{s:s, s:I}", "op", "gone", "vm", (json_int_t)vm->facts->id));
}
