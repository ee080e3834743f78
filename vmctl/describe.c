#include "vmctl/describe.h"

#include "config.h"
#include "util/io.h"
#include "vmctl/broker.h"
#include "vmctl/images.h"
#include "vmctl/procfs.h"
#include "vmctl/request.h"
#include "vmctl/vmproc.h"
#include "wire/link.h"

#include <string.h>

json_t *describe_vm(const struct vmproc *vm)
{
	return json_pack("{s:I, s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:s, s:b}", "vm",
			 (json_int_t)vm->channel.id, "name", vm->facts->name, "group",
			 vm->facts->group, "template", vm->facts->template, "state",
			 vm->facts->dead ? "dead" : "running", "pid", (int)vm->facts->pid,
			 "memory_mib", vm->facts->memory_mib, "vcpus", vm->facts->vcpus,
			 "reason", vm->facts->dead ? vm->facts->reason : "", "connected",
			 vm->facts->connected);
}

json_t *describe_attached(const struct vmproc *vm)
{
	json_t *body = describe_vm(vm);

	json_object_set_new(body, "from",
			    json_integer((json_int_t)channel_position(&vm->channel)));
	json_object_set_new(body, "sent",
			    json_integer((json_int_t)channel_accepted(&vm->channel)));
	return body;
}

json_t *describe_broker(const struct broker *broker)
{
	uint64_t up = (io_monotonic_ns() - broker->started_ns) / 1000000000u;
	const struct vmproc *vm;
	int count = 0;

	list_for_each (vm, &broker->vms, struct vmproc, link)
		count += vm->facts->seen;
	return json_pack(
	    "{s:s, s:s, s:i, s:I, s:I, s:i, s:b, s:o, s:s, s:s, s:i, s:i, s:i}", "engine",
	    broker->config.engine, "version", PACKAGE_VERSION, "vms", count, "uptime_s",
	    (json_int_t)up, "memory_available", (json_int_t)procfs_available(),
	    "descriptors", procfs_descriptors(), "limits_cpu", broker->limits_cpu,
	    "templates", images_templates(broker->config.images), "uplink",
	    broker->net.uplink, "uplink_why", broker->net.why, "slots", broker->net.slots,
	    "slots_free", broker->net.slots_free, "net_descriptors",
	    broker->net.descriptors);
}

json_t *describe_use(const struct vmproc *vm, const json_t *message)
{
	static const char *const keys[] = {"cpu_usec", "memory_bytes", "memory_private",
					   "memory_shared", "disk_bytes"};
	json_t *body = describe_vm(vm);

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		json_object_set_new(body, keys[i],
				    json_integer(number_in(message, keys[i])));
	return body;
}

json_t *describe_log(const char *log)
{
	const char *from = log ? log : "";
	json_t *text = json_string(from);

	while (json_dumpb(text, NULL, 0, JSON_ENCODE_ANY) > LINK_PAYLOAD_MAX - 256) {
		from += strlen(from) / 4 + 1;
		while ((*from & 0xc0) == 0x80)
			from++;
		json_string_set(text, from);
	}
	return json_pack("{s:o}", "log", text);
}
