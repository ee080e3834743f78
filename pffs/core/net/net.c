#include "pffs/core/net/net.h"

#include "pffs/core/net/ca_trust.h"
#include "pffs/core/record/journal.h"
#include "pffs/core/sandbox.h"
#include "util/cleanup.h"

#include <errno.h>
#include <string.h>

/* Put @policy, of which a reference is taken, in the place of another one. */
static void replace(struct policy **place, struct policy *policy)
{
	struct policy *old = *place;

	*place = policy ? policy_ref(policy) : NULL;
	policy_unref(old);
}

#define SOON_MS	 50u
#define AGAIN_MS 1000u

static void soon(struct loop_timer *timer)
{
	net_apply(container_of(timer, struct sandbox, net.soon));
}

void net_init(struct sandbox *sb)
{
	sb->net = (struct net){.policy = policy_ref(sb->core->net.fallback)};
	loop_timer_init(&sb->net.soon, soon);
	net_log_init(&sb->net.log);
}

void net_fini(struct sandbox *sb)
{
	policy_unref(sb->net.policy);
	policy_unref(sb->net.ceiling);
	policy_unref(sb->net.told);
	loop_timer_cancel(&sb->net.soon);
	if (sb->net.trust)
		ca_trust_cancel(sb->net.trust);
	net_log_fini(&sb->net.log);
}

void net_close(struct sandbox *sb)
{
	replace(&sb->net.policy, sb->core->net.off);
}

static bool is_image(const struct sandbox *parent)
{
	return parent->folder == FOLDER_HIDDEN &&
	       !parent->core->templates.list[parent->template].made;
}

void net_inherit(struct sandbox *child, const struct sandbox *parent)
{
	struct policy *policy = parent->net.policy;

	if (child->folder == FOLDER_HIDDEN)
		policy = child->core->net.off;
	replace(&child->net.policy, policy);
	replace(&child->net.ceiling, is_image(parent) ? NULL : policy);
	child->net.wants_trust = parent->net.trust || parent->net.wants_trust;
}

void net_forked(struct sandbox *child, struct policy *told)
{
	replace(&child->net.told, told);
	net_resumed(child);
}

void net_lost(struct sandbox *sb)
{
	replace(&sb->net.told, NULL);
	sb->net.connected = false;
}

void net_away(struct sandbox *sb)
{
	net_lost(sb);
	if (!sb->net.trust)
		return;
	ca_trust_cancel(steal_pointer(&sb->net.trust));
	sb->net.wants_trust = true;
}

void net_resumed(struct sandbox *sb)
{
	net_apply(sb);
	if (sb->net.wants_trust)
		net_trust(sb);
}

struct telling {
	struct sandbox *sb;    /* reference */
	struct policy *policy; /* reference */
};

/* Until vmctl has heard of it, an older and looser one may be in force. Whether the
 * sandbox is connected by that vmctl says itself. */
static void told(void *ctx, json_t *reply, const struct error *err)
{
	struct telling *telling = ctx;
	struct sandbox *sb = telling->sb;

	if (!reply && sb->net.told == telling->policy && sb->state != SANDBOX_DEAD) {
		replace(&sb->net.told, NULL);
		sandbox_fail(sb, err);
		if (!sb->net.soon.deadline_ns)
			loop_timer_set(sb->core->loop, &sb->net.soon, AGAIN_MS);
	}
	policy_unref(telling->policy);
	sandbox_unref(sb);
	free(telling);
}

static void tell(struct sandbox *sb, struct telling *telling)
{
	*telling =
	    (struct telling){.sb = sandbox_ref(sb), .policy = policy_ref(sb->net.policy)};
	replace(&sb->net.told, sb->net.policy);
	vmm_request(&sb->core->vmm,
		    json_pack("{s:s, s:I, s:o}", "op", "policy", "vm", (json_int_t)sb->vm,
			      "policy", policy_json(sb->net.policy, true)),
		    told, telling);
}

void net_apply(struct sandbox *sb)
{
	struct telling *telling;

	loop_timer_cancel(&sb->net.soon);
	if (sb->net.changed)
		journal_facts(sb);
	sb->net.changed = false;
	if (!sb->channel.vmm || sb->booting || !sb->core->net.uplink[0] ||
	    sb->net.told == sb->net.policy)
		return;
	telling = malloc(sizeof(*telling));
	if (telling)
		tell(sb, telling);
}

int net_check(const struct sandbox *sb, const struct policy *policy, struct error *err)
{
	return sb->net.ceiling ? policy_within(policy, sb->net.ceiling, err) : 0;
}

int net_set(struct sandbox *sb, struct policy *policy, struct error *err)
{
	int r = net_check(sb, policy, err);

	if (r < 0)
		return r;
	replace(&sb->net.policy, policy);
	if (!sb->net.changed)
		loop_timer_set(sb->core->loop, &sb->net.soon, SOON_MS);
	sb->net.changed = true;
	return 0;
}

/* A copy to be changed. Return: NULL with @err filled. */
static struct policy *copy(const struct sandbox *sb, struct error *err)
{
	struct policy *policy = policy_copy(sb->net.policy);

	if (!policy)
		error_set(err, ENOMEM, "cannot change the policy of %s", sb->name);
	return policy;
}

/* Set the changed copy @policy, which is let go of, unless @r says that it is wrong. */
static int set_copy(struct sandbox *sb, struct policy *policy, int r, struct error *err)
{
	if (r == 0)
		r = net_set(sb, policy, err);
	policy_unref(policy);
	return r;
}

int net_set_egress(struct sandbox *sb, const char *value, struct error *err)
{
	enum policy_egress egress;
	int r = policy_egress_parse(value, &egress, err);
	struct policy *policy = r == 0 ? copy(sb, err) : NULL;

	if (!policy)
		return err->code;
	policy->egress = egress;
	r = set_copy(sb, policy, 0, err);
	net_apply(sb);
	return r;
}

int net_set_allow(struct sandbox *sb, const char *text, size_t len, bool add,
		  struct error *err)
{
	struct policy *policy = copy(sb, err);

	if (!policy)
		return err->code;
	if (!add)
		policy_clear_allow(policy);
	return set_copy(sb, policy, policy_allow_text(policy, text, len, err), err);
}

static void trusted(void *ctx, const struct error *err)
{
	struct sandbox *sb = ctx;

	sb->net.trust = NULL;
	if (err && sb->state != SANDBOX_DEAD)
		sandbox_fail(sb, err);
}

void net_trust(struct sandbox *sb)
{
	const struct ca *ca = &sb->core->net.ca;

	sb->net.wants_trust = sb->state == SANDBOX_STORED;
	if (sb->net.policy->secret_count && !sb->net.trust && ca->certificate &&
	    sb->state != SANDBOX_DEAD && sb->state != SANDBOX_STORED)
		sb->net.trust = ca_trust_begin(sb, ca->certificate, trusted, sb);
}

int net_set_secrets(struct sandbox *sb, const char *text, size_t len, bool add,
		    struct error *err)
{
	struct policy *policy = copy(sb, err);
	int r;

	if (!policy)
		return err->code;
	if (!add)
		policy_clear_secrets(policy);
	r = set_copy(sb, policy, policy_secret_text(policy, text, len, err), err);
	if (r == 0)
		net_trust(sb);
	return r;
}

static void print_entries(const struct policy *policy, const char *key, FILE *out)
{
	char text[POLICY_LINE_MAX];

	for (size_t i = 0; i < policy->entry_count; i++) {
		policy_entry_print(&policy->entries[i], text);
		fprintf(out, "%s%s\n", key, text);
	}
}

void net_print_allow(const struct sandbox *sb, FILE *out)
{
	print_entries(sb->net.policy, "", out);
}

void net_print_secrets(const struct sandbox *sb, FILE *out)
{
	const struct policy *policy = sb->net.policy;

	for (size_t i = 0; i < policy->secret_count; i++)
		fprintf(out, "%s %s:\n", policy->secrets[i].domain,
			policy->secrets[i].header);
}

void net_print_status(const struct sandbox *sb, FILE *out)
{
	const struct policy *ceiling = sb->net.ceiling;

	fprintf(out, "uplink %s\negress %s\nceiling %s\n", net_uplink(sb->core),
		policy_egress_name(sb->net.policy->egress),
		policy_egress_name(ceiling ? ceiling->egress : POLICY_ON));
	if (ceiling)
		print_entries(ceiling, "ceiling_allow ", out);
	fprintf(out, "connected %s\n", sb->net.connected ? "yes" : "no");
}

void net_heard(struct sandbox *sb, const json_t *event)
{
	const json_t *connected = json_object_get(event, "connected");
	const json_t *records = json_object_get(event, "records");

	if (json_is_boolean(connected))
		sb->net.connected = json_is_true(connected);
	if (json_array_size(records))
		journal_net_log(sb, net_log_add(&sb->net.log, records));
}

json_t *net_record(const struct sandbox *sb)
{
	const struct policy *ceiling = sb->net.ceiling;

	return json_pack("{s:o, s:o*}", "policy", policy_json(sb->net.policy, true),
			 "ceiling", ceiling ? policy_json(ceiling, false) : NULL);
}

/* Sandboxes of a pffs that knew no network get the default. */
void net_restore(struct sandbox *sb, const json_t *record)
{
	const json_t *ceiling = json_object_get(record, "ceiling");
	struct policy *policy, *above = NULL;
	struct error err;

	if (!record)
		return;
	policy = policy_from_json(json_object_get(record, "policy"), &err);
	if (policy && ceiling)
		above = policy_from_json(ceiling, &err);
	if (!policy || (ceiling && !above))
		sandbox_fail(sb, &err);
	replace(&sb->net.policy, policy ? policy : sb->core->net.off);
	replace(&sb->net.ceiling, ceiling && !above ? sb->core->net.off : above);
	policy_unref(policy);
	policy_unref(above);
	sb->net.wants_trust = true; /* the pffs before may have ended in the middle of it */
}
