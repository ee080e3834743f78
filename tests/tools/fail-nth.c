/*
 * A library to preload: one call that asks for memory, or for a descriptor, fails.
 *
 * PFFS_FAIL_FILE is a file of two numbers (struct orders), which whoever tests writes
 * while the program runs: after so many calls of a kind one fails, as if there were no
 * memory (ENOMEM), or no descriptor left (EMFILE). PFFS_FAIL_PROGRAM is the name of the
 * program that this is for: what that starts is let be.
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* Calls until the one that fails; 0: none will. */
struct orders {
	int32_t memory, descriptor;
};

static struct orders none;
static struct orders *orders = &none;

/* glibc's own, which have no other name that a replacement could use. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *at, size_t size);

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("PFFS_FAIL_FILE"), *program = getenv("PFFS_FAIL_PROGRAM");
	int fd;
	void *at;

	if (!path || !program || strcmp(program, program_invocation_short_name) != 0)
		return;
	fd = open(path, O_RDWR | O_CLOEXEC);
	at = fd < 0
		 ? MAP_FAILED
		 : mmap(NULL, sizeof(*orders), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		abort(); /* a test that tests nothing */
	close(fd);
	orders = at;
}

/* For the person who reads a failure: addr2line(1) tells what that is. */
static void say_where(void)
{
	void *frames[16];

	backtrace_symbols_fd(frames, backtrace(frames, 16), STDERR_FILENO);
}

/* The last of those that were to go well before has been reached. */
static bool fails(int32_t *left, int errnum)
{
	if (__atomic_load_n(left, __ATOMIC_RELAXED) <= 0 ||
	    __atomic_sub_fetch(left, 1, __ATOMIC_RELAXED) != 0)
		return false;
	say_where();
	errno = errnum;
	return true;
}

void *malloc(size_t size)
{
	return fails(&orders->memory, ENOMEM) ? NULL : __libc_malloc(size);
}

void *calloc(size_t nmemb, size_t size)
{
	return fails(&orders->memory, ENOMEM) ? NULL : __libc_calloc(nmemb, size);
}

void *realloc(void *ptr, size_t size)
{
	return fails(&orders->memory, ENOMEM) ? NULL : __libc_realloc(ptr, size);
}

#define REAL(name) ((__typeof__(&(name)))dlsym(RTLD_NEXT, #name))

static bool no_descriptor(void)
{
	return fails(&orders->descriptor, EMFILE);
}

/* What open(2) has behind its flags, if anything. */
static mode_t mode_of(int flags, va_list ap)
{
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it is the caller's */
	return (flags & (O_CREAT | O_TMPFILE)) ? va_arg(ap, mode_t) : 0;
}

int open(const char *file, int oflag, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, oflag);
	mode = mode_of(oflag, ap);
	va_end(ap);
	return no_descriptor() ? -1 : REAL(open)(file, oflag, mode);
}

int openat(int fd, const char *file, int oflag, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, oflag);
	mode = mode_of(oflag, ap);
	va_end(ap);
	return no_descriptor() ? -1 : REAL(openat)(fd, file, oflag, mode);
}

int mkstemp(char *template)
{
	return no_descriptor() ? -1 : REAL(mkstemp)(template);
}

int socket(int domain, int type, int protocol)
{
	return no_descriptor() ? -1 : REAL(socket)(domain, type, protocol);
}

int socketpair(int domain, int type, int protocol, int fds[2])
{
	return no_descriptor() ? -1 : REAL(socketpair)(domain, type, protocol, fds);
}

int accept4(int fd, struct sockaddr *restrict addr, socklen_t *restrict len, int flags)
{
	return no_descriptor() ? -1 : REAL(accept4)(fd, addr, len, flags);
}

int accept(int fd, struct sockaddr *restrict addr, socklen_t *restrict len)
{
	return no_descriptor() ? -1 : REAL(accept)(fd, addr, len);
}

int epoll_create1(int flags)
{
	return no_descriptor() ? -1 : REAL(epoll_create1)(flags);
}

int eventfd(unsigned int count, int flags)
{
	return no_descriptor() ? -1 : REAL(eventfd)(count, flags);
}

int pipe2(int pipedes[2], int flags)
{
	return no_descriptor() ? -1 : REAL(pipe2)(pipedes, flags);
}

int dup(int fd)
{
	return no_descriptor() ? -1 : REAL(dup)(fd);
}
