/* How a guest's files are shown: owners, numbers, targets of links. */
#include "pffs/core/files/files_path.h"

#include "tests/unit/tap.h"

#include <errno.h>
#include <limits.h>

static const char *target(unsigned depth, const char *text)
{
	static char shown[PATH_MAX];
	int r = files_link_target(depth, text, strlen(text), shown, sizeof(shown));

	return r == 0 ? shown : r == -EIO ? "EIO" : "ENAMETOOLONG";
}

static void links(void)
{
	is_str(target(0, "file"), "file", "a name next to the link");
	is_str(target(2, "a/b/c"), "a/b/c", "a path below it");
	is_str(target(2, "../x"), "../x", "a path beside its directory");
	is_str(target(2, "../../x"), "../../x", "a path in the root");
	is_str(target(2, "../../../x"), "../../x", "none above the root");
	is_str(target(0, "../../../../etc/shadow"), "etc/shadow", "however far it goes");
	is_str(target(0, "/etc/shadow"), "etc/shadow", "the root is the guest's");
	is_str(target(3, "/etc/shadow"), "../../../etc/shadow", "from anywhere");
	is_str(target(1, "/"), "..", "the root itself");
	is_str(target(0, "/"), ".", "in the root");
	is_str(target(0, ".."), ".", "and above it");
	is_str(target(1, "."), ".", "the directory itself");
	is_str(target(2, "a/../b"), "b", "what goes up is resolved");
	is_str(target(2, "a/../../../../b"), "../../b", "also where it leaves the root");
	is_str(target(2, "/a/../../../b"), "../../b", "and from the root");
	is_str(target(1, "../a/../../b/.."), "..", "back and forth");
	is_str(target(1, "a//./b/"), "a/b", "what means nothing is left out");
	is_str(target(1, "..."), "...", "three dots are a name");
	is_str(target(1, "..x/.y"), "..x/.y", "and so is what begins with dots");
	is_str(target(1, "\xff\n/ "), "\xff\n/ ", "a name has any bytes");
	is_str(target(1, ""), "EIO", "an empty target is none");
}

/* Whatever the target is, what is shown has at most @depth "..", in front. */
static bool stays_inside(unsigned depth, const char *shown)
{
	unsigned ups = 0;
	bool named = false;

	if (*shown == '/')
		return false;
	for (const char *at = shown; *at; at += strcspn(at, "/"), at += *at == '/') {
		if (strcspn(at, "/") == 2 && at[0] == '.' && at[1] == '.') {
			if (named || ++ups > depth)
				return false;
		} else {
			named = true;
		}
	}
	return true;
}

/* Below @limit; the same numbers in each run. */
static unsigned draw(unsigned limit)
{
	static uint64_t state = 1;

	state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (unsigned)(state >> 33) % limit;
}

static void hostile_links(void)
{
	static const char *const parts[] = {"..", ".", "/", "a", "//", "../", "b/", "/.."};
	char text[256], shown[PATH_MAX];
	bool good = true;

	for (int i = 0; i < 20000 && good; i++) {
		unsigned depth = draw(5);

		text[0] = '\0';
		for (int n = (int)draw(12); n >= 0; n--)
			strcat(text, parts[draw(8)]);
		good = files_link_target(depth, text, strlen(text), shown, sizeof(shown)) ==
			   0 &&
		       stays_inside(depth, shown);
		if (!good)
			diag("%s at depth %u: %s", text, depth, shown);
	}
	ok(good, "20,000 random targets stay below the root");
	is_int(files_link_target(1, "a\0b", 3, shown, sizeof(shown)), -EIO, "no NUL");
	memset(text, 'a', sizeof(text));
	is_int(files_link_target(1, text, 200, shown, 200), -ENAMETOOLONG, "nor too long");
	is_int(files_link_target(1, text, 199, shown, 200), 0, "but what just fits");
	is_int(files_link_target(60, "/x", 2, shown, 100), -ENAMETOOLONG, "with its dots");
}

static void owners(void)
{
	is_int(files_swap_id(0, 1000), 1000, "root is the owner");
	is_int(files_swap_id(1000, 1000), 0, "whose number is root");
	is_int(files_swap_id(33, 1000), 33, "others are what they are");
	is_int(files_swap_id(0, 0), 0, "root's sandbox: root is root");
	is_int(files_swap_id(1000, 0), 1000, "and all others themselves");
}

static bool attr_is_ok(uint32_t mode, uint64_t size, uint64_t blocks)
{
	const struct files_attr attr = {.mode = mode, .size = size, .blocks = blocks};

	return files_attr_ok(&attr);
}

static void attributes(void)
{
	const struct files_attr a = {.ino = 5, .dev = 1}, b = {.ino = 5, .dev = 2},
				c = {.ino = 6, .dev = 1};

	ok(attr_is_ok(S_IFREG | 04755, INT64_MAX, 0), "a file of any size that stat knows");
	ok(!attr_is_ok(S_IFREG, (uint64_t)INT64_MAX + 1, 0), "and none above");
	ok(!attr_is_ok(S_IFREG, 0, UINT64_MAX), "nor of as many blocks");
	ok(!attr_is_ok(0644, 0, 0), "a type is none");
	ok(!attr_is_ok(S_IFMT | 0644, 0, 0), "nor all");
	ok(!attr_is_ok(S_IFREG | 1u << 20, 0, 0), "no other bits");
	ok(files_ino(1, &a) == files_ino(1, &a), "an inode has a number");
	ok(files_ino(1, &a) != files_ino(1, &b), "another in another layer");
	ok(files_ino(1, &a) != files_ino(1, &c), "and for another inode");
	ok(files_ino(1, &a) != files_ino(2, &a), "and in another sandbox");
}

int main(void)
{
	links();
	hostile_links();
	owners();
	attributes();
	return done_testing();
}
