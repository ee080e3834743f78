/*
 * What vmctl is told of the policy of sandboxes, and when; what a fork may; what is logged.
 */
#include "tests/unit/forks.h"

#include "pffs/fs/fs.h"
#include "pffs/fs/handle.h"
#include "pffs/fs/text.h"

#include <fcntl.h>

static struct error err;

/* What net/ has of the mount besides is not looked at here. */
int text_open(struct handle *h, struct error *error)
{
	(void)h;
	return error_set(error, ENOTSUP, "open");
}

ssize_t text_read(struct handle *h, uint64_t offset, char *to, size_t len)
{
	(void)h;
	(void)offset;
	(void)to;
	return -(ssize_t)len;
}

int text_write(struct handle *h, const char *data, size_t len, struct error *error)
{
	(void)h;
	return error_set(error, ENOTSUP, "write %zu bytes: %.10s", len, data);
}

uint64_t text_size(const struct node *node)
{
	return node->kind;
}

void handle_changed(struct watch *watch)
{
	(void)watch;
}

/* The egress that vmctl was told last, of VM @vm; "" when the newest request is another. */
static const char *told_of(unsigned vm)
{
	const char *op = asked_for();
	const json_t *policy = json_object_get(asked, "policy");

	if (!op || strcmp(op, "policy") != 0 ||
	    json_integer_value(json_object_get(asked, "vm")) != vm)
		return "";
	return json_string_value(json_object_get(policy, "egress"));
}

static void forget(void)
{
	listen_to_core();
	json_decref(asked);
	asked = NULL;
}

static void changes_are_told(struct sandbox *sb)
{
	const json_t *secrets;

	is_int(net_set_egress(sb, "allow", &err), 0, "egress is set");
	is_str(told_of(PARENT), "allow", "which vmctl is told at once");
	forget();
	is_int(net_set_allow(sb, "a.b\n", 4, false, &err), 0, "a line of a list");
	is_int(net_set_allow(sb, "c.d\n", 4, true, &err), 0, "and another one");
	ok(!asked_for(), "may be followed by more");
	spin(100);
	is_str(told_of(PARENT), "allow", "it is told soon");
	is_int((intmax_t)json_array_size(
		   json_object_get(json_object_get(asked, "policy"), "allow")),
	       2, "with all of it");
	is_int(net_set_secrets(sb, "a.b X: y", 8, false, &err), 0, "a secret");
	net_apply(sb);
	listen_to_core();
	secrets = json_object_get(json_object_get(asked, "policy"), "secrets");
	is_str(json_string_value(json_object_get(json_array_get(secrets, 0), "value")), "y",
	       "is told with its value");
	forget();
	net_apply(sb);
	ok(!asked_for(), "what is known is not told again");
}

/* Does net/status say that it is connected? */
static bool says_connected(const struct sandbox *sb)
{
	char text[1024] = "";
	FILE *out = fmemopen(text, sizeof(text), "w");

	net_print_status(sb, out);
	fclose(out);
	return strstr(text, "\nconnected yes\n");
}

static void what_failed_is_told_again(struct sandbox *sb)
{
	send_control("{\"event\":\"net\",\"vm\":5,\"connected\":true}");
	is_int(net_set_egress(sb, "off", &err), 0, "a sandbox is closed");
	is_str(told_of(PARENT), "off", "which vmctl is told");
	answer_error(EAGAIN);
	ok(says_connected(sb), "whether it is connected vmctl says itself");
	forget();
	spin(1500);
	is_str(told_of(PARENT), "off", "and again, when it could not do so");
	net_set_egress(sb, "allow", &err);
	forget();
}

static struct handle opened(struct sandbox *sb, int flags)
{
	return (struct handle){.node = {.kind = KIND_NET_ALLOW, .sb = sb},
			       .flags = O_WRONLY | flags};
}

static int put(struct handle *h, const char *text)
{
	return net_allow_ops.write(h, text, strlen(text), &err);
}

static void a_descriptor_takes_back_its_own(struct sandbox *sb)
{
	struct policy *before = policy_ref(sb->net.policy);
	struct handle h = opened(sb, O_APPEND);

	is_int(put(&h, "e.f\n"), 0, "a line is added");
	is_int(put(&h, "?\n"), -EINVAL, "and one that is wrong");
	ok(sb->net.policy == before, "neither stays");
	net_allow_ops.release(&h);
	h = opened(sb, O_APPEND);
	is_int(put(&h, "e.f\n"), 0, "a line is added");
	net_set_egress(sb, "off", &err);
	is_int(put(&h, "?\n"), -EINVAL, "and one that is wrong, after a change by another");
	is_str(policy_egress_name(sb->net.policy->egress), "off", "which stays");
	net_allow_ops.release(&h);
	net_set(sb, before, &err);
	net_apply(sb);
	policy_unref(before);
	forget();
}

static void what_is_too_large_changes_nothing(struct sandbox *sb)
{
	const struct policy *before = sb->net.policy;
	struct handle h = opened(sb, O_TRUNC);
	static char page[4096];
	int r = 0;

	memset(page, '\n', sizeof(page));
	for (int i = 0; i < 40 && r == 0; i++)
		r = net_allow_ops.write(&h, page, sizeof(page), &err);
	is_int(r, -EFBIG, "what is too large is refused");
	is_int(put(&h, "e.f\n"), -EFBIG, "and what comes behind it");
	net_allow_ops.release(&h);
	ok(sb->net.policy == before, "nothing has changed");
}

/* vmctl gives the child what its parent has. */
static void a_fork_has_the_policy_that_was_told(struct sandbox *sb)
{
	static const char *const names[] = {"a"};
	struct sandbox *a;

	order(sb, names, 1);
	is_str(asked_for(), "fork", "a fork is asked for");
	net_set_allow(sb, "later.example", 13, true, &err);
	net_apply(sb);
	is_str(told_of(PARENT), "allow", "the parent's policy changes meanwhile");
	forget();
	send_control("{\"event\":\"net\",\"vm\":5,\"connected\":true}");
	ok(sb->net.connected, "vmctl says who is connected");
	json_decref(asked);
	asked = json_pack("{s:i, s:s}", "seq", (int)core.vmm.next_seq - 2, "twin", "x");
	answer_vms(6, 1);
	awake(6, 2);
	a = child(sb, "a");
	ok(!*told_of(6), "the child needs to be told nothing");
	is_int(a ? (intmax_t)a->net.policy->entry_count : -1, 2,
	       "it has what its parent had when it was asked for");
	is_int(net_set_allow(a, "later.example", 13, false, &err), -EPERM,
	       "which is all that it may: %s", err.text);
	is_int(net_set_egress(a, "off", &err), 0, "it can be closed");
	is_str(told_of(6), "off", "which is told");
	is_int(net_set_egress(a, "allow", &err), 0, "and opened as far as that");
	is_int(net_set_egress(a, "on", &err), -EPERM, "no further");
}

static void records_are_logged(struct sandbox *sb)
{
	char text[512] = "";
	ssize_t n;

	send_control(
	    "{\"event\":\"net\",\"vm\":5,\"records\":[{\"action\":\"deny\",\"proto\":"
	    "\"tcp\",\"address\":\"10.0.0.1\",\"port\":80,\"reason\":\"closed "
	    "range\",\"other\":1},{\"port\":1},5]}");
	n = stream_read(&sb->net.log.lines, 0, text, sizeof(text) - 1);
	ok(n > 0 &&
	       strstr(text, "\"action\": \"deny\", \"proto\": \"tcp\", \"address\": "
			    "\"10.0.0.1\", \"port\": 80, \"reason\": \"closed range\"}\n"),
	   "what vmctl tells is a line of the log: %s", text);
	ok(strncmp(text, "{\"time\": \"20", 12) == 0, "with its time");
	is_int(n, (intmax_t)strcspn(text, "\n") + 1, "and what makes no sense is not");
}

static void the_log_is_bounded(struct sandbox *sb)
{
	json_t *records = json_array();

	for (int i = 0; i < 200; i++)
		json_array_append_new(records, json_pack("{s:s, s:s, s:s}", "action",
							 "deny", "proto", "dns", "name",
							 "a-name-that-is-long.example"));
	for (int i = 0; i < 300; i++)
		net_log_add(&sb->net.log, records);
	ok(sb->net.log.lines.size - sb->net.log.kept <= NET_LOG_KEPT &&
	       sb->net.log.lines.size > NET_LOG_KEPT,
	   "of a flood the newest lines are kept");
	json_decref(records);
}

static void what_is_kept_is_restored(struct sandbox *sb)
{
	json_t *record = net_record(sb);

	net_close(sb);
	net_restore(sb, record);
	is_str(policy_egress_name(sb->net.policy->egress), "allow", "a policy is restored");
	is_str(sb->net.policy->secrets[0].value, "y", "with its secrets");
	json_object_set_new(json_object_get(record, "policy"), "egress", json_string("?"));
	net_restore(sb, record);
	is_str(policy_egress_name(sb->net.policy->egress), "off",
	       "one that cannot be read is closed");
	json_decref(record);
}

int main(void)
{
	struct sandbox *demo;

	begin_world();
	send_control("{\"event\":\"uplink\",\"uplink\":\"kernel\",\"uplink_why\":\"x\"}");
	is_str(net_uplink(&core), "kernel", "vmctl says which way out there is");
	demo = make_parent();
	is_str(policy_egress_name(demo->net.told->egress), "on",
	       "the template's machine was told, and a fork of it needs no more");
	changes_are_told(demo);
	what_failed_is_told_again(demo);
	a_descriptor_takes_back_its_own(demo);
	what_is_too_large_changes_nothing(demo);
	records_are_logged(demo);
	a_fork_has_the_policy_that_was_told(demo);
	the_log_is_bounded(demo);
	what_is_kept_is_restored(demo);
	end_world();
	return done_testing();
}
