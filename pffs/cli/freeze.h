/*
 * Making a template of a sandbox, through its mount.
 */
#pragma once

#include "util/error.h"

/**
 * freeze() - fork a sandbox, and move the fork to where the templates are.
 * @sandbox: path of its directory; or its name alone, when there is one mount.
 * @name:    of the template.
 *
 * Return: 0, or -errno with @err filled; the fork is gone then.
 */
int freeze(const char *sandbox, const char *name, struct error *err);
