/*
 * The layered disk against a plain array: random reads, writes and discards,
 * over a base with holes.
 */
#include "vmctl/disk.h"
#include "tests/unit/tap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define SIZE (40u * DISK_CLUSTER + 7 * DISK_SECTOR) /* the last cluster is short */

static uint8_t models[2][SIZE], *model = models[0], bytes[SIZE];
static char path[] = "/tmp/pffs-disk-XXXXXX";
static unsigned seed = 20261;

static unsigned below(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

static void scramble(uint8_t *p, size_t len)
{
	while (len--)
		*p++ = (uint8_t)rand_r(&seed);
}

/* A base file: data, holes, and data that is zeros. */
static void make_base(void)
{
	int fd = mkstemp(path);

	memset(model, 0, SIZE);
	for (unsigned i = 0; i < SIZE / DISK_CLUSTER; i++) {
		uint8_t *at = model + i * DISK_CLUSTER;

		if (i % 3 == 0)
			scramble(at, DISK_CLUSTER);
		else if (i % 3 == 1 && i % 2)
			scramble(at + 5 * DISK_SECTOR, 3 * DISK_SECTOR);
		else if (i % 5)
			continue; /* a hole */
		if (pwrite(fd, at, DISK_CLUSTER, (off_t)(i * DISK_CLUSTER)) !=
		    (ssize_t)DISK_CLUSTER)
			exit(1);
	}
	scramble(model + SIZE - 2 * DISK_SECTOR, 2 * DISK_SECTOR);
	if (pwrite(fd, model + SIZE - 2 * DISK_SECTOR, 2 * DISK_SECTOR,
		   SIZE - 2 * DISK_SECTOR) != 2 * DISK_SECTOR)
		exit(1);
	close(fd);
}

/* @len bytes at @p as buffers of uneven sizes. */
static unsigned cut(struct iovec *iov, unsigned max, uint8_t *p, size_t len)
{
	unsigned n = 0;

	while (len) {
		size_t piece = n + 1 == max ? len : 1 + below(70000);

		if (piece > len)
			piece = len;
		iov[n++] = (struct iovec){p, piece};
		p += piece;
		len -= piece;
	}
	return n;
}

static int do_read(struct disk *disk, uint64_t offset, size_t len)
{
	struct iovec iov[100];
	struct iov_cursor cur = iov_at(iov, cut(iov, 100, bytes, len));

	return disk_read(disk, offset, &cur, len);
}

static int do_write(struct disk *disk, uint64_t offset, size_t len)
{
	struct iovec iov[100];
	struct iov_cursor cur = iov_at(iov, cut(iov, 100, bytes, len));

	return disk_write(disk, offset, &cur, len);
}

static void is_model(struct disk *disk, const char *what)
{
	memset(bytes, 0xaa, SIZE);
	is_int(do_read(disk, 0, SIZE), 0, "%s: reading all of it", what);
	is_mem(bytes, model, SIZE, "%s: it is what was written", what);
}

/* One random operation on the disk and on the model. Return: whether it failed. */
static bool random_step(struct disk *disk)
{
	unsigned sectors = SIZE / DISK_SECTOR, at = below(sectors);
	unsigned most = below(4) ? 40 : 700, n = 1 + below(most);
	uint64_t offset;
	size_t len;

	if (!below(3)) { /* whole clusters */
		at -= at % (DISK_CLUSTER / DISK_SECTOR);
		n = (1 + below(3)) * (DISK_CLUSTER / DISK_SECTOR);
	}
	if (n > sectors - at)
		n = sectors - at;
	offset = (uint64_t)at * DISK_SECTOR;
	len = (size_t)n * DISK_SECTOR;
	switch (below(5)) {
	case 0:
		memset(model + offset, 0, len);
		return disk_zero(disk, offset, len) < 0;
	case 1:
	case 2:
		scramble(bytes, 64);
		memcpy(bytes + len - 64, bytes, 64);
		memcpy(model + offset, bytes, len);
		return do_write(disk, offset, len) < 0;
	default:
		return do_read(disk, offset, len) < 0 ||
		       memcmp(bytes, model + offset, len) != 0;
	}
}

static void test_layered(void)
{
	struct disk disk;
	struct error err = {0};
	unsigned bad = 0;

	is_int(disk_open_layered(&disk, path, 0, &err), 0, "a layered disk %s", err.text);
	is_int(disk.size, SIZE, "has the size of its base");
	ok(!disk_read_only(&disk), "and is writable");
	is_int(disk_allocated(&disk), 0, "nothing is written yet");
	is_model(&disk, "untouched");
	for (unsigned i = 0; i < 20000; i++)
		bad += random_step(&disk);
	is_int(bad, 0, "20000 random operations");
	is_model(&disk, "after them");
	memset(model, 0, SIZE);
	is_int(disk_zero(&disk, 0, SIZE), 0, "discarding all of it");
	is_model(&disk, "discarded");
	is_int(disk_allocated(&disk), 0, "gives all room back");
	disk_close(&disk);
}

/* What fork(2) makes of a sealed disk in the child. */
static struct disk twin_of(const struct disk *disk)
{
	size_t map = (SIZE + DISK_CLUSTER - 1) / DISK_CLUSTER * sizeof(*disk->map);
	struct disk twin = *disk;

	for (unsigned i = 0; i <= DISK_LAYERS_MAX; i++)
		if (disk->fd[i] >= 0)
			twin.fd[i] = dup(disk->fd[i]);
	twin.map = malloc(map);
	twin.scratch = malloc(DISK_CLUSTER);
	memcpy(twin.map, disk->map, map);
	return twin;
}

/* Parent and child write in turn, each with a model of its own. */
static void test_fork(const uint8_t *base)
{
	struct disk disk, twin;
	struct error err = {0};
	unsigned bad = 0;

	memcpy(models[0], base, SIZE);
	disk_open_layered(&disk, path, 0, &err);
	for (unsigned i = 0; i < 500; i++)
		bad += random_step(&disk);
	is_int(disk_seal(&disk, &err), 0, "a disk is sealed %s", err.text);
	twin = twin_of(&disk);
	is_int(disk_part(&twin, &err), 0, "a fork takes a top of its own %s", err.text);
	memcpy(models[1], models[0], SIZE);
	for (unsigned i = 0; i < 4000; i++) {
		model = models[i % 2];
		bad += random_step(i % 2 ? &twin : &disk);
	}
	is_int(bad, 0, "parent and fork, 4500 random operations");
	model = models[1];
	is_model(&twin, "the fork");
	disk_close(&twin);
	model = models[0];
	is_model(&disk, "the parent");
	disk_close(&disk);
}

static unsigned open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

/* A layer that holds nothing any more is not kept, so a small disk has few. */
static void test_generations(const uint8_t *base)
{
	struct disk disk;
	struct error err = {0};
	unsigned bad = 0, most = 0, files = open_files();

	memcpy(model, base, SIZE);
	disk_open_layered(&disk, path, 0, &err);
	disk_seal(&disk, &err);
	is_int(disk.layers, 2, "a disk without writes needs no new top");
	for (unsigned i = 0; i < 3 * DISK_LAYERS_MAX; i++) {
		bad += random_step(&disk) + random_step(&disk);
		bad += disk_seal(&disk, &err) < 0;
		most = disk.layers > most ? disk.layers : most;
	}
	is_int(bad, 0, "%d generations %s", 3 * DISK_LAYERS_MAX, err.text);
	is_model(&disk, "after them");
	ok(most <= SIZE / DISK_CLUSTER + 3, "%u layers for %u clusters", most,
	   (unsigned)(SIZE / DISK_CLUSTER) + 1);
	is_int(open_files() - files, disk.layers, "and a file for each");
	memset(model, 0, SIZE);
	disk_zero(&disk, 0, SIZE);
	is_int(disk.layers, 2, "a discard of all of it leaves base and top");
	disk_close(&disk);
	is_int(open_files(), files, "closed, it leaves no file");
}

#define MANY   1024 /* clusters */
#define ROUNDS 1000

/* One cluster of @disk is written: it gets a number that no other has. */
static void stamp(struct disk *disk, uint32_t *stamps, uint32_t number)
{
	unsigned cluster = below(MANY);
	struct iovec iov = {&number, sizeof(number)};
	struct iov_cursor cur = iov_at(&iov, 1);

	if (disk_write(disk, cluster * DISK_CLUSTER, &cur, sizeof(number)) == 0)
		stamps[cluster] = number;
}

static unsigned wrong_stamps(struct disk *disk, const uint32_t *stamps)
{
	unsigned bad = 0;

	for (unsigned i = 0; i < MANY; i++) {
		uint32_t number;
		struct iovec iov = {&number, sizeof(number)};
		struct iov_cursor cur = iov_at(&iov, 1);

		bad += disk_read(disk, i * DISK_CLUSTER, &cur, sizeof(number)) < 0 ||
		       number != stamps[i];
	}
	return bad;
}

/* Seal @disk. Return: how many clusters were folded for that. */
static unsigned folded(struct disk *disk, struct error *err)
{
	unsigned top = disk->top, held = disk->held[top];

	if (disk_seal(disk, err) < 0)
		return MANY;
	return disk->held[top] - held;
}

/* More generations than there can be layers, of a disk that could have more. */
static void test_fold(void)
{
	static uint32_t stamps[MANY];
	struct disk disk;
	struct error err = {0};
	unsigned folds = 0, worst = 0, most = 0, files = open_files();

	disk_open_layered(&disk, path, MANY * DISK_CLUSTER, &err);
	disk_zero(&disk, 0, MANY * DISK_CLUSTER);
	for (unsigned i = 1; i <= ROUNDS; i++) {
		unsigned n;

		for (unsigned k = 0; k < 8; k++)
			stamp(&disk, stamps, 8 * i + k);
		n = folded(&disk, &err);
		folds += n > 0;
		worst = n > worst ? n : worst;
		most = disk.layers > most ? disk.layers : most;
	}
	is_int(wrong_stamps(&disk, stamps), 0, "%d seals: it is what was written %s",
	       ROUNDS, err.text);
	ok(folds && worst <= MANY / (DISK_LAYERS_MAX - 2),
	   "%u folds of %u clusters at most", folds, worst);
	is_int(most, DISK_LAYERS_MAX, "no more layers than there can be");
	is_int(open_files() - files, disk.layers, "and a file for each");
	disk_close(&disk);
}

/* A disk that is larger than what it begins as. */
static void test_larger(const uint8_t *base)
{
	struct disk disk;
	struct error err = {0};
	uint64_t size = 64ull << 30, end = size - DISK_CLUSTER;

	memcpy(model, base, SIZE);
	ok(disk_open_layered(&disk, path, SIZE - DISK_SECTOR, &err) == -EINVAL,
	   "a disk cannot be smaller than its image: %s", err.text);
	is_int(disk_open_layered(&disk, path, size, &err), 0, "but larger");
	is_int(disk.size, (int64_t)size, "of 64 GiB");
	is_model(&disk, "larger");
	memset(bytes, 0xaa, DISK_CLUSTER);
	is_int(do_read(&disk, SIZE, DISK_CLUSTER), 0, "across the end of its image");
	ok(!bytes[0] && !memcmp(bytes, bytes + 1, DISK_CLUSTER - 1), "there are zeros");
	memset(bytes, 0x55, DISK_CLUSTER);
	do_write(&disk, SIZE, DISK_SECTOR);
	is_int(do_write(&disk, end, DISK_CLUSTER), 0, "its last cluster can be written");
	is_model(&disk, "written behind the end of its image");
	memset(bytes, 0, DISK_CLUSTER);
	do_read(&disk, end, DISK_CLUSTER);
	ok(bytes[0] == 0x55 && !memcmp(bytes, bytes + 1, DISK_CLUSTER - 1),
	   "and is what was written");
	ok(disk_allocated(&disk) <= 4 * DISK_CLUSTER, "it costs %" PRIu64 " bytes",
	   disk_allocated(&disk));
	is_int(disk_zero(&disk, 0, size), 0, "all of it can be discarded");
	is_int(disk_allocated(&disk), 0, "which gives all room back");
	disk_close(&disk);
}

/* A write to a part of a cluster must not cost what is zeros around it. */
static void test_sparse(void)
{
	struct disk disk;
	struct error err;

	disk_open_layered(&disk, path, 0, &err);
	memset(bytes, 1, DISK_CLUSTER);
	do_write(&disk, 2 * DISK_CLUSTER, 4096); /* a hole of the base */
	ok(disk_allocated(&disk) <= 8192, "4 KiB in a hole cost %" PRIu64 " bytes",
	   disk_allocated(&disk));
	do_write(&disk, 10 * DISK_CLUSTER, 4096); /* zeros that the base stores */
	ok(disk_allocated(&disk) <= 16384,
	   "4 KiB in stored zeros: %" PRIu64 " bytes in all", disk_allocated(&disk));
	disk_close(&disk);
}

static void test_limits(struct disk *disk, const char *what)
{
	is_int(do_read(disk, SIZE, DISK_SECTOR), -EINVAL, "%s: no read behind the end",
	       what);
	is_int(do_read(disk, SIZE - DISK_SECTOR, 2 * DISK_SECTOR), -EINVAL,
	       "%s: no read across the end", what);
	is_int(do_read(disk, UINT64_MAX - 511, DISK_SECTOR), -EINVAL,
	       "%s: no read at the end of all numbers", what);
	is_int(do_read(disk, SIZE - DISK_SECTOR, DISK_SECTOR), 0, "%s: the last sector",
	       what);
}

static void test_write_limits(struct disk *disk)
{
	is_int(do_write(disk, SIZE, DISK_SECTOR), -EINVAL, "no write behind the end");
	is_int(do_write(disk, UINT64_MAX - 511, 1024), -EINVAL,
	       "no write that wraps around");
	is_int(disk_zero(disk, SIZE - DISK_SECTOR, UINT64_MAX), -EINVAL,
	       "no discard that wraps around");
	is_int(disk_zero(disk, SIZE, 0), 0, "discarding nothing is fine");
}

static void test_image(void)
{
	struct disk disk;
	struct error err = {0};

	is_int(disk_open_image(&disk, path, &err), 0, "a read-only image %s", err.text);
	ok(disk_read_only(&disk), "is read-only");
	is_model(&disk, "image");
	is_int(do_write(&disk, 0, DISK_SECTOR), -EROFS, "it takes no write");
	is_int(disk_zero(&disk, 0, DISK_SECTOR), -EROFS, "and no discard");
	test_limits(&disk, "image");
	disk_close(&disk);
}

static void test_refusals(void)
{
	struct disk disk;
	struct error err;

	ok(disk_open_image(&disk, "/nonexistent/image", &err) < 0, "no file: %s", err.text);
	ok(disk_open_layered(&disk, "/dev/null", 0, &err) < 0, "no bytes: %s", err.text);
}

int main(void)
{
	static uint8_t base[SIZE];
	struct disk disk;
	struct error err;

	make_base();
	memcpy(base, model, SIZE);
	test_image();
	if (disk_open_layered(&disk, path, 0, &err) == 0) {
		test_limits(&disk, "layered");
		test_write_limits(&disk);
		disk_close(&disk);
	}
	test_sparse();
	test_layered();
	test_fork(base);
	test_generations(base);
	test_fold();
	test_larger(base);
	test_refusals();
	unlink(path);
	return done_testing();
}
