#include "guest/agent/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/reboot.h>
#include <unistd.h>

static void say(const char *fmt, va_list ap)
{
	char text[512];
	int at = snprintf(text, sizeof(text), "pffs-agent: ");
	int n = vsnprintf(text + at, sizeof(text) - (size_t)at - 1, fmt, ap);

	if (n < 0)
		return;
	at += n;
	if (at > (int)sizeof(text) - 2)
		at = (int)sizeof(text) - 2;
	text[at++] = '\n';
	/* The console must never hold PID 1 up, so a short write is final. */
	if (write(STDERR_FILENO, text, (size_t)at) < 0)
		return;
}

void log_say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
}

void log_fatal(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
	if (getpid() == 1)
		reboot(RB_AUTOBOOT);
	exit(1);
}
