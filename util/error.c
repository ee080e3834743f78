#include "util/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void error_format(struct error *err, int code, const char *cause, const char *fmt,
			 va_list ap)
{
	size_t used;

	if (!err)
		return;
	err->code = code;
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	used = strlen(err->text);
	if (cause)
		snprintf(err->text + used, sizeof(err->text) - used, ": %s", cause);
}

int error_set(struct error *err, int errnum, const char *fmt, ...)
{
	int code = errnum ? -errnum : -EIO;
	va_list ap;

	va_start(ap, fmt);
	error_format(err, code, errnum ? strerror(errnum) : NULL, fmt, ap);
	va_end(ap);
	return code;
}

int error_say(struct error *err, int errnum, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	error_format(err, -errnum, NULL, fmt, ap);
	va_end(ap);
	return -errnum;
}
