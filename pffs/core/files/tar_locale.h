/*
 * Names in a tar are UTF-8, or bytes; libarchive asks the locale which.
 */
#pragma once

#include <locale.h>

/** tar_locale() - for uselocale(3) while libarchive has its turn, and freelocale(3). */
static inline locale_t tar_locale(void)
{
	return newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}
