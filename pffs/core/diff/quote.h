/*
 * Names of files in text: they have any bytes but NUL.
 */
#pragma once

#include <stdio.h>

/**
 * quote_path() - print @prefix and @path, as git prints names by default (core.quotePath):
 * between double quotes, with C's escapes, when there is a control character, a double
 * quote, a backslash or a byte of 0x80 and above in it, and as it is otherwise.
 */
void quote_path(FILE *out, const char *prefix, const char *path);

/**
 * quote_json() - print a JSON string. A byte that is not part of UTF-8 is the code point
 * U+DC00 + byte, escaped, as Python's os.fsdecode() has it.
 */
void quote_json(FILE *out, const char *text);
