#include "vmctl/freeze.h"

#include "util/cleanup.h"
#include "vmctl/broker.h"
#include "vmctl/client.h"
#include "vmctl/fork.h"
#include "vmctl/images.h"
#include "vmctl/request.h"
#include "vmctl/vmproc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct freeze {
	struct request *request;
	char image[65];
	json_int_t bytes;
	bool created; /* the file of the store is ours to finish */
	bool asked;   /* the VM's process has been */
	bool done;
};

static struct store *store_of(const struct freeze *freeze)
{
	return &freeze->request->vm->broker->store;
}

static int check_image(const char *image, struct error *err)
{
	return images_is_name(image)
		   ? 0
		   : error_say(err, EINVAL,
			       "image has to be 1 to 64 of A-Z a-z 0-9 . _ -, not "
			       "beginning with a dot");
}

static struct freeze *find_freeze(struct vmproc *vm)
{
	struct request *request;

	list_for_each (request, &vm->requests, struct request, vm_link)
		if (request->kind == REQUEST_FREEZE)
			return request->freeze;
	return NULL;
}

/* Return: NULL with @err filled. */
static struct freeze *freeze_new(struct client *client, json_t *seq, struct vmproc *vm,
				 enum request_kind kind, const char *image,
				 struct error *err)
{
	struct freeze *freeze = calloc(1, sizeof(*freeze));

	if (freeze)
		freeze->request = request_new(client, seq, vm, kind);
	if (!freeze || !freeze->request) {
		free(freeze);
		error_set(err, ENOMEM, "cannot freeze a VM");
		return NULL;
	}
	snprintf(freeze->image, sizeof(freeze->image), "%s", image);
	freeze->request->freeze = freeze;
	return freeze;
}

/* Ask the process to write a file. @other: one to compare with, or -1. */
static int ask(struct freeze *freeze, json_t *question, int other, struct error *err)
{
	struct vmproc *vm = freeze->request->vm;
	cleanup_close int pages = vmproc_open_proc(vm, "pagemap", err);
	cleanup_close int fd =
	    pages < 0 ? pages : store_create(store_of(freeze), freeze->image, err);
	struct vm_facts *facts = vm->facts;
	int fds[3] = {fd, pages, other};

	if (fd < 0) {
		json_decref(question);
		return fd;
	}
	freeze->created = true;
	freeze->asked = true;
	/* A later vmctl removes what is noted: not a file of that name that was there. */
	if (freeze->request->kind == REQUEST_FREEZE)
		snprintf(facts->freezing, sizeof(facts->freezing), "%s", freeze->image);
	return request_ask(freeze->request, question, fds, other < 0 ? 2 : 3, err);
}

/* What the VM is compared with: @given, unless it is known better. */
static const char *choose_base(const struct vmproc *vm, const char *given)
{
	const char *base = vm->facts->base[0] ? vm->facts->base : given;

	return base && images_is_name(base) && store_has(&vm->broker->store, base) ? base
										   : "";
}

static int order(struct freeze *freeze, const char *given, struct error *err)
{
	struct vmproc *vm = freeze->request->vm;
	const char *base = choose_base(vm, given);
	cleanup_close int other = -1;
	json_t *question;

	if (base[0]) {
		other = store_read(&vm->broker->store, base, err);
		if (other < 0)
			return other;
	}
	question = json_pack("{s:s, s:I, s:s, s:s, s:s}", "op", "freeze", "agent_in",
			     (json_int_t)channel_hold(&vm->channel), "template",
			     vm->facts->template, "group", vm->facts->group, "base", base);
	return ask(freeze, question, other, err);
}

int freeze_begin(struct client *client, json_t *seq, struct vmproc *vm, const char *image,
		 const char *base, struct error *err)
{
	struct freeze *freeze;
	int r = store_check(&vm->broker->store, err);

	if (r == 0)
		r = check_image(image, err);
	if (r == 0)
		r = fork_check_parent(client, vm, err);
	if (r < 0)
		return r;
	freeze = freeze_new(client, seq, vm, REQUEST_FREEZE, image, err);
	if (!freeze)
		return err->code;
	r = order(freeze, base, err);
	if (r < 0)
		request_free(freeze->request);
	return r;
}

int freeze_save(struct client *client, json_t *seq, struct vmproc *vm, const char *image,
		struct error *err)
{
	struct freeze *freeze;
	int r = store_check(&vm->broker->store, err);

	if (r == 0)
		r = check_image(image, err);
	if (r < 0)
		return r;
	if (vm->facts->dead)
		return error_say(err, EIO, "VM %u is dead: %s", vm->channel.id,
				 vm->facts->reason);
	if (store_has(&vm->broker->store, image)) {
		reply(client, seq, json_object());
		return 0;
	}
	freeze = freeze_new(client, seq, vm, REQUEST_SAVE, image, err);
	if (!freeze)
		return err->code;
	r = ask(freeze,
		json_pack("{s:s, s:s}", "op", "save", "template", vm->facts->template), -1,
		err);
	if (r < 0)
		request_free(freeze->request);
	return r;
}

/* All that there was of the VM has gone to the client, or is in the file. */
static void finish(struct freeze *freeze)
{
	struct request *request = freeze->request;
	struct vmproc *vm = request->vm;
	bool ends = request->kind == REQUEST_FREEZE;
	struct error err;

	freeze->created = false;
	if (store_commit(store_of(freeze), freeze->image, &err) < 0) {
		request_fail(request, &err);
		return;
	}
	freeze->done = true;
	request_reply(request, json_pack("{s:I}", "bytes", freeze->bytes));
	if (ends)
		vmproc_frozen(vm);
}

static void on_cut(struct channel *channel)
{
	struct freeze *freeze = find_freeze(container_of(channel, struct vmproc, channel));

	if (freeze)
		finish(freeze);
}

int freeze_answer(struct request *request, json_t *message)
{
	struct channel *channel = &request->vm->channel;
	json_t *out = json_object_get(message, "agent_out");
	struct error err;

	request->freeze->bytes = number_in(message, "bytes");
	if (request->kind == REQUEST_SAVE) {
		finish(request->freeze);
		return 0;
	}
	if (json_is_integer(out) && json_integer_value(out) >= 0 &&
	    channel_cut(channel, (uint64_t)json_integer_value(out), on_cut) == 0)
		return 0;
	error_say(&err, EPROTO, "VM %u has lost count of its output", channel->id);
	request_fail(request, &err);
	return -EPROTO;
}

/* The process may still wait for its guest, or stand still because it is in the file. */
static void cancel(struct vmproc *vm)
{
	json_t *resume = json_pack("{s:s, s:I}", "op", "resume", "seq",
				   (json_int_t)++vm->facts->last_seq);

	fork_cancel(vm);
	if (resume)
		vmproc_ask(vm, resume, NULL, 0, NULL);
	json_decref(resume);
}

void freeze_undo(struct vmproc *vm)
{
	const struct store *store = &vm->broker->store;
	struct error ignored;

	if (store_has(store, vm->facts->freezing))
		store_remove(store, vm->facts->freezing, &ignored);
	cancel(vm);
	vm->facts->freezing[0] = '\0';
}

static void end_thaw(struct request *request)
{
	struct vmproc *vm = request->vm;

	if (vm->thawing != request)
		return;
	vm->thawing = NULL;
	vmproc_destroy(vm);
}

void freeze_end(struct request *request)
{
	struct freeze *freeze = request->freeze;

	if (request->kind == REQUEST_THAW)
		end_thaw(request);
	if (!freeze)
		return;
	if (freeze->created)
		store_abort(store_of(freeze), freeze->image);
	if (request->kind == REQUEST_FREEZE) {
		if (!freeze->done) {
			if (freeze->asked)
				cancel(request->vm);
			request->vm->facts->freezing[0] = '\0';
		}
		channel_release(&request->vm->channel);
	}
	free(freeze);
}

/* Return: what the snapshot @image is of, or NULL with @err filled. */
static json_t *describe(const struct broker *broker, const char *image, struct error *err)
{
	if (store_check(&broker->store, err) < 0 || check_image(image, err) < 0)
		return NULL;
	return store_describe(&broker->store, image, err);
}

static int start(struct client *client, json_t *seq, const json_t *config,
		 struct vmproc_spec *spec, struct error *err)
{
	struct broker *broker = client->broker;
	cleanup_free char *image = NULL, *file = NULL, *other = NULL;
	json_int_t memory = json_integer_value(json_object_get(config, "memory"));
	const char *name = json_string_value(json_object_get(config, "image"));
	struct request *request;
	struct vmproc *vm;
	int r;

	spec->template = json_string_value(json_object_get(config, "template"));
	spec->other_name = json_string_value(json_object_get(config, "base"));
	spec->memory_mib = (int)(memory >> 20);
	spec->vcpus = (int)json_integer_value(json_object_get(config, "vcpus"));
	if (!spec->template || !spec->other_name)
		return error_say(err, EBADMSG, "the frozen machine's description is wrong");
	image = images_template(broker->config.images, spec->template, err);
	if (!image)
		return err->code;
	spec->base = image;
	spec->file = file = store_path(&broker->store, name);
	if (spec->other_name[0])
		spec->other = other = store_path(&broker->store, spec->other_name);
	if (!file || (spec->other_name[0] && !other))
		return error_set(err, ENOMEM, "cannot resume a VM");
	r = vmproc_start(broker, spec, &vm, err);
	if (r < 0)
		return r;
	request = request_new(client, seq, vm, REQUEST_THAW);
	if (!request) {
		vmproc_destroy(vm);
		return error_set(err, ENOMEM, "cannot resume a VM");
	}
	vm->thawing = request;
	request_wait(request);
	return 0;
}

int freeze_thaw(struct client *client, json_t *seq, const char *image, const char *name,
		const char *group, struct error *err)
{
	struct vmproc_spec spec = {.name = name, .group = group};
	json_t *config = describe(client->broker, image, err);
	int r = config ? start(client, seq, config, &spec, err) : err->code;

	json_decref(config);
	return r;
}

void freeze_started(struct vmproc *vm)
{
	struct request *request = vm->thawing;
	struct error err;

	vm->thawing = NULL;
	vm->facts->seen = true;
	if (channel_attach(&vm->channel, request->client, CHANNEL_NOW, &err) < 0) {
		request_fail(request, &err);
		return;
	}
	request_reply(request, json_pack("{s:I, s:i}", "vm", (json_int_t)vm->channel.id,
					 "pid", (int)vm->facts->pid));
}

void freeze_dead(struct vmproc *vm)
{
	struct request *request = vm->thawing;
	struct error err;

	vm->thawing = NULL;
	error_say(&err, vm->facts->errnum ? fork_errno(vm->facts->errnum) : EIO, "%s",
		  vm->facts->reason);
	request_fail(request, &err);
}

/* What is being written may name any; the next look tells. */
static bool is_being_frozen(const struct vmproc *vm)
{
	const struct request *request;

	list_for_each (request, &vm->requests, struct request, vm_link)
		if (request->kind == REQUEST_FREEZE || request->kind == REQUEST_SAVE)
			return true;
	return false;
}

static bool is_in_use(const struct broker *broker, const char *base)
{
	const struct vmproc *vm;

	list_for_each (vm, &broker->vms, struct vmproc, link)
		if (strcmp(vm->facts->base, base) == 0 || is_being_frozen(vm))
			return true;
	return store_needs(&broker->store, base);
}

void freeze_tidy(struct broker *broker, const char *base)
{
	struct error ignored;

	if (base && base[0] && store_has(&broker->store, base) && !is_in_use(broker, base))
		store_remove(&broker->store, base, &ignored);
}

void freeze_tidy_all(struct broker *broker)
{
	json_t *bases = store_bases(&broker->store), *each;
	size_t i;

	json_array_foreach(bases, i, each)
	{
		freeze_tidy(broker, json_string_value(each));
	}
	json_decref(bases);
}

/* One that cannot be read has no base that anybody could name. */
int freeze_drop(struct broker *broker, const char *image, struct error *err)
{
	struct error ignored;
	json_t *config;
	int r = store_check(&broker->store, err);

	if (r == 0)
		r = check_image(image, err);
	if (r < 0)
		return r;
	config = store_describe(&broker->store, image, &ignored);
	r = store_remove(&broker->store, image, err);
	if (r == 0)
		freeze_tidy(broker, json_string_value(json_object_get(config, "base")));
	json_decref(config);
	return r;
}
