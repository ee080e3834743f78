/*
 * fsx SEED OPERATIONS FILE: random operations on a file, each compared with a model of
 * it in memory. What goes wrong is told with the operations that led to it, and comes
 * again with the same seed.
 *
 * Theory of operation: the model is the file's bytes and size. An operation changes the
 * file and the model, or compares a part of them; after each the sizes are compared, and
 * at the end all bytes. Two descriptors are in use at once, so that what was written by
 * one is read by the other. After the last operation the file is left, so that somebody
 * else may compare it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX (1u << 20)
#define IO_MAX	 (160u << 10)
#define HISTORY	 24
#define LIMIT	 600 /* seconds */

static const char *path;
static uint8_t model[FILE_MAX];
static size_t size;
static int fds[2] = {-1, -1};
static uint64_t state;
static char history[HISTORY][96];
static unsigned long done;

static uint32_t randomly(uint32_t below)
{
	/* splitmix64, of Steele, Lea and Flood */
	uint64_t z = state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return (uint32_t)((z ^ z >> 31) % below);
}

static _Noreturn void wrong(const char *what, size_t at)
{
	fprintf(stderr, "%s at %zu of %zu after %lu operations: %s\n", what, at, size, done,
		strerror(errno));
	for (unsigned long i = done < HISTORY ? 0 : done - HISTORY; i <= done; i++)
		fprintf(stderr, "  %s\n", history[i % HISTORY]);
	exit(1);
}

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(history[done % HISTORY], sizeof(history[0]), format, ap);
	va_end(ap);
}

static int any_fd(void)
{
	return fds[randomly(2)];
}

/* A place and a length, more often than not inside the file, sometimes by pages. */
static void choose(size_t limit, size_t *from, size_t *len)
{
	*from = randomly((uint32_t)limit);
	*len = 1 + randomly(randomly(4) ? 5000 : IO_MAX - 1);
	if (randomly(4) == 0) {
		*from &= ~(size_t)4095;
		*len = (*len + 4095) & ~(size_t)4095;
	}
	if (*len > limit - *from)
		*len = limit - *from;
}

static void grow(size_t to)
{
	if (to > size)
		size = to;
}

static void compare(const uint8_t *got, size_t from, size_t len, const char *what)
{
	errno = 0;
	for (size_t i = 0; i < len; i++)
		if (got[i] != model[from + i])
			wrong(what, from + i);
}

static void do_write(void)
{
	size_t from, len;

	choose(FILE_MAX, &from, &len);
	if (randomly(3))
		from = from % (size + 1);
	note("write %zu bytes at %zu", len, from);
	for (size_t i = 0; i < len; i++)
		model[from + i] = (uint8_t)(randomly(256) | 1);
	if (pwrite(any_fd(), model + from, len, (off_t)from) != (ssize_t)len)
		wrong("short write", from);
	grow(from + len);
}

static void do_read(void)
{
	static uint8_t got[IO_MAX + 4096];
	size_t from, len;
	ssize_t n;

	choose(FILE_MAX, &from, &len);
	if (randomly(8))
		from = from % (size + 1);
	note("read %zu bytes at %zu", len, from);
	n = pread(any_fd(), got, len, (off_t)from);
	if (n != (ssize_t)(from >= size ? 0 : len < size - from ? len : size - from))
		wrong("read of another length", from);
	compare(got, from, (size_t)n, "read of other bytes");
}

static void do_map(void)
{
	uint8_t *map;

	note("map %zu bytes", size);
	if (!size)
		return;
	map = mmap(NULL, size, PROT_READ, MAP_SHARED, any_fd(), 0);
	if (map == MAP_FAILED)
		wrong("mmap", 0);
	compare(map, 0, size, "map of other bytes");
	munmap(map, size);
}

static void do_truncate(void)
{
	size_t to = randomly(randomly(3) ? (uint32_t)size + 1 : FILE_MAX);
	bool named = randomly(2);

	note("truncate to %zu %s", to, named ? "by name" : "by descriptor");
	if ((named ? truncate(path, (off_t)to) : ftruncate(any_fd(), (off_t)to)) < 0)
		wrong("truncate", to);
	if (to < size)
		memset(model + to, 0, size - to);
	size = to;
}

/* Part of the file becomes zeros, or room is made. */
static void do_allocate(void)
{
	static const int modes[] = {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    FALLOC_FL_ZERO_RANGE, 0};
	int mode = modes[randomly(3)];
	size_t from, len;

	choose(FILE_MAX, &from, &len);
	note("fallocate mode %d, %zu bytes at %zu", mode, len, from);
	if (fallocate(any_fd(), mode, (off_t)from, (off_t)len) < 0) {
		if (errno != EOPNOTSUPP)
			wrong("fallocate", from);
		return;
	}
	if (mode)
		memset(model + from, 0, len);
	if (!(mode & FALLOC_FL_KEEP_SIZE))
		grow(from + len);
}

static void do_copy(void)
{
	size_t from, len, to;
	off_t in, out;

	choose(size + 1, &from, &len);
	if (len > size - from)
		len = size - from;
	to = randomly(FILE_MAX - IO_MAX - 4096);
	note("copy %zu bytes from %zu to %zu", len, from, to);
	if ((from < to ? from : to) + len > (from < to ? to : from))
		return; /* they overlap */
	for (in = (off_t)from, out = (off_t)to; in < (off_t)(from + len);)
		if (copy_file_range(fds[0], &in, fds[1], &out, from + len - (size_t)in,
				    0) <= 0)
			wrong("copy_file_range", (size_t)in);
	memcpy(model + to, model + from, len);
	if (len)
		grow(to + len);
}

static void do_open(void)
{
	int which = (int)randomly(2);

	note("close and open again");
	if (fds[which] >= 0 && close(fds[which]) < 0)
		wrong("close", 0);
	fds[which] = open(path, O_RDWR | O_CLOEXEC);
	if (fds[which] < 0)
		wrong("open", 0);
}

static void do_rename(void)
{
	char other[4096];

	note("rename there and back");
	snprintf(other, sizeof(other), "%s.renamed", path);
	if (rename(path, other) < 0 || rename(other, path) < 0)
		wrong("rename", 0);
}

static void do_sync(void)
{
	note("fsync");
	if (fsync(any_fd()) < 0)
		wrong("fsync", 0);
}

static void check_size(void)
{
	struct stat st;

	errno = 0;
	if (stat(path, &st) < 0 || st.st_size != (off_t)size)
		wrong("another size by name", (size_t)st.st_size);
	if (fstat(any_fd(), &st) < 0 || st.st_size != (off_t)size)
		wrong("another size by descriptor", (size_t)st.st_size);
}

static void step(void)
{
	static void (*const operations[])(void) = {
	    do_write, do_write,	   do_write, do_write,	  do_read,
	    do_read,  do_read,	   do_read,  do_map,	  do_sync,
	    do_open,  do_truncate, do_copy,  do_allocate, do_rename,
	};

	operations[randomly(sizeof(operations) / sizeof(operations[0]))]();
	check_size();
}

int main(int argc, char **argv)
{
	unsigned long count = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;

	if (!count) {
		fputs("usage: fsx SEED OPERATIONS FILE\n", stderr);
		return 2;
	}
	alarm(LIMIT);
	state = strtoull(argv[1], NULL, 10);
	path = argv[3];
	fds[0] = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	fds[1] = open(path, O_RDWR | O_CLOEXEC);
	if (fds[0] < 0 || fds[1] < 0)
		wrong("open", 0);
	for (; done < count; done++)
		step();
	do_map();
	if (close(fds[0]) < 0 || close(fds[1]) < 0)
		wrong("close", 0);
	printf("%lu operations, %zu bytes\n", done, size);
	return 0;
}
