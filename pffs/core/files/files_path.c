#include "pffs/core/files/files_path.h"

#include <errno.h>
#include <string.h>

/* The finalizer of splitmix64: a permutation in which every bit depends on all. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

/* The control files' numbers have the highest bit clear. */
uint64_t files_ino(uint64_t serial, const struct files_attr *attr)
{
	return mix(mix(mix(serial) ^ attr->dev) ^ attr->ino) | UINT64_C(1) << 63;
}

bool files_attr_ok(const struct files_attr *attr)
{
	switch (attr->mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFLNK:
	case S_IFIFO:
	case S_IFSOCK:
	case S_IFCHR:
	case S_IFBLK:
		break;
	default:
		return false;
	}
	return !(attr->mode & ~(uint32_t)(S_IFMT | 07777)) && attr->size <= INT64_MAX &&
	       attr->blocks <= INT64_MAX / 512;
}

/*
 * A path below the root that is being resolved, as text: @up times "../", then the
 * components that were seen since.
 */
struct target {
	char *to;
	size_t room, used;
	unsigned up, depth;
};

static int add(struct target *t, const char *name, size_t len)
{
	if (t->used + (t->used > 0) + len >= t->room)
		return -ENAMETOOLONG;
	if (t->used)
		t->to[t->used++] = '/';
	memcpy(t->to + t->used, name, len);
	t->used += len;
	return 0;
}

/* ".." takes the last component away; what has none left goes up, but not too far. */
static int go_up(struct target *t)
{
	size_t ups = t->up ? 3 * (size_t)t->up - 1 : 0;

	if (t->used > ups) {
		while (t->used > ups && t->to[t->used - 1] != '/')
			t->used--;
		t->used -= t->used > 0;
		return 0;
	}
	if (t->up == t->depth)
		return 0;
	t->up++;
	return add(t, "..", 2);
}

static int go_to_root(struct target *t)
{
	int r = 0;

	while (r == 0 && t->up < t->depth)
		r = go_up(t);
	return r;
}

static int take_component(struct target *t, const char *name, size_t len)
{
	if (!len || (len == 1 && name[0] == '.'))
		return 0;
	if (len == 2 && name[0] == '.' && name[1] == '.')
		return go_up(t);
	return add(t, name, len);
}

int files_link_target(unsigned depth, const void *target, size_t len, char *to, size_t room)
{
	struct target t = {.to = to, .room = room, .depth = depth};
	const char *at = target, *end = at + len;
	int r = 0;

	if (!len || len > FILES_PATH_MAX || memchr(target, '\0', len))
		return -EIO;
	if (*at == '/')
		r = go_to_root(&t);
	while (r == 0 && at < end) {
		const char *slash = memchr(at, '/', (size_t)(end - at));
		size_t n = (size_t)((slash ? slash : end) - at);

		r = take_component(&t, at, n);
		at += n + 1;
	}
	if (r == 0 && !t.used)
		r = add(&t, ".", 1);
	if (r == 0)
		to[t.used] = '\0';
	return r;
}
