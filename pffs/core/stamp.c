#include "pffs/core/stamp.h"

#include <stdio.h>

const char *stamp_format(const struct timespec *at, char text[STAMP_MAX])
{
	struct tm tm;
	size_t len;

	gmtime_r(&at->tv_sec, &tm);
	len = strftime(text, STAMP_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + len, STAMP_MAX - len, ".%03dZ",
		 (int)(at->tv_nsec / 1000000 % 1000));
	return text;
}
