/*
 * How every subcommand shows its usage.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

/** usage_exit() - show @text. Return: the exit status for it. */
static inline int usage_exit(const char *text, bool asked_for)
{
	fputs(text, asked_for ? stdout : stderr);
	return asked_for ? 0 : 2;
}
