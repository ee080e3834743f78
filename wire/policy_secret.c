#include "wire/policy_lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What frames a request, or says where it goes, is not for a secret to change. */
static const char *const reserved[] = {
    "Connection", "Content-Length",	 "Expect", "Host",    "HTTP2-Settings",
    "Keep-Alive", "Proxy-Authorization", "TE",	   "Trailer", "Transfer-Encoding",
    "Upgrade",	  "Proxy-Connection",	 NULL,
};

static int bad_line(struct error *err)
{
	return error_say(
	    err, EINVAL,
	    "a line of net/secrets is DOMAIN HEADER: VALUE, as in api.example.com "
	    "Authorization: Bearer abc");
}

static int check_header(const char *header, struct error *err)
{
	static const char token[] = "!#$%&'*+-.^_`|~0123456789"
				    "abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

	if (!*header || header[strspn(header, token)] ||
	    strlen(header) >= POLICY_HEADER_MAX)
		return bad_line(err);
	for (size_t i = 0; reserved[i]; i++)
		if (strcasecmp(reserved[i], header) == 0)
			return error_say(err, EINVAL, "%s cannot be set by a secret",
					 reserved[i]);
	return 0;
}

/* Printable ASCII alone: so a value is one line of HTTP, and a string of JSON. */
static int take_value(struct policy_secret *secret, const char *value, struct error *err)
{
	size_t len = strlen(value);

	if (!len || len >= sizeof(secret->value))
		return bad_line(err);
	for (size_t i = 0; i < len; i++)
		if ((value[i] < ' ' && value[i] != '\t') || value[i] > '~')
			return error_say(err, EINVAL,
					 "the value of a secret is printable ASCII");
	memcpy(secret->value, value, len + 1);
	return 0;
}

static size_t text_of(const struct policy_secret *secret)
{
	return strlen(secret->domain) + strlen(secret->header) + strlen(secret->value) +
	       strlen("  :\n");
}

/* The list moves by hand, so that no value stays behind in memory that was freed. */
static int append(struct policy *policy, const struct policy_secret *secret,
		  struct error *err)
{
	struct policy_secret *more;

	if (policy->secret_count == POLICY_SECRETS_MAX)
		return error_say(err, EFBIG, "net/secrets has at most %u lines",
				 POLICY_SECRETS_MAX);
	more = calloc(policy->secret_count + 1, sizeof(*more));
	if (!more)
		return error_set(err, ENOMEM, "cannot keep net/secrets");
	if (policy->secret_count)
		memcpy(more, policy->secrets, policy->secret_count * sizeof(*more));
	more[policy->secret_count] = *secret;
	if (policy->secrets)
		explicit_bzero(policy->secrets, policy->secret_count * sizeof(*more));
	free(policy->secrets);
	policy->secrets = more;
	policy->secret_count++;
	return 0;
}

static struct policy_secret *find(const struct policy *policy,
				  const struct policy_secret *like)
{
	for (size_t i = 0; i < policy->secret_count; i++)
		if (strcmp(policy->secrets[i].domain, like->domain) == 0 &&
		    strcasecmp(policy->secrets[i].header, like->header) == 0)
			return &policy->secrets[i];
	return NULL;
}

int policy_secret_add(struct policy *policy, const struct policy_secret *secret,
		      struct error *err)
{
	struct policy_secret *there = find(policy, secret);
	size_t text = policy->secret_text + text_of(secret) - (there ? text_of(there) : 0);
	int r;

	if (text > POLICY_SECRETS_TEXT_MAX)
		return error_say(err, EFBIG, "net/secrets has at most %u bytes",
				 POLICY_SECRETS_TEXT_MAX);
	r = there ? 0 : append(policy, secret, err);
	if (r < 0)
		return r;
	if (there)
		*there = *secret;
	policy->secret_text = text;
	return 0;
}

int policy_secret_make(struct policy_secret *secret, const char *domain, const char *header,
		       const char *value, struct error *err)
{
	int r = policy_name_parse(domain, secret->domain, NULL);

	if (r < 0) /* its sentence would show what may be a value in the wrong place */
		return bad_line(err);
	r = check_header(header, err);
	if (r < 0)
		return r;
	memcpy(secret->header, header, strlen(header) + 1);
	return value ? take_value(secret, value, err) : 0;
}

/* Cut @line, which is changed, at the space and at the colon. */
static int parse(struct policy_secret *secret, char *line, struct error *err)
{
	char *header = strpbrk(line, " \t"), *value;

	if (!header)
		return bad_line(err);
	*header++ = '\0';
	header += strspn(header, " \t");
	value = strchr(header, ':');
	if (!value)
		return bad_line(err);
	*value++ = '\0';
	return policy_secret_make(secret, line, header, value + strspn(value, " \t"), err);
}

int policy_secret_line(struct policy *policy, const char *line, size_t len,
		       struct error *err)
{
	struct policy_secret secret = {0};
	char text[POLICY_SECRET_LINE_MAX];
	int r;

	len = policy_trim(&line, len);
	if (!len || *line == '#')
		return 0;
	if (len >= sizeof(text) || memchr(line, '\0', len))
		return error_say(err, EINVAL,
				 "a line of net/secrets is text of at most %u bytes",
				 POLICY_SECRET_LINE_MAX - 1);
	memcpy(text, line, len);
	text[len] = '\0';
	r = parse(&secret, text, err);
	if (r == 0)
		r = policy_secret_add(policy, &secret, err);
	explicit_bzero(&secret, sizeof(secret));
	explicit_bzero(text, sizeof(text));
	return r;
}

int policy_secret_text(struct policy *policy, const char *text, size_t len,
		       struct error *err)
{
	return policy_each_line(policy, text, len, policy_secret_line, err);
}

void policy_clear_secrets(struct policy *policy)
{
	if (policy->secrets)
		explicit_bzero(policy->secrets,
			       policy->secret_count * sizeof(*policy->secrets));
	free(policy->secrets);
	policy->secrets = NULL;
	policy->secret_count = policy->secret_text = 0;
}

bool policy_has_secret(const struct policy *policy, const char *name)
{
	for (size_t i = 0; i < policy->secret_count; i++)
		if (strcmp(policy->secrets[i].domain, name) == 0)
			return true;
	return false;
}
