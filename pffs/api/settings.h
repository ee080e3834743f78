/*
 * What a body sets of a sandbox, by POST and by PATCH.
 */
#pragma once

#include "pffs/api/request.h"

/** settings_check() - are all of the right type? Return: 0, or -EINVAL with @err. */
int settings_check(const struct request *r, struct error *err);

/** settings_apply() - set them. Return: 0, or -errno with @err filled. */
int settings_apply(const struct request *r, struct sandbox *sb, struct error *err);
