/*
 * Content: reading, writing, sizes, holes, maps, and files that lose their names.
 */
#include "tests/tools/conform.h"

#include <sys/mman.h>
#include <sys/uio.h>

#define MIB    ((size_t)1 << 20)
#define APPEND 150 /* records of each of two writers */
#define RECORD 61

static int open_new(const char *name)
{
	return open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
}

static off_t size_of(const char *name)
{
	return stat_of(name).st_size;
}

static void offsets(void)
{
	int fd = open_new("offsets");
	char got[64] = "";
	struct iovec out[2] = {{(void *)(uintptr_t) "ab", 2},
			       {(void *)(uintptr_t) "cde", 3}};
	struct iovec in[2] = {{got, 1}, {got + 1, 4}};

	is_int(write(fd, "0123456789", 10), 10, "write");
	is_int(pwrite(fd, "xy", 2, 4), 2, "pwrite: in the middle");
	is_int(pread(fd, got, sizeof(got), 0), 10, "pread: to the end");
	is_mem(got, "0123xy6789", 10, "what was written");
	is_int(pread(fd, got, 4, 8), 2, "pread: over the end is short");
	is_int(pread(fd, got, 4, 10), 0, "pread: at the end");
	is_int(pread(fd, got, 4, 1000), 0, "pread: behind it");
	is_int(lseek(fd, -2, SEEK_END), 8, "lseek: from the end");
	is_int(read(fd, got, 64), 2, "read from there");
	fails(EINVAL, lseek(fd, -1, SEEK_SET), "lseek: before the start");
	is_int(pwritev(fd, out, 2, 20), 5, "pwritev: behind the end");
	is_int(preadv(fd, in, 2, 20), 5, "preadv");
	is_mem(got, "abcde", 5, "gathers what was scattered");
	is_int(pread(fd, got, 10, 10), 10, "what is between");
	is_mem(got, "\0\0\0\0\0\0\0\0\0\0", 10, "is zeros");
	is_int(size_of("offsets"), 25, "the size is seen by the name");
	works(fsync(fd), "fsync");
	works(fdatasync(fd), "fdatasync");
	works(syncfs(fd), "syncfs");
	works(close(fd), "close");
	fails(EBADF, write(fd, "x", 1), "write: closed");
}

static void wrong_descriptors(void)
{
	char byte = 0;
	int fd;

	make_file("plain", "text");
	fd = open("plain", O_RDONLY | O_CLOEXEC);
	fails(EBADF, write(fd, "x", 1), "write: opened for reading");
	fails(EINVAL, ftruncate(fd, 0), "ftruncate: opened for reading");
	close(fd);
	fd = open("plain", O_WRONLY | O_CLOEXEC);
	fails(EBADF, read(fd, &byte, 1), "read: opened for writing");
	close(fd);
	fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fails(EISDIR, read(fd, &byte, 1), "read: a directory");
	works(fsync(fd), "fsync: a directory");
	close(fd);
	fails(EISDIR, truncate(".", 0), "truncate: a directory");
	fails(EINVAL, truncate("plain", -1), "truncate: a negative size");
	fails(EFBIG, truncate("plain", INT64_MAX), "truncate: an impossible size");
	is_str(content("plain"), "text", "none of that changed it");
}

static void sizes(void)
{
	int fd = open_new("sizes");
	char got[16];

	works(write(fd, "abcdef", 6), "write");
	works(ftruncate(fd, 3), "ftruncate: shorter");
	is_int(size_of("sizes"), 3, "is seen");
	works(truncate("sizes", 8), "truncate: longer");
	is_int(pread(fd, got, 16, 0), 8, "an open file has the size");
	is_mem(got, "abc\0\0\0\0\0", 8, "and zeros where it grew");
	works(truncate("sizes", 100000), "truncate: more than a page");
	works(pwrite(fd, "end", 3, 99997), "and a write there");
	works(ftruncate(fd, 5), "ftruncate: to less than a page");
	works(ftruncate(fd, 100000), "and back");
	is_int(pread(fd, got, 3, 99997), 3, "what was there");
	is_mem(got, "\0\0\0", 3, "is gone");
	close(fd);
}

static void holes(void)
{
	const off_t far = (off_t)5 << 30;
	int fd = open_new("holes");
	char byte = 0;

	works(pwrite(fd, "x", 1, far), "pwrite: at 5 GiB");
	is_int(size_of("holes"), far + 1, "the size has more than 32 bits");
	ok(stat_of("holes").st_blocks < 2048, "the hole takes no blocks");
	is_int(pread(fd, &byte, 1, far), 1, "pread: there");
	is_int(byte, 'x', "gives the byte");
	is_int(lseek(fd, 0, SEEK_HOLE), 0, "SEEK_HOLE: the start");
	ok(lseek(fd, 0, SEEK_DATA) > far - 65536, "SEEK_DATA: near the byte");
	is_int(lseek(fd, far, SEEK_HOLE), far + 1, "SEEK_HOLE: the end is one");
	fails(ENXIO, lseek(fd, far + 1, SEEK_DATA), "SEEK_DATA: at the end");
	close(fd);
	unlink("holes");
}

static void allocations(void)
{
	int fd = open_new("allocated");
	char got[8192];

	if (fallocate(fd, 0, 0, 65536) < 0 && errno == EOPNOTSUPP) {
		skip(1, "no fallocate here");
		close(fd);
		return;
	}
	is_int(size_of("allocated"), 65536, "fallocate sets the size");
	works(fallocate(fd, FALLOC_FL_KEEP_SIZE, 65536, 65536), "fallocate: KEEP_SIZE");
	is_int(size_of("allocated"), 65536, "leaves it");
	memset(got, 'q', sizeof(got));
	works(pwrite(fd, got, sizeof(got), 0), "data");
	works(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096),
	      "fallocate: PUNCH_HOLE");
	is_int(pread(fd, got, sizeof(got), 0), sizeof(got),
	       "the file is as long as it was");
	is_int(got[4095], 'q', "it has what was before the hole");
	is_int(got[4096], 0, "and zeros in it");
	works(fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, 4096), "fallocate: ZERO_RANGE");
	is_int(pread(fd, got, 1, 0), 1, "read");
	is_int(got[0], 0, "zeros");
	fails(EINVAL, fallocate(fd, 0, 0, 0), "fallocate: nothing");
	fails(EINVAL, fallocate(fd, 0, -1, 10), "fallocate: a negative offset");
	close(fd);
	fd = open("allocated", O_RDONLY | O_CLOEXEC);
	fails(EBADF, fallocate(fd, 0, 0, 10), "fallocate: opened for reading");
	close(fd);
}

/* Bytes that differ from place to place, so that no two pages are alike. */
static void fill(uint8_t *data, size_t len, uint32_t seed)
{
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1664525 + 1013904223;
		data[i] = (uint8_t)(seed >> 24);
	}
}

static void large_io(void)
{
	static uint8_t data[3 * MIB + 5], got[sizeof(data)];
	int fd = open_new("large");
	uint8_t *map;
	off_t from = 0, to = 0;

	fill(data, sizeof(data), 1);
	is_int(write(fd, data, sizeof(data)), sizeof(data), "write: 3 MiB at once");
	is_int(pread(fd, got, sizeof(got), 0), sizeof(got), "read: all at once");
	is_mem(got, data, sizeof(data), "they come back");
	is_int(pread(fd, got, 2 * MIB, 12345), 2 * MIB, "read: not on a page");
	is_mem(got, data + 12345, 2 * MIB, "they are right");
	map = mmap(NULL, sizeof(data), PROT_READ, MAP_SHARED, fd, 0);
	if (ok(map != MAP_FAILED, "mmap: for reading"))
		is_mem(map, data, sizeof(data), "shows the same");
	is_int(pwrite(fd, "changed", 7, MIB - 3), 7, "a write");
	if (map != MAP_FAILED)
		is_mem(map + MIB - 3, "changed", 7, "is seen in the map");
	munmap(map, sizeof(data));
	map = mmap(NULL, sizeof(data), PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (ok(map != MAP_FAILED, "mmap: a private one"))
		map[0] = (uint8_t)~data[0];
	munmap(map, sizeof(data));
	is_int(pread(fd, got, 1, 0), 1, "what is written there");
	is_int(got[0], data[0], "is not in the file");
	memcpy(data + MIB - 3, "changed", 7);
	close(fd);
	fd = open("large", O_RDONLY | O_CLOEXEC);
	int copy = open_new("copy");

	while (to < (off_t)sizeof(data) &&
	       copy_file_range(fd, &from, copy, &to, sizeof(data) - (size_t)to, 0) > 0)
		;
	is_int(to, sizeof(data), "copy_file_range: all of it");
	is_int(pread(copy, got, sizeof(got), 0), sizeof(got), "the copy");
	is_mem(got, data, sizeof(data), "is equal");
	close(copy);
	close(fd);
}

static void nameless(void)
{
	char got[8] = "";
	struct stat st;
	int fd = open_new("doomed"), again;

	works(write(fd, "before", 6), "write");
	again = open("doomed", O_RDONLY | O_CLOEXEC);
	works(unlink("doomed"), "unlink: an open file");
	fails(ENOENT, access("doomed", F_OK), "its name is gone");
	is_int(pread(again, got, 8, 0), 6, "read: it is still there");
	works(pwrite(fd, "after!", 6, 0), "write: so");
	is_int(pread(again, got, 8, 0), 6, "read");
	is_mem(got, "after!", 6, "sees it");
	works(fstat(fd, &st), "fstat");
	is_int(st.st_nlink, 0, "a file with no name");
	works(ftruncate(fd, 2), "ftruncate");
	make_file("doomed", "another");
	is_int(pread(again, got, 8, 0), 2, "a new file of that name is another");
	close(again);
	close(fd);
	fd = open_new("walker");
	works(rename("walker", "runner"), "rename: an open file");
	works(write(fd, "on", 2), "write: goes on");
	is_str(content("runner"), "on", "under its new name");
	make_file("target", "old");
	again = open("target", O_RDONLY | O_CLOEXEC);
	works(rename("runner", "target"), "rename: onto an open file");
	is_int(pread(again, got, 8, 0), 3, "which is what it was");
	is_mem(got, "old", 3, "to who has it open");
	close(again);
	close(fd);
}

static int append_records(char mark)
{
	char record[RECORD];
	int fd = open("appended", O_WRONLY | O_APPEND | O_CLOEXEC);

	memset(record, mark, RECORD - 1);
	record[RECORD - 1] = '\n';
	for (int i = 0; i < APPEND; i++)
		if (write(fd, record, RECORD) != RECORD)
			return 1;
	return errno_of(close(fd));
}

static void appends(void)
{
	static char data[2 * APPEND * RECORD];
	unsigned whole[2] = {0};
	int status, bad = 0, fd;

	make_file("appended", "");
	fflush(stdout);
	for (int i = 0; i < 2; i++)
		if (fork() == 0)
			_exit(append_records((char)('a' + i)));
	while (wait(&status) > 0)
		bad |= status;
	is_int(bad, 0, "two writers append at once");
	is_int(size_of("appended"), sizeof(data), "all is there");
	fd = open("appended", O_RDONLY | O_CLOEXEC);
	is_int(read(fd, data, sizeof(data)), sizeof(data), "read");
	for (size_t at = 0; at < sizeof(data); at += RECORD) {
		size_t same = strspn(data + at, data[at] == 'a' ? "a" : "b");

		if (same == RECORD - 1 && data[at + same] == '\n')
			whole[data[at] == 'b']++;
	}
	is_int(whole[0], APPEND, "each record of the first is whole");
	is_int(whole[1], APPEND, "and of the second");
	close(fd);
	fd = open("appended", O_RDWR | O_APPEND | O_CLOEXEC);
	lseek(fd, 0, SEEK_SET);
	works(write(fd, "end", 3), "O_APPEND: a write after a seek");
	is_int(size_of("appended"), sizeof(data) + 3, "is at the end");
	close(fd);
}

#define RACERS 8
#define RACES  12

static int race(void)
{
	char name[16];
	int won = 0;

	for (int i = 0; i < RACES; i++) {
		snprintf(name, sizeof(name), "race%d", i);
		int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

		won += fd >= 0;
		if (fd >= 0)
			close(fd);
		else if (errno != EEXIST)
			return 255;
	}
	return won;
}

static void exclusive_creation(void)
{
	int status, won = 0;

	fflush(stdout);
	for (int i = 0; i < RACERS; i++)
		if (fork() == 0)
			_exit(race());
	while (wait(&status) > 0)
		won += WEXITSTATUS(status);
	is_int(won, RACES, "O_EXCL: of %d racers one wins, each time", RACERS);
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	offsets();
	wrong_descriptors();
	sizes();
	holes();
	allocations();
	large_io();
	nameless();
	appends();
	exclusive_creation();
	return end();
}
