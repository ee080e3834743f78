/*
 * What runs in a terminal, as the command line that a terminal takes.
 */
#pragma once

#include "util/error.h"

#include <jansson.h>

/**
 * pty_command() - of shellCmd or argv, with env and cwd.
 * @command: set to a string to free(); NULL: a login shell.
 * Return: 0 or -errno with @err filled.
 */
int pty_command(const json_t *body, char **command, struct error *err);
