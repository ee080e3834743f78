/*
 * Fuzz target: a tar that a client has taken out into a directory of a sandbox, as the API
 * does it: by libarchive in a thread, and by what makes of its records files of the guest.
 * The input is a script of headers, whose checksums are right, with the names and numbers
 * of its choice, and of bytes that are none. Whatever is in it, nothing is asked of the
 * guest that is not in that directory, and there is an end.
 */
#include "tests/fuzz/threads.h"
#include "tests/fuzz/tokens.h"
#include "tests/fuzz/world.h"

#include "pffs/core/files/files.h"
#include "pffs/core/files/tar_in.h"

#include <signal.h>

#define DIRECTORY "d"
#define BLOCK	  512u
#define COUNT(of) (sizeof(of) / sizeof((of)[0]))

static const char *const words[] = {
    "a",
    "d",
    "d/",
    "e",
    "n",
    "n/",
    "/",
    "//",
    "./",
    "../",
    "..",
    ".",
    "/etc/passwd",
    "x/../../y",
    "\xff",
    "\xc3\xa4",
    "=",
    "\n",
    " ",
    "11 path=a\n",
    "14 path=../a\n",
    "13 path=/d\n",
    "14 linkpath=e\n",
    "11 size=3\n",
    "20 mtime=1.5000000\n",
    "22 GNU.sparse.major=1\n",
    "22 GNU.sparse.minor=0\n",
    "19 GNU.sparse.name=\n",
    "31 SCHILY.xattr.user.a=b\n",
    "26 hdrcharset=BINARY\n",
    "17 uid=99999999999\n",
    "0123456789012345678901234567890123456789012345678901234567890123456789",
};

struct script {
	struct cursor in;
	struct world w;
	struct buf tar;
	struct tar_in *taking; /* NULL: it is over */
};

static bool takes; /* what is asked of the guest now is asked for the tar */

int __real_files_request(struct sandbox *sb, const struct files_request *request,
			 files_done_fn *done, void *ctx, struct files_call **call);
int __wrap_files_request(struct sandbox *sb, const struct files_request *request,
			 files_done_fn *done, void *ctx, struct files_call **call);

/* Is @path the directory, or within, whoever reads it? */
static bool is_inside(const char *path)
{
	if (strcmp(path, DIRECTORY) == 0)
		return true;
	if (strncmp(path, DIRECTORY "/", 2) != 0)
		return false;
	for (const char *at = path; at; at = strchr(at, '/')) {
		at += *at == '/';
		if (strcspn(at, "/") == 0 || strncmp(at, "./", 2) == 0 ||
		    strcmp(at, ".") == 0 || strncmp(at, "../", 3) == 0 ||
		    strcmp(at, "..") == 0)
			return false;
	}
	return true;
}

int __wrap_files_request(struct sandbox *sb, const struct files_request *request,
			 files_done_fn *done, void *ctx, struct files_call **call)
{
	if (takes && request->path && *request->path)
		must(is_inside(request->path));
	if (takes && request->path2 && request->op != FILES_SYMLINK)
		must(is_inside(request->path2));
	return __real_files_request(sb, request, done, ctx, call);
}

static void put_text(struct script *s, char *to, size_t room)
{
	struct buf text = {0};

	tokens_spell(&text, &s->in, cursor_get_u8(&s->in) % 8, words, COUNT(words));
	memcpy(to, buf_peek(&text), text.len < room ? text.len : room);
	buf_fini(&text);
}

static void put_block(struct script *s, const void *data, size_t len)
{
	static const char zeros[BLOCK];

	buf_append(&s->tar, data, len);
	buf_append(&s->tar, zeros, (BLOCK - len % BLOCK) % BLOCK);
}

/* As in the header: offsets of POSIX's ustar. */
static void put_header(struct script *s, char type, size_t len)
{
	char block[BLOCK] = {0};
	uint8_t how = cursor_get_u8(&s->in);
	unsigned sum = 0;

	put_text(s, block, 100);
	put_text(s, block + 157, 100);
	snprintf(block + 100, 8, "%07o", cursor_get_u16(&s->in));
	snprintf(block + 108, 8, "%07o", how);
	snprintf(block + 116, 8, "%07o", how);
	snprintf(block + 124, 12, "%011zo", how & 1 ? len : len + how);
	snprintf(block + 136, 12, "%011o", how * 0x1000001u);
	memset(block + 148, ' ', 8);
	block[156] = type;
	if (how & 2)
		memcpy(block + 257, "ustar  ", 8);
	else if (how & 4)
		memcpy(block + 257,
		       "ustar\0"
		       "00",
		       8);
	if (how & 8)
		put_text(s, block + 345, 155);
	if (how & 16) /* a number in binary */
		block[124] = (char)0x80;
	for (size_t i = 0; i < BLOCK; i++)
		sum += (uint8_t)block[i];
	snprintf(block + 148, 8, "%06o", sum);
	buf_append(&s->tar, block, sizeof(block));
}

static int step_entry(void *script)
{
	static const char types[] = {'0', '5', '2', '1', '0', 'x', '5', 'L',
				     'K', 'g', '3', '6', '7', 'S', 0,	'D'};
	struct script *s = script;
	char type = types[cursor_get_u8(&s->in) % COUNT(types)];
	struct buf data = {0};

	tokens_spell(&data, &s->in, cursor_get_u8(&s->in), words, COUNT(words));
	put_header(s, type, data.len);
	put_block(s, buf_peek(&data), data.len);
	buf_fini(&data);
	return 0;
}

static int step_bytes(void *script)
{
	struct script *s = script;
	size_t len = cursor_get_u8(&s->in);
	const void *bytes = cursor_get_raw(&s->in, len);

	if (bytes)
		buf_append(&s->tar, bytes, len);
	return 0;
}

static int step_end(void *script)
{
	static const char zeros[2 * BLOCK];

	buf_append(&((struct script *)script)->tar, zeros, sizeof(zeros));
	return 0;
}

static script_step *const steps[] = {
    step_entry, step_entry, step_entry, step_entry,
    step_entry, step_entry, step_bytes, step_end,
};

static void have_room(void *ctx)
{
	(void)ctx;
}

static void taken(void *ctx, const struct error *err)
{
	struct script *s = ctx;

	(void)err;
	must(s->taking);
	s->taking = NULL;
}

/* The thread, of which there is one, has its time. */
static void wait_a_little(struct script *s)
{
	must(threads_working <= 1);
	threads_turn(&s->w);
}

/* In pieces of @piece bytes; an input may break off, or go away. */
static void take_out(struct script *s, size_t piece, bool leaves)
{
	struct error err;

	s->taking = tar_in_begin(s->w.box, DIRECTORY, have_room, taken, s, &err);
	must(s->taking);
	for (size_t at = 0; at < s->tar.len && s->taking; at += piece) {
		size_t left = s->tar.len - at;

		tar_in_put(s->taking, buf_peek(&s->tar) + at, left < piece ? left : piece);
		while (s->taking && tar_in_is_full(s->taking))
			wait_a_little(s);
		world_turn(&s->w);
	}
	if (s->taking && leaves) {
		tar_in_abort(s->taking);
		s->taking = NULL;
	}
	if (s->taking)
		tar_in_eof(s->taking);
	while (s->taking || threads_working)
		wait_a_little(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = {.in = cursor_over(data, size)};
	uint8_t how = cursor_get_u8(&s.in);

	signal(SIGPIPE, SIG_IGN); /* as pffs does */
	world_begin(&s.w);
	script_run(&s.in, steps, COUNT(steps), &s);
	takes = true;
	take_out(&s, how & 1 ? 7 + how : 65536, how >= 0xf0);
	takes = false;
	world_end(&s.w);
	buf_fini(&s.tar);
	return 0;
}
