#include "wire/policy.h"

#include "wire/policy_lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const egress_names[] = {
    [POLICY_ON] = "on", [POLICY_OFF] = "off", [POLICY_ALLOW] = "allow"};

struct policy *policy_new(void)
{
	struct policy *policy = calloc(1, sizeof(*policy));

	if (policy)
		policy->references = 1;
	return policy;
}

/* A copy of @count elements; there may be none. Return: 0 or -ENOMEM. */
static int copy_list(void *to, const void *from, size_t count, size_t size)
{
	void *copy = count ? calloc(count, size) : NULL;

	if (count && !copy)
		return -ENOMEM;
	if (count)
		memcpy(copy, from, count * size);
	*(void **)to = copy;
	return 0;
}

struct policy *policy_copy(const struct policy *policy)
{
	struct policy *copy = policy_new();

	if (!copy)
		return NULL;
	*copy = *policy;
	copy->references = 1;
	copy->entries = NULL;
	copy->secrets = NULL;
	if (copy_list(&copy->entries, policy->entries, policy->entry_count,
		      sizeof(*policy->entries)) < 0)
		copy->entry_count = copy->secret_count = 0;
	else if (copy_list(&copy->secrets, policy->secrets, policy->secret_count,
			   sizeof(*policy->secrets)) < 0)
		copy->secret_count = 0;
	else
		return copy;
	policy_unref(copy);
	return NULL;
}

struct policy *policy_ref(struct policy *policy)
{
	policy->references++;
	return policy;
}

void policy_unref(struct policy *policy)
{
	if (!policy || --policy->references)
		return;
	policy_clear_allow(policy);
	policy_clear_secrets(policy);
	free(policy);
}

const char *policy_egress_name(enum policy_egress egress)
{
	return egress_names[egress];
}

int policy_egress_parse(const char *text, enum policy_egress *egress, struct error *err)
{
	for (int i = POLICY_ON; i <= POLICY_ALLOW; i++)
		if (strcmp(text, egress_names[i]) == 0) {
			*egress = (enum policy_egress)i;
			return 0;
		}
	return error_say(err, EINVAL, "egress is on, off or allow, not \"%.40s\"", text);
}

size_t policy_trim(const char **line, size_t len)
{
	while (len && strchr(" \t\r", **line) && **line) {
		(*line)++;
		len--;
	}
	while (len && strchr(" \t\r", (*line)[len - 1]) && (*line)[len - 1])
		len--;
	return len;
}

static bool has_entry(const struct policy *policy, const struct policy_entry *entry)
{
	for (size_t i = 0; i < policy->entry_count; i++)
		if (policy_entry_same(&policy->entries[i], entry))
			return true;
	return false;
}

/* Return: 0 or -ENOMEM. */
static int append_entry(struct policy *policy, const struct policy_entry *entry)
{
	struct policy_entry *more =
	    reallocarray(policy->entries, policy->entry_count + 1, sizeof(*more));

	if (!more)
		return -ENOMEM;
	policy->entries = more;
	more[policy->entry_count++] = *entry;
	return 0;
}

static int add_entry(struct policy *policy, const struct policy_entry *entry,
		     struct error *err)
{
	char text[POLICY_LINE_MAX];

	if (has_entry(policy, entry))
		return 0;
	policy_entry_print(entry, text);
	if (policy->entry_count == POLICY_ENTRIES_MAX ||
	    policy->entry_text + strlen(text) + 1 > POLICY_ENTRIES_TEXT_MAX)
		return error_say(err, EFBIG,
				 "net/allow has at most %u entries and %u bytes",
				 POLICY_ENTRIES_MAX, POLICY_ENTRIES_TEXT_MAX);
	if (append_entry(policy, entry) < 0)
		return error_set(err, ENOMEM, "cannot keep net/allow");
	policy->entry_text += strlen(text) + 1;
	return 0;
}

int policy_allow_line(struct policy *policy, const char *line, size_t len,
		      struct error *err)
{
	const char *comment = memchr(line, '#', len);
	struct policy_entry entry;
	char text[POLICY_LINE_MAX];
	int r;

	len = policy_trim(&line, comment ? (size_t)(comment - line) : len);
	if (!len)
		return 0;
	if (len >= sizeof(text) || memchr(line, '\0', len))
		return error_say(err, EINVAL,
				 "a line of net/allow is text of at most %u bytes",
				 POLICY_LINE_MAX - 1);
	memcpy(text, line, len);
	text[len] = '\0';
	r = policy_entry_parse(text, &entry, err);
	return r < 0 ? r : add_entry(policy, &entry, err);
}

int policy_each_line(struct policy *policy, const char *text, size_t len,
		     policy_take_line *take, struct error *err)
{
	int r = 0;

	while (r == 0 && len) {
		const char *end = memchr(text, '\n', len);
		size_t line = end ? (size_t)(end - text) : len;

		r = take(policy, text, line, err);
		text += line + !!end;
		len -= line + !!end;
	}
	return r;
}

int policy_allow_text(struct policy *policy, const char *text, size_t len,
		      struct error *err)
{
	return policy_each_line(policy, text, len, policy_allow_line, err);
}

void policy_clear_allow(struct policy *policy)
{
	free(policy->entries);
	policy->entries = NULL;
	policy->entry_count = policy->entry_text = 0;
}
