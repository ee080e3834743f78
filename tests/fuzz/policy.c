/*
 * Fuzz target: what a user writes into net/allow and net/secrets, and a policy as the link
 * carries it. What is taken is canonical: it reads the same again, as text and as JSON, is
 * no looser than itself, and covers its own entries. One that is within another lets
 * through no name that the other does not.
 */
#include "wire/policy.h"

#include "util/cleanup.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input is up to three texts, with a zero byte between them. */
static const char *next_text(const char **at, size_t *left, size_t *len)
{
	const char *text = *at, *end = memchr(text, '\0', *left);

	*len = end ? (size_t)(end - text) : *left;
	*at += *len + (end != NULL);
	*left -= *len + (end != NULL);
	return text;
}

static void check_entry(const struct policy *policy, const struct policy_entry *entry)
{
	char text[POLICY_LINE_MAX], again[POLICY_LINE_MAX];
	struct policy_entry same;

	policy_entry_print(entry, text);
	if (policy_entry_parse(text, &same, NULL) < 0 || !policy_entry_same(entry, &same))
		abort();
	policy_entry_print(&same, again);
	if (strcmp(text, again) != 0 || !policy_covers(policy, entry))
		abort();
}

static void check_json(const struct policy *policy)
{
	json_t *json = policy_json(policy, true), *same_json;
	struct policy *same = policy_from_json(json, NULL);

	if (!same)
		abort();
	same_json = policy_json(same, true);
	if (!json_equal(json, same_json))
		abort();
	json_decref(json);
	json_decref(same_json);
	policy_unref(same);
}

static void check(const struct policy *policy)
{
	for (size_t i = 0; i < policy->entry_count; i++)
		check_entry(policy, &policy->entries[i]);
	for (size_t i = 0; i < policy->secret_count; i++)
		if (!policy_has_secret(policy, policy->secrets[i].domain))
			abort();
	if (policy_within(policy, policy, NULL) < 0)
		abort();
	check_json(policy);
}

static struct policy *make(const char *allow, size_t len)
{
	struct policy *policy = policy_new();
	struct error err;

	if (!policy)
		abort();
	policy->egress = len && *allow == '!' ? POLICY_ON : POLICY_ALLOW;
	policy_allow_text(policy, allow, len, &err);
	return policy;
}

static void check_both(const struct policy *inner, const struct policy *outer)
{
	struct error err;

	if (policy_within(inner, outer, &err) < 0)
		return;
	for (size_t i = 0; i < inner->entry_count; i++) {
		const char *name = inner->entries[i].name;

		if (*name && policy_allows_name(inner, name) &&
		    !policy_allows_name(outer, name))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *at = (const char *)data, *text;
	struct policy *policy, *other, *told;
	struct error err;
	json_t *json;
	size_t len;

	text = next_text(&at, &size, &len);
	policy = make(text, len);
	text = next_text(&at, &size, &len);
	policy_secret_text(policy, text, len, &err);
	text = next_text(&at, &size, &len);
	other = make(text, len);
	json = json_loadb(text, len, 0, NULL);
	told = json ? policy_from_json(json, &err) : NULL;
	check(policy);
	check(other);
	if (told)
		check(told);
	check_both(policy, other);
	policy_unref(policy);
	policy_unref(other);
	policy_unref(told);
	json_decref(json);
	return 0;
}
