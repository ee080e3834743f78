/*
 * A test in C that speaks TAP: call ok() and its relatives any number of times
 * and end main() with `return done_testing();`. One test program, one file: the
 * counters live in the file that includes this header.
 */
#pragma once

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tap_count, tap_failed;

/** diag() - a line for the person who reads a failure. */
__attribute__((format(printf, 1, 2), unused)) static void diag(const char *fmt, ...)
{
	va_list ap;

	fputs("# ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

__attribute__((format(printf, 4, 0))) static bool
tap_say(bool good, const char *file, int line, const char *fmt, va_list ap)
{
	printf("%sok %d - ", good ? "" : "not ", ++tap_count);
	vprintf(fmt, ap);
	putchar('\n');
	fflush(stdout);
	if (!good) {
		tap_failed++;
		diag("failed at %s:%d", file, line);
	}
	return good;
}

__attribute__((format(printf, 4, 5), unused)) static bool
tap_ok(bool good, const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	tap_say(good, file, line, fmt, ap);
	va_end(ap);
	return good;
}

__attribute__((format(printf, 5, 6), unused)) static bool
tap_is_int(intmax_t got, intmax_t want, const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	tap_say(got == want, file, line, fmt, ap);
	va_end(ap);
	if (got != want)
		diag("got %" PRIdMAX " (0x%jx), want %" PRIdMAX " (0x%jx)", got,
		     (uintmax_t)got, want, (uintmax_t)want);
	return got == want;
}

__attribute__((format(printf, 5, 6), unused)) static bool
tap_is_str(const char *got, const char *want, const char *file, int line, const char *fmt,
	   ...)
{
	bool good = got && want ? strcmp(got, want) == 0 : got == want;
	va_list ap;

	va_start(ap, fmt);
	tap_say(good, file, line, fmt, ap);
	va_end(ap);
	if (!good)
		diag("got '%s', want '%s'", got ? got : "(NULL)", want ? want : "(NULL)");
	return good;
}

__attribute__((format(printf, 6, 7), unused)) static bool
tap_is_mem(const void *got, const void *want, size_t len, const char *file, int line,
	   const char *fmt, ...)
{
	const uint8_t *g = got, *w = want;
	size_t at = 0;
	va_list ap;

	while (at < len && g && w && g[at] == w[at])
		at++;
	va_start(ap, fmt);
	tap_say(at == len, file, line, fmt, ap);
	va_end(ap);
	if (at < len && g && w)
		diag("byte %zu of %zu: got 0x%02x, want 0x%02x", at, len, g[at], w[at]);
	return at == len;
}

/** ok() - one test: @cond must hold; the rest is a printf-style name for it. */
#define ok(cond, ...) tap_ok((cond), __FILE__, __LINE__, __VA_ARGS__)

/** is_int() - two integers are equal; both are shown when they are not. */
#define is_int(got, want, ...)                                                             \
	tap_is_int((intmax_t)(got), (intmax_t)(want), __FILE__, __LINE__, __VA_ARGS__)

/** is_str() - two C strings are equal; NULL equals NULL only. */
#define is_str(got, want, ...) tap_is_str((got), (want), __FILE__, __LINE__, __VA_ARGS__)

/** is_mem() - @len bytes at both places are equal. */
#define is_mem(got, want, len, ...)                                                        \
	tap_is_mem((got), (want), (len), __FILE__, __LINE__, __VA_ARGS__)

/**
 * skip() - @count tests cannot run here. With PFFS_MUST_WORK=1 in the
 * environment, where everything is meant to be there, that is a failure.
 */
__attribute__((unused)) static void skip(int count, const char *why)
{
	const char *must = getenv("PFFS_MUST_WORK");
	bool fail = must && strcmp(must, "1") == 0;

	for (int i = 0; i < count; i++) {
		printf("%sok %d # SKIP %s\n", fail ? "not " : "", ++tap_count, why);
		tap_failed += fail;
	}
	if (fail)
		diag("skipped with PFFS_MUST_WORK=1: %s", why);
}

/** done_testing() - print the plan. Return: the exit code for main(). */
__attribute__((unused)) static int done_testing(void)
{
	printf("1..%d\n", tap_count);
	if (tap_failed)
		diag("%d of %d failed", tap_failed, tap_count);
	return tap_failed ? 1 : 0;
}
