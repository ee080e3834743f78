#include "bench/calls.h"

#include "util/io.h"

#include <linux/kvm.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct calls *recorder;

int ioctl(int fd, unsigned long request, ...)
{
	struct call *call = NULL;
	va_list ap;
	void *arg;
	long r;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (request == KVM_RUN || !recorder || recorder->count == CALLS_MAX)
		return (int)syscall(SYS_ioctl, fd, request, arg);
	call = &recorder->call[recorder->count++];
	call->request = request;
	call->from_ns = io_monotonic_ns();
	r = syscall(SYS_ioctl, fd, request, arg);
	call->to_ns = io_monotonic_ns();
	return (int)r;
}

void calls_record(struct calls *calls)
{
	recorder = calls;
	if (calls)
		calls->count = 0;
}

const struct call *calls_find(const struct calls *calls, unsigned long request)
{
	for (unsigned i = 0; i < calls->count; i++)
		if (calls->call[i].request == request)
			return &calls->call[i];
	return NULL;
}

uint64_t calls_time(const struct calls *calls, unsigned long request)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < calls->count; i++)
		if (calls->call[i].request == request)
			sum += calls->call[i].to_ns - calls->call[i].from_ns;
	return sum;
}
