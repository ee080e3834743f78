/*
 * One error object: a negative errno for the program, a sentence for the
 * person. Functions that can fail return 0 or a negative errno and fill it.
 */
#pragma once

#include <stdarg.h>

struct error {
	int code;	/* negative errno, 0 when nothing failed */
	char text[320]; /* one sentence, no newline, always terminated */
};

/**
 * error_set() - record a failure and return its code.
 * @err:    where to record it; NULL keeps only the code.
 * @errnum: a positive errno value; 0 leaves the sentence without a cause.
 * @fmt:    printf-style sentence. When @errnum is not 0 the text of that errno
 *          is appended after a colon.
 *
 * Return: -@errnum, or -EIO when @errnum is 0, so that a caller can write
 * `return error_set(err, errno, "cannot open %s", path);`.
 */
__attribute__((format(printf, 3, 4))) int error_set(struct error *err, int errnum,
						    const char *fmt, ...);

/**
 * error_say() - like error_set(), for a sentence that is complete by itself:
 * the errno's own text is not appended.
 *
 * Return: -@errnum.
 */
__attribute__((format(printf, 3, 4))) int error_say(struct error *err, int errnum,
						    const char *fmt, ...);
