#include "wire/policy_lines.h"

#include <errno.h>
#include <string.h>

/* Put @value, which it takes, under @key of @object. Return: 0 or -ENOMEM. */
static int put(json_t *object, const char *key, json_t *value)
{
	return value && json_object_set_new(object, key, value) == 0 ? 0 : -ENOMEM;
}

static json_t *allow_json(const struct policy *policy)
{
	json_t *list = json_array();
	char text[POLICY_LINE_MAX];

	for (size_t i = 0; i < policy->entry_count && list; i++) {
		policy_entry_print(&policy->entries[i], text);
		if (json_array_append_new(list, json_string(text)) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *secret_json(const struct policy_secret *secret, bool value)
{
	json_t *one =
	    json_pack("{s:s, s:s}", "domain", secret->domain, "header", secret->header);

	if (one && value && put(one, "value", json_string(secret->value)) < 0) {
		json_decref(one);
		return NULL;
	}
	return one;
}

static json_t *secrets_json(const struct policy *policy, bool values)
{
	json_t *list = json_array();

	for (size_t i = 0; i < policy->secret_count && list; i++)
		if (json_array_append_new(list, secret_json(&policy->secrets[i], values)) <
		    0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

json_t *policy_json(const struct policy *policy, bool values)
{
	json_t *object = json_object();

	if (object &&
	    put(object, "egress", json_string(policy_egress_name(policy->egress))) == 0 &&
	    put(object, "allow", allow_json(policy)) == 0 &&
	    put(object, "secrets", secrets_json(policy, values)) == 0)
		return object;
	json_decref(object);
	return NULL;
}

/* A string without a NUL in it, or NULL. */
static const char *text_of(const json_t *value)
{
	const char *text = json_string_value(value);

	return text && strlen(text) == json_string_length(value) ? text : NULL;
}

static int bad_policy(struct error *err)
{
	return error_say(err, EINVAL,
			 "a policy is {\"egress\", \"allow\": [ENTRY, ..], \"secrets\": "
			 "[{\"domain\", \"header\", \"value\"}, ..]}");
}

static int take_entry(struct policy *policy, const json_t *one, struct error *err)
{
	const char *text = text_of(one);

	return text ? policy_allow_line(policy, text, strlen(text), err) : bad_policy(err);
}

static int take_secret(struct policy *policy, const json_t *one, struct error *err)
{
	const char *domain = text_of(json_object_get(one, "domain"));
	const char *header = text_of(json_object_get(one, "header"));
	const json_t *value = json_object_get(one, "value");
	struct policy_secret secret = {0};
	int r;

	if (!domain || !header || (value && !text_of(value)))
		return bad_policy(err);
	r = policy_secret_make(&secret, domain, header, text_of(value), err);
	if (r == 0)
		r = policy_secret_add(policy, &secret, err);
	explicit_bzero(&secret, sizeof(secret));
	return r;
}

/* None at all is an empty list. */
static int take_list(struct policy *policy, const json_t *list,
		     int (*take_one)(struct policy *, const json_t *, struct error *),
		     struct error *err)
{
	const json_t *one;
	size_t i;
	int r = 0;

	if (list && !json_is_array(list))
		return bad_policy(err);
	json_array_foreach((json_t *)list, i, one)
	{
		r = take_one(policy, one, err);
		if (r < 0)
			break;
	}
	return r;
}

static int take(struct policy *policy, const json_t *object, struct error *err)
{
	const char *egress = text_of(json_object_get(object, "egress"));
	int r;

	if (!egress)
		return bad_policy(err);
	r = policy_egress_parse(egress, &policy->egress, err);
	if (r == 0)
		r = take_list(policy, json_object_get(object, "allow"), take_entry, err);
	if (r == 0)
		r = take_list(policy, json_object_get(object, "secrets"), take_secret, err);
	return r;
}

struct policy *policy_from_json(const json_t *object, struct error *err)
{
	struct policy *policy = policy_new();

	if (!policy) {
		error_set(err, ENOMEM, "cannot keep a policy");
		return NULL;
	}
	if (take(policy, object, err) == 0)
		return policy;
	policy_unref(policy);
	return NULL;
}
