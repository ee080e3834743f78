#include "vmctl/ops.h"

#include "util/cleanup.h"
#include "vmctl/broker.h"
#include "vmctl/client.h"
#include "vmctl/describe.h"
#include "vmctl/fork.h"
#include "vmctl/freeze.h"
#include "vmctl/host_links.h"
#include "vmctl/images.h"
#include "vmctl/request.h"
#include "vmctl/vcpu.h"
#include "vmctl/vmproc.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>

#define MEMORY_MIB_MIN 128
#define MEMORY_MIB_MAX (1 << 20)
#define DISK_MIB       4096 /* when the client does not say */
#define DISK_MIB_MIN   64
#define DISK_MIB_MAX   (64 << 10)
#define LIST_MAX       256  /* VMs in one reply to `list` */
#define IMAGES_MAX     4096 /* names of a group's in one reply to `images` */

/* A request on its way to its reply. */
struct call {
	struct client *client;
	struct broker *broker;
	const json_t *fields;
	json_t *seq; /* NULL when the request has none */
	struct error err;
};

static int get_number(struct call *call, const char *key, json_int_t min, json_int_t max,
		      json_int_t *value)
{
	const json_t *field = json_object_get(call->fields, key);

	*value = json_integer_value(field);
	if (json_is_integer(field) && *value >= min && *value <= max)
		return 0;
	return error_say(&call->err, EINVAL, "%s has to be a number from %lld to %lld", key,
			 (long long)min, (long long)max);
}

static const char *get_string(struct call *call, const char *key)
{
	const char *value = json_string_value(json_object_get(call->fields, key));

	if (!value)
		error_say(&call->err, EINVAL, "%s has to be a string", key);
	return value;
}

static struct vmproc *get_vm(struct call *call)
{
	struct vmproc *vm;
	json_int_t id;

	if (get_number(call, "vm", 1, UINT32_MAX, &id) < 0)
		return NULL;
	vm = broker_find(call->broker, (uint32_t)id);
	if (!vm)
		error_say(&call->err, ENOENT, "there is no VM %lld", (long long)id);
	return vm;
}

static int check_name(struct call *call, const char *name)
{
	size_t len = strlen(name);

	for (const char *p = name; *p; p++)
		if (!isgraph((unsigned char)*p))
			len = 0;
	if (len >= 1 && len <= VMPROC_NAME_MAX)
		return 0;
	return error_say(&call->err, EINVAL, "name has to be 1 to %d visible characters",
			 VMPROC_NAME_MAX);
}

/* Whose VM it is, in the client's words; "" when the client does not say. */
static const char *get_group(const struct call *call)
{
	const char *group = json_string_value(json_object_get(call->fields, "group"));

	return group ? group : "";
}

static int check_group(struct call *call)
{
	const char *group = get_group(call);

	return group[0] ? check_name(call, group) : 0;
}

/* The fields of `create` that are values; the paths are start_vm()'s. */
static int get_spec(struct call *call, struct vmproc_spec *spec)
{
	json_int_t memory, vcpus, disk = DISK_MIB;

	spec->template = get_string(call, "template");
	if (!spec->template)
		return call->err.code;
	spec->name = get_string(call, "name");
	if (!spec->name || check_name(call, spec->name) < 0 ||
	    get_number(call, "memory_mib", MEMORY_MIB_MIN, MEMORY_MIB_MAX, &memory) < 0 ||
	    get_number(call, "vcpus", 1, VCPUS_MAX, &vcpus) < 0 ||
	    (json_object_get(call->fields, "disk_mib") &&
	     get_number(call, "disk_mib", DISK_MIB_MIN, DISK_MIB_MAX, &disk) < 0) ||
	    check_group(call) < 0)
		return call->err.code;
	spec->group = get_group(call);
	spec->memory_mib = (int)memory;
	spec->vcpus = (int)vcpus;
	spec->disk_mib = (int)disk;
	return 0;
}

/* Return: the VM, or NULL with call->err. */
static struct vmproc *start_vm(struct call *call, struct vmproc_spec *spec)
{
	const char *images = call->broker->config.images, *remedy = "guest/images/build";
	cleanup_free char *base = images_template(images, spec->template, &call->err);
	cleanup_free char *kernel = images_path(images, "kernel", NULL);
	cleanup_free char *initramfs = images_path(images, "initramfs", NULL);
	cleanup_free char *upper = images_path(images, "upper.ext4", NULL);
	struct vmproc *vm = NULL;

	if (!base)
		return NULL;
	if (!kernel || !initramfs || !upper) {
		error_set(&call->err, ENOMEM, "cannot make a VM");
		return NULL;
	}
	if (images_need(kernel, "kernel", remedy, &call->err) < 0 ||
	    images_need(initramfs, "initramfs", remedy, &call->err) < 0 ||
	    images_need(upper, "upper disk", remedy, &call->err) < 0)
		return NULL;
	spec->base = base;
	spec->kernel = kernel;
	spec->initramfs = initramfs;
	spec->upper = upper;
	vmproc_start(call->broker, spec, &vm, &call->err);
	return vm;
}

static int op_create(struct call *call)
{
	struct vmproc_spec spec = {0};
	struct vmproc *vm;

	if (get_spec(call, &spec) < 0)
		return call->err.code;
	vm = start_vm(call, &spec);
	if (!vm || channel_attach(&vm->channel, call->client, CHANNEL_NOW, &call->err) < 0)
		return call->err.code;
	reply(call->client, call->seq,
	      json_pack("{s:I, s:i}", "vm", (json_int_t)vm->channel.id, "pid",
			(int)vm->facts->pid));
	return 0;
}

/* A VM that is being destroyed may be waited for by several clients. */
static int op_destroy(struct call *call)
{
	struct request *request;
	struct vmproc *vm;
	json_int_t id;

	if (get_number(call, "vm", 1, UINT32_MAX, &id) < 0)
		return call->err.code;
	vm = broker_find_any(call->broker, (uint32_t)id);
	if (!vm)
		return error_say(&call->err, ENOENT, "there is no VM %lld", (long long)id);
	request = request_new(call->client, call->seq, vm, REQUEST_DESTROY);
	vmproc_destroy(vm);
	if (!request)
		return error_set(&call->err, ENOMEM,
				 "a VM ends, and nobody can be told when");
	return 0;
}

static int op_attach(struct call *call)
{
	struct vmproc *vm = get_vm(call);
	struct client *former = vm ? vm->channel.owner : NULL;
	json_int_t from = -1;

	if (vm && json_object_get(call->fields, "from") &&
	    get_number(call, "from", 0, INT64_MAX, &from) < 0)
		return call->err.code;
	if (!vm || channel_attach(&vm->channel, call->client,
				  from < 0 ? CHANNEL_NOW : (uint64_t)from, &call->err) < 0)
		return call->err.code;
	if (former != call->client)
		fork_interrupt(vm);
	reply(call->client, call->seq, describe_attached(vm));
	channel_repeat(&vm->channel);
	if (former && former != call->client) {
		json_t *event = json_pack("{s:s, s:I}", "event", "detached", "vm",
					  (json_int_t)vm->channel.id);

		client_send(former, event);
		json_decref(event);
	}
	channel_settle(&vm->channel);
	return 0;
}

static int op_list(struct call *call)
{
	json_int_t after = json_integer_value(json_object_get(call->fields, "after"));
	json_t *vms = json_array();
	struct vmproc *vm;
	bool more = false;

	list_for_each (vm, &call->broker->vms, struct vmproc, link) {
		if ((json_int_t)vm->channel.id <= after || !vm->facts->seen)
			continue;
		more = json_array_size(vms) == LIST_MAX;
		if (more)
			break;
		json_array_append_new(vms, describe_vm(vm));
	}
	reply(call->client, call->seq, json_pack("{s:o, s:b}", "vms", vms, "more", more));
	return 0;
}

static void answer_of_dead(struct request *request)
{
	const struct vmproc *vm = request->vm;
	struct error err;

	if (request->kind == REQUEST_STAT) {
		request_reply(request, describe_use(vm, NULL));
	} else if (request->kind == REQUEST_LOG) {
		request_reply(request, describe_log(vm->log));
	} else {
		error_say(&err, EIO, "VM %u is dead: %s", vm->channel.id,
			  vm->facts->reason);
		request_fail(request, &err);
	}
}

/*
 * Put a question to the VM process, or answer for it when it is dead.
 * @fd: goes along unless it is negative; stays the caller's.
 */
static int ask_with(struct call *call, enum request_kind kind, const char *op, int fd)
{
	struct vmproc *vm = get_vm(call);
	struct request *request;
	int r = 0;

	if (!vm)
		return call->err.code;
	request = request_new(call->client, call->seq, vm, kind);
	if (!request)
		return error_set(&call->err, ENOMEM, "cannot ask a VM");
	if (vm->facts->dead)
		answer_of_dead(request);
	else
		r = request_ask(request, json_pack("{s:s}", "op", op), &fd, fd < 0 ? 0 : 1,
				&call->err);
	if (r < 0)
		request_free(request);
	return r;
}

static int ask(struct call *call, enum request_kind kind, const char *op)
{
	return ask_with(call, kind, op, -1);
}

static int op_park(struct call *call)
{
	struct vmproc *vm = get_vm(call);

	if (vm)
		vm->facts->parked = true;
	return ask(call, REQUEST_PLAIN, "park");
}

static int op_resume(struct call *call)
{
	struct vmproc *vm = get_vm(call);
	int r = ask(call, REQUEST_PLAIN, "resume");

	if (r == 0 && !vm->facts->dead) {
		vm->facts->parked = false;
		netproc_look(vm);
	}
	return r;
}

static int op_network(struct call *call)
{
	if (netproc_network(call->broker, call->fields, &call->err) < 0)
		return call->err.code;
	reply(call->client, call->seq, json_object());
	return 0;
}

static int op_policy(struct call *call)
{
	struct vmproc *vm = get_vm(call);
	json_t *policy = json_object_get(call->fields, "policy");
	struct request *request;
	int r;

	if (!vm)
		return call->err.code;
	if (vm->facts->dead)
		return error_say(&call->err, ESRCH, "VM %u is dead", vm->channel.id);
	if (!json_is_object(policy))
		return error_say(&call->err, EINVAL, "policy has to be an object");
	request = request_new(call->client, call->seq, vm, REQUEST_POLICY);
	if (!request)
		return error_set(&call->err, ENOMEM, "cannot set a policy");
	r = netproc_policy(vm, policy, request, &call->err);
	if (r < 0)
		request_free(request);
	return r;
}

/* Return: what @call has as names, or NULL with call->err. */
static json_t *get_names(struct call *call)
{
	json_t *names = json_object_get(call->fields, "names"), *name;
	size_t i, count = json_array_size(names);

	if (count < 1 || count > FORK_NAMES_MAX) {
		error_say(&call->err, EINVAL, "names has to be an array of 1 to %d strings",
			  FORK_NAMES_MAX);
		return NULL;
	}
	json_array_foreach(names, i, name)
	{
		if (!json_is_string(name)) {
			error_say(&call->err, EINVAL, "names has to be of strings");
			return NULL;
		}
		if (check_name(call, json_string_value(name)) < 0)
			return NULL;
	}
	return names;
}

static int op_fork(struct call *call)
{
	struct vmproc *vm = get_vm(call);
	json_t *names = vm ? get_names(call) : NULL;
	const char *twin = NULL;

	if (names && json_object_get(call->fields, "twin")) {
		twin = get_string(call, "twin");
		if (!twin || check_name(call, twin) < 0)
			return call->err.code;
	}
	if (!names)
		return call->err.code;
	return fork_begin(call->client, call->seq, vm, names, twin, &call->err);
}

static int op_freeze(struct call *call)
{
	struct vmproc *vm = get_vm(call);
	const char *image = vm ? get_string(call, "image") : NULL;

	if (!image)
		return call->err.code;
	return freeze_begin(call->client, call->seq, vm, image,
			    json_string_value(json_object_get(call->fields, "base")),
			    &call->err);
}

static int op_save(struct call *call)
{
	struct vmproc *vm = get_vm(call);
	const char *image = vm ? get_string(call, "image") : NULL;

	if (!image)
		return call->err.code;
	return freeze_save(call->client, call->seq, vm, image, &call->err);
}

static int op_thaw(struct call *call)
{
	const char *image = get_string(call, "image");
	const char *name = image ? get_string(call, "name") : NULL;

	if (!name || check_name(call, name) < 0 || check_group(call) < 0)
		return call->err.code;
	return freeze_thaw(call->client, call->seq, image, name, get_group(call),
			   &call->err);
}

static int op_drop(struct call *call)
{
	const char *image = get_string(call, "image");

	if (!image || freeze_drop(call->broker, image, &call->err) < 0)
		return call->err.code;
	reply(call->client, call->seq, json_object());
	return 0;
}

static int op_images(struct call *call)
{
	const struct store *store = &call->broker->store;
	json_t *names;

	if (store_check(store, &call->err) < 0 || check_group(call) < 0)
		return call->err.code;
	names = get_group(call)[0] ? store_list_group(store, get_group(call), IMAGES_MAX)
				   : store_list(store);
	reply(call->client, call->seq,
	      json_pack("{s:o, s:s}", "images", names, "group", get_group(call)));
	return 0;
}

/* What its memory is the process is shown; one that has just ended takes none. */
static int stat_vm(struct call *call)
{
	const struct vmproc *vm = get_vm(call);
	struct error ignored;
	cleanup_close int rollup = vm ? vmproc_open_proc(vm, "smaps_rollup", &ignored) : -1;

	return ask_with(call, REQUEST_STAT, "stat", rollup);
}

static int op_stat(struct call *call)
{
	if (json_object_get(call->fields, "vm"))
		return stat_vm(call);
	reply(call->client, call->seq, describe_broker(call->broker));
	return 0;
}

static int op_log(struct call *call)
{
	return ask(call, REQUEST_LOG, "log");
}

static int op_kill(struct call *call)
{
	struct vmproc *vm = get_vm(call);
	json_int_t signal;
	int r;

	if (!vm || get_number(call, "signal", 1, NSIG - 1, &signal) < 0)
		return call->err.code;
	if (vm->facts->dead)
		return error_say(&call->err, ESRCH, "VM %u is dead", vm->channel.id);
	r = vmproc_signal(vm, (int)signal);
	if (r < 0)
		return error_set(&call->err, -r, "cannot signal VM %u", vm->channel.id);
	reply(call->client, call->seq, json_object());
	return 0;
}

static int op_limit(struct call *call)
{
	struct vmproc *vm = get_vm(call);
	json_int_t percent;

	if (!vm ||
	    get_number(call, "cpu_percent", 0, (json_int_t)100 * VCPUS_MAX, &percent) < 0)
		return call->err.code;
	if (vm->facts->dead)
		return error_say(&call->err, ESRCH, "VM %u is dead", vm->channel.id);
	if (vmproc_limit(vm, (int)percent, &call->err) < 0)
		return call->err.code;
	reply(call->client, call->seq, json_object());
	return 0;
}

static const struct {
	const char *name;
	int (*fn)(struct call *call);
} ops[] = {
    {"create", op_create}, {"destroy", op_destroy}, {"attach", op_attach},
    {"list", op_list},	   {"stat", op_stat},	    {"log", op_log},
    {"kill", op_kill},	   {"fork", op_fork},	    {"park", op_park},
    {"resume", op_resume}, {"freeze", op_freeze},   {"save", op_save},
    {"thaw", op_thaw},	   {"drop", op_drop},	    {"images", op_images},
    {"limit", op_limit},   {"network", op_network}, {"policy", op_policy},
};

static int dispatch(struct call *call)
{
	const char *name = get_string(call, "op");

	if (!name)
		return call->err.code;
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		if (strcmp(ops[i].name, name) == 0)
			return ops[i].fn(call);
	return error_say(&call->err, EINVAL, "there is no operation %.40s", name);
}

int ops_request(struct client *client, const uint8_t *payload, size_t len)
{
	json_error_t why;
	json_t *fields =
	    json_loadb((const char *)payload, len, JSON_REJECT_DUPLICATES, &why);
	json_t *seq = json_object_get(fields, "seq");
	struct call call = {
	    .client = client,
	    .broker = client->broker,
	    .fields = fields,
	    .seq = json_is_integer(seq) ? seq : NULL,
	};
	int r;

	if (!fields)
		r = error_say(&call.err, EINVAL, "a request is no JSON: %s", why.text);
	else if (!json_is_object(fields))
		r = error_say(&call.err, EINVAL, "a request has to be a JSON object");
	else if (!call.seq)
		r = error_say(&call.err, EINVAL, "seq has to be a number");
	else
		r = dispatch(&call);
	if (r < 0)
		reply_error(client, call.seq, &call.err);
	json_decref(fields);
	return 0;
}

int ops_disks(struct client *client, const uint8_t *payload, size_t len)
{
	json_t *disks =
	    json_loadb((const char *)payload, len, JSON_REJECT_DUPLICATES, NULL);
	struct links *links = client->broker->config.links;
	int r = json_is_object(disks) ? 0 : -EPROTO;

	if (r == 0 && links)
		links_take(links, disks);
	json_decref(disks);
	return r;
}

void ops_forget(struct client *client)
{
	struct request *request;

	list_for_each (request, &client->requests, struct request, client_link)
		request_free(request);
}

/* A VM process says that it could not do what it was asked for. */
static void answer_error(struct request *request, const json_t *message,
			 const char *sentence)
{
	json_int_t errnum = json_integer_value(json_object_get(message, "errno"));
	struct error err;

	error_say(&err, errnum > 0 && errnum < 4096 ? (int)errnum : EIO, "%s", sentence);
	if (request->kind == REQUEST_FORK)
		err.code = -fork_errno(-err.code);
	request_fail(request, &err);
}

int ops_answer(struct vmproc *vm, json_t *message)
{
	json_int_t seq = json_integer_value(json_object_get(message, "seq"));
	const char *sentence = json_string_value(json_object_get(message, "error"));
	struct request *request;

	if (seq <= 0 || (uint64_t)seq > vm->facts->last_seq)
		return -EPROTO;
	request = request_find(vm, (uint64_t)seq);
	if (!request)
		return vm->count_seq == (uint64_t)seq
			   ? channel_sent(&vm->channel,
					  (uint64_t)number_in(message, "agent_in"))
			   : 0;
	if (sentence)
		answer_error(request, message, sentence);
	else if (request->kind == REQUEST_FORK)
		return fork_answer(request, message);
	else if (request->kind == REQUEST_FREEZE || request->kind == REQUEST_SAVE)
		return freeze_answer(request, message);
	else if (request->kind == REQUEST_STAT)
		request_reply(request, describe_use(vm, message));
	else if (request->kind == REQUEST_LOG)
		request_reply(request, describe_log(json_string_value(
					   json_object_get(message, "log"))));
	else
		request_reply(request, json_object());
	return 0;
}

static void send_dead(struct client *client, const struct vmproc *vm)
{
	json_t *event = json_pack("{s:s, s:I, s:s}", "event", "dead", "vm",
				  (json_int_t)vm->channel.id, "reason", vm->facts->reason);

	if (!event || client_send(client, event) < 0)
		client_break(client);
	json_decref(event);
}

/* Whoever waits for the VM to be destroyed learns of its end by that reply. */
static bool wants_destroyed(const struct client *client, const struct vmproc *vm)
{
	struct request *request;

	list_for_each (request, &vm->requests, struct request, vm_link)
		if (request->kind == REQUEST_DESTROY && request->client == client)
			return true;
	return false;
}

void ops_vm_dead(struct vmproc *vm)
{
	struct request *request;
	struct client *client;

	list_for_each (request, &vm->requests, struct request, vm_link)
		if (request->kind != REQUEST_DESTROY)
			answer_of_dead(request);
	list_for_each (client, &vm->broker->clients, struct client, link)
		if (client->greeted && client != vm->channel.owner &&
		    !wants_destroyed(client, vm))
			send_dead(client, vm);
}

void ops_channel_drained(struct channel *channel)
{
	send_dead(channel->owner, container_of(channel, struct vmproc, channel));
}

void ops_vm_gone(struct vmproc *vm)
{
	struct request *request;

	list_for_each (request, &vm->requests, struct request, vm_link)
		request_reply(request, json_object());
}
