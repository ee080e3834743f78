/* The codec of requests about files: round trips, every truncation, guests that lie. */
#include "wire/files.h"

#include "tests/unit/put_reply.h"
#include "tests/unit/tap.h"

#include <errno.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct files_attr some_attr = {
    .ino = 0x1122334455667788,
    .dev = 0x99aabbccddeeff00,
    .mode = 0104755,
    .nlink = 3,
    .uid = 1000,
    .gid = 1001,
    .rdev = 0x0801,
    .blksize = 4096,
    .size = 1ull << 40,
    .blocks = 77,
    .atime_ns = -1,
    .mtime_ns = 1234567890123456789,
    .ctime_ns = INT64_MIN,
};

static void is_attr(const struct files_attr *got, const char *what)
{
	const struct files_attr *want = &some_attr;

	ok(got->ino == want->ino && got->dev == want->dev && got->size == want->size &&
	       got->blocks == want->blocks,
	   "%s: numbers of 64 bits", what);
	ok(got->mode == want->mode && got->nlink == want->nlink && got->uid == want->uid &&
	       got->gid == want->gid && got->rdev == want->rdev &&
	       got->blksize == want->blksize,
	   "%s: numbers of 32 bits", what);
	ok(got->atime_ns == want->atime_ns && got->mtime_ns == want->mtime_ns &&
	       got->ctime_ns == want->ctime_ns,
	   "%s: times", what);
}

static int get_request(const struct agent_frame *f)
{
	static struct files_request request;
	struct error err;

	return files_get_request(f, &request, &err);
}

static int get_reply(const struct agent_frame *f)
{
	struct files_reply reply;
	struct error err;

	return files_get_reply(f, &reply, &err);
}

/* The payload cut anywhere, or with a byte more, is refused. The copies lie in memory
 * of their exact size, so that a sanitizer sees a read past the end. */
static void exactly_its_size(const struct agent_frame *f,
			     int (*get)(const struct agent_frame *), const char *what)
{
	unsigned int refused = 0;

	for (uint32_t len = 0; len <= f->len + 1; len++) {
		uint8_t *exact = calloc(1, len ? len : 1);
		struct agent_frame cut = *f;

		if (!exact)
			abort();
		memcpy(exact, f->payload, len < f->len ? len : f->len);
		cut.payload = exact;
		cut.len = len;
		refused += len != f->len && get(&cut) == -EPROTO;
		free(exact);
	}
	is_int(refused, f->len + 1, "%s: every other length is refused", what);
}

static void a_request_comes_back(void)
{
	static struct files_request got;
	const struct files_request request = {
	    .op = FILES_WRITE,
	    .flags = FILES_O_APPEND | FILES_SET_MODE,
	    .handle = 0xfffffffe,
	    .handle2 = 7,
	    .mode = 0644,
	    .uid = 12,
	    .gid = 34,
	    .offset = 1ull << 50,
	    .offset2 = 1ull << 51,
	    .size = UINT64_MAX,
	    .owner = 0xdeadbeefcafe,
	    .atime_ns = -5,
	    .mtime_ns = 6,
	    .path = "root/a\nb\xff",
	    .path2 = "x",
	    .data = (const uint8_t *)"da\0ta",
	    .data_len = 5,
	};
	struct buf b = {0};
	struct agent_frame f;

	is_int(files_put_request(&b, 3, 99, &request), 0, "request: written");
	is_int(agent_next(&b, &f, NULL), 1, "request: one frame");
	ok(f.type == AGENT_FILES && f.stream == 99 && f.epoch == 3 &&
	       b.len == agent_frame_size(&f),
	   "request: its header");
	is_int(files_get_request(&f, &got, NULL), 0, "request: read");
	ok(got.op == request.op && got.flags == request.flags &&
	       got.handle == request.handle && got.handle2 == request.handle2 &&
	       got.mode == request.mode && got.uid == request.uid && got.gid == request.gid,
	   "request: numbers of 32 bits");
	ok(got.offset == request.offset && got.offset2 == request.offset2 &&
	       got.size == request.size && got.owner == request.owner &&
	       got.atime_ns == request.atime_ns && got.mtime_ns == request.mtime_ns,
	   "request: numbers of 64 bits");
	is_str(got.path, request.path, "request: path");
	is_str(got.path2, request.path2, "request: second path");
	is_int(got.data_len, 5, "request: length of data");
	is_mem(got.data, request.data, 5, "request: data");
	exactly_its_size(&f, get_request, "request");
	buf_fini(&b);
}

static void the_largest_request_fits(void)
{
	static char path[FILES_PATH_MAX + 2];
	static uint8_t data[FILES_IO_MAX + 1];
	struct files_request request = {
	    .op = FILES_WRITE,
	    .path = path,
	    .path2 = path,
	    .data = data,
	    .data_len = FILES_IO_MAX,
	};
	struct buf b = {0};
	struct agent_frame f;

	memset(path, 'p', FILES_PATH_MAX);
	is_int(files_put_request(&b, 1, 1, &request), 0, "the largest request is written");
	is_int(agent_next(&b, &f, NULL), 1, "and is a frame");
	is_int(get_request(&f), 0, "and is read");
	request.data_len++;
	is_int(files_put_request(&b, 1, 1, &request), -EMSGSIZE, "a byte more is refused");
	request.data_len = 0;
	path[FILES_PATH_MAX] = 'p';
	is_int(files_put_request(&b, 1, 1, &request), -ENAMETOOLONG,
	       "a longer path is refused");
	buf_fini(&b);
}

static void an_operation_has_a_number(void)
{
	static const uint8_t bad[] = {0, FILES_OP_MAX + 1, 255};

	for (size_t i = 0; i < COUNT(bad); i++) {
		struct files_request request = {.op = bad[i]};
		struct buf b = {0};
		struct agent_frame f;

		files_put_request(&b, 1, 1, &request);
		agent_next(&b, &f, NULL);
		is_int(get_request(&f), -EPROTO, "operation %d is refused", bad[i]);
		buf_fini(&b);
	}
}

/* @has: bits, for each of the attributes that a reply may have. */
static void a_reply_comes_back(unsigned int has)
{
	const struct files_reply reply = {
	    .error = 2,
	    .handle = 0xffffffff,
	    .watch = -1,
	    .watch2 = 0x12345678,
	    .value = UINT64_MAX - 1,
	    .has_attr = has & 1,
	    .has_dir = has & 2,
	    .has_attr2 = has & 4,
	    .has_dir2 = has & 8,
	    .links_told = has & 16,
	    .attr = some_attr,
	    .dir = some_attr,
	    .attr2 = some_attr,
	    .dir2 = some_attr,
	    .data = (const uint8_t *)"\0\1\2",
	    .data_len = 3,
	};
	struct files_reply got;
	struct buf b = {0};
	struct agent_frame f;

	put_reply(&b, 8, 5, &reply);
	is_int(agent_next(&b, &f, NULL), 1, "reply: one frame");
	ok(f.type == AGENT_FILES_REPLY && f.stream == 5 && f.epoch == 8 &&
	       b.len == agent_frame_size(&f),
	   "reply: its header");
	is_int(files_get_reply(&f, &got, NULL), 0, "reply: read");
	ok(got.error == 2 && got.handle == 0xffffffff && got.watch == -1 &&
	       got.watch2 == 0x12345678 && got.value == UINT64_MAX - 1,
	   "reply: fields");
	ok(got.has_attr == reply.has_attr && got.has_dir == reply.has_dir &&
	       got.has_attr2 == reply.has_attr2 && got.has_dir2 == reply.has_dir2 &&
	       got.links_told == reply.links_told,
	   "reply: which attributes it has");
	if (got.has_attr)
		is_attr(&got.attr, "reply");
	if (got.has_dir)
		is_attr(&got.dir, "reply, directory");
	if (got.has_attr2)
		is_attr(&got.attr2, "reply, second");
	if (got.has_dir2)
		is_attr(&got.dir2, "reply, second directory");
	is_int(got.data_len, 3, "reply: length of data");
	is_mem(got.data, reply.data, 3, "reply: data");
	exactly_its_size(&f, get_reply, "reply");
	buf_fini(&b);
}

static void the_largest_reply_fits(void)
{
	static uint8_t data[FILES_IO_MAX];
	const struct files_reply reply = {
	    .has_attr = true,
	    .has_dir = true,
	    .has_attr2 = true,
	    .has_dir2 = true,
	    .data = data,
	    .data_len = sizeof(data),
	};
	struct files_reply got;
	struct buf b = {0};
	struct agent_frame f;

	put_reply(&b, 1, 1, &reply);
	is_int(agent_next(&b, &f, NULL), 1, "the largest reply is a frame");
	is_int(files_get_reply(&f, &got, NULL), 0, "and is read");
	buf_fini(&b);
}

static void hostile_replies_are_refused(void)
{
	static const struct {
		const char *what;
		size_t at;
		uint8_t bytes[4];
	} cases[] = {
	    {"a negative error", 0, {0xff, 0xff, 0xff, 0xff}},
	    {"an error of 4096", 0, {0, 0x10, 0, 0}},
	    {"a flag of 32", 24, {32, 0, 0, 0}},
	    {"an attribute that is not there", 24, {1, 0, 0, 0}},
	    {"data of 4 GiB", 25, {0xff, 0xff, 0xff, 0xff}},
	    {"more data than may be", 25, {1, 0, 4, 0}},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct buf b = {0};
		struct agent_frame f;
		struct error err = {0};
		struct files_reply got;

		put_reply(&b, 1, 1, &(struct files_reply){0});
		memcpy(b.data + AGENT_HEADER + cases[i].at, cases[i].bytes,
		       cases[i].at == 24 ? 1 : 4);
		agent_next(&b, &f, NULL);
		is_int(files_get_reply(&f, &got, &err), -EPROTO, "%s", cases[i].what);
		ok(err.text[0], "and a sentence about it");
		buf_fini(&b);
	}
}

/* Return: what files_get_entry() says of an entry with the @len bytes at @name. */
static int entry_named(const char *name, size_t len)
{
	uint8_t room[1024];
	struct cursor c = cursor_into(room, sizeof(room));
	struct files_entry entry = {.attr = some_attr};

	files_put_entry(&c, &entry);
	c.p -= 4; /* over the empty name */
	cursor_put_bytes(&c, name, len);
	c = cursor_over(room, sizeof(room) - cursor_left(&c));
	return files_get_entry(&c, &entry);
}

static void entries_come_back(void)
{
	static const char *const names[] = {"a", "line\nbreak", "\xff\xfe", "..."};
	uint8_t room[2048];
	struct cursor c = cursor_into(room, sizeof(room));
	struct files_entry entry = {.attr = some_attr, .cookie = UINT64_MAX};
	size_t len;

	for (size_t i = 0; i < COUNT(names); i++) {
		strcpy(entry.name, names[i]);
		files_put_entry(&c, &entry);
	}
	len = sizeof(room) - cursor_left(&c);
	c = cursor_over(room, len);
	for (size_t i = 0; i < COUNT(names); i++) {
		is_int(files_get_entry(&c, &entry), 1, "an entry");
		is_str(entry.name, names[i], "its name");
	}
	is_attr(&entry.attr, "entry");
	ok(entry.cookie == UINT64_MAX, "its cookie");
	is_int(files_get_entry(&c, &entry), 0, "and no more");
	c = cursor_over(room, len - 1);
	for (size_t i = 0; i + 1 < COUNT(names); i++)
		files_get_entry(&c, &entry);
	is_int(files_get_entry(&c, &entry), -EPROTO, "half an entry is refused");
}

static void hostile_names_are_refused(void)
{
	char longest[FILES_NAME_MAX + 2];

	memset(longest, 'n', sizeof(longest));
	is_int(entry_named(longest, FILES_NAME_MAX), 1, "a name of 255 bytes");
	is_int(entry_named(longest, FILES_NAME_MAX + 1), -EPROTO, "one of 256");
	is_int(entry_named("", 0), -EPROTO, "no name");
	is_int(entry_named(".", 1), -EPROTO, "\".\"");
	is_int(entry_named("..", 2), -EPROTO, "\"..\"");
	is_int(entry_named("a/b", 3), -EPROTO, "one with a slash");
	is_int(entry_named("/", 1), -EPROTO, "a slash");
	is_int(entry_named("a\0b", 3), -EPROTO, "one with a NUL");
}

static void paths_are_checked(void)
{
	static const char *const good[] = {"", "a", "a/b", ".a/..b/...", "a b/\xff"};
	static const char *const bad[] = {"/",	"/a",	"a/",	"a//b",	 ".",
					  "..", "a/..", "../a", "a/./b", "./a"};
	static char path[FILES_PATH_MAX + 2];

	for (size_t i = 0; i < COUNT(good); i++)
		ok(files_path_ok(good[i]), "the path '%s' is good", good[i]);
	for (size_t i = 0; i < COUNT(bad); i++)
		ok(!files_path_ok(bad[i]), "the path '%s' is not", bad[i]);
	for (size_t i = 0; i < FILES_PATH_MAX; i++)
		path[i] = i % 2 ? '/' : 'd';
	path[FILES_PATH_MAX - 1] = 'd';
	ok(files_path_ok(path), "a path of 4096 bytes is good");
	path[FILES_PATH_MAX] = 'd';
	ok(!files_path_ok(path), "one of 4097 is not");
	memset(path, 'd', FILES_NAME_MAX + 1);
	path[FILES_NAME_MAX + 1] = '\0';
	ok(!files_path_ok(path), "nor one with a component of 256");
}

static void statfs_comes_back(void)
{
	const struct files_statfs st = {4096, 1, 2, 3, 4, UINT64_MAX, 255};
	uint8_t room[128];
	struct cursor c = cursor_into(room, sizeof(room));
	struct files_reply reply = {.data = room};
	struct files_statfs got;

	files_put_statfs(&c, &st);
	reply.data_len = (uint32_t)(sizeof(room) - cursor_left(&c));
	is_int(files_get_statfs(&reply, &got), 0, "statfs: read");
	ok(got.bsize == 4096 && got.blocks == 1 && got.bfree == 2 && got.bavail == 3 &&
	       got.files == 4 && got.ffree == UINT64_MAX && got.namelen == 255,
	   "statfs: fields");
	reply.data_len--;
	is_int(files_get_statfs(&reply, &got), -EPROTO, "statfs: a byte less is refused");
}

int main(void)
{
	a_request_comes_back();
	the_largest_request_fits();
	an_operation_has_a_number();
	for (unsigned int has = 0; has < 32; has++)
		a_reply_comes_back(has);
	the_largest_reply_fits();
	hostile_replies_are_refused();
	entries_come_back();
	hostile_names_are_refused();
	paths_are_checked();
	statfs_comes_back();
	return done_testing();
}
