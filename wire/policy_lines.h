/* What reading net/allow and reading net/secrets have in common; for wire/policy*.c. */
#pragma once

#include "wire/policy.h"

typedef int policy_take_line(struct policy *policy, const char *line, size_t len,
			     struct error *err);

/** policy_trim() - Return: bytes of @line between the space at both ends; it moves there.
 */
size_t policy_trim(const char **line, size_t len);

/** policy_each_line() - @take all lines of a text, until one fails. Return: as that did. */
int policy_each_line(struct policy *policy, const char *text, size_t len,
		     policy_take_line *take, struct error *err);

/**
 * policy_secret_make() - a secret of its parts, all checked.
 * @secret: zeroed. @value: NULL where it is not told.
 * Return: 0, or -EINVAL with @err, which has nothing of what was given.
 */
int policy_secret_make(struct policy_secret *secret, const char *domain, const char *header,
		       const char *value, struct error *err);

/** policy_secret_add() - Return: 0, -EFBIG with @err, -ENOMEM. */
int policy_secret_add(struct policy *policy, const struct policy_secret *secret,
		      struct error *err);
