/*
 * Fuzz target: what programs do in a mount: the names they ask for, and what they write to
 * its files. All of fs/ is there over the real libfuse, which reads the requests from a
 * socket that the target writes them to, as the kernel would to /dev/fuse. The kernel is
 * trusted, so requests are well-formed; names, contents, offsets and their order need not
 * make sense.
 */
#include "tests/fuzz/tokens.h"
#include "tests/fuzz/world.h"

#include "pffs/fs/fs.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <stddef.h>

#define NODES	8u
#define HANDLES 8u
#define ROOT	1u

#define COUNT(of) (sizeof(of) / sizeof((of)[0]))

static const char *const paths[] = {
    "a/exec",
    "a/bash",
    "a/stdin",
    "a/stdout",
    "a/output",
    "a/exit",
    "a/ctl",
    "a/status",
    "a/error",
    "a/events",
    "events",
    "host",
    "metrics",
    "new",
    "a/config/exec_timeout",
    "a/config/idle_timeout",
    "a/config/max_lifetime",
    "a/config/persistent",
    "a/config/memory_mib",
    "a/config/cpu_percent",
    "a/config/pids",
    "a/config/diff_paths",
    "a/config/egress",
    "a/net/egress",
    "a/net/allow",
    "a/net/secrets",
    "a/net/ports",
    "a/net/log",
    "a/net/status",
    "a/forks",
    "a/forks/.n",
    "a/merge",
    "a/stats",
    "a/changes",
    "a/changes.json",
    "a/changes.patch",
    "a/diff",
    "a/diff/parent",
    "a/diff/template.patch",
    "a/diff/b.json",
    "a/pty",
    "a/pty/t",
    "a/pty/t/data",
    "a/pty/t/size",
    "a/pty/t/command",
    "a/runs",
    "a/runs/1",
    "a/runs/1/stdout",
    "a/runs/1/changes",
    "a/runs/1/figures",
    "a/last",
    "a/fs",
    "a/fs/d",
    "a/fs/d/f",
    "a/fs/f",
    "templates",
    "templates/.default",
    "templates/default/info",
    "templates/default/forks",
    "templates/default/forks/.n",
    "a/forks/b",
    "a/forks/b/exec",
    "b",
    "a",
    "",
};

static const char *const words[] = {
    "files",	 " ",		"\n",	      "--ours",	  "--theirs",	"a",	 "b",
    "c",	 "1",		"0",	      "64",	  "4294967295", "-1",	 "1h",
    "1.5s",	 "10m",		"none",	      "on",	  "off",	"allow", "default",
    "interrupt", "kill",	"reset",      "freeze",	  "resume",	"x",	 "#",
    "*.",	 "example.com", ":443",	      ",",	  "10.0.0.0/8", "[::1]", "/64",
    "-",	 "8000",	"127.0.0.1:", ".",	  "..",		"d",	 "f",
    "print(1)",	 "#!/bin/sh",	"24 80",      "X-Key: v", "/etc",	"new",	 "n",
    ".n",	 ".json",	".patch",     "\xc3\xa4", "t",
};

/* What a name stands for; node 0: nothing. */
struct place {
	uint64_t node;
	uint32_t mode;
};

struct script {
	struct cursor in;
	struct world w;
	int kernel;	 /* its end of the mount */
	uint64_t unique; /* of the newest request */
	uint64_t parked; /* of the newest that has no answer yet; or 0 */
	struct place nodes[NODES];
	struct {
		uint64_t node, fh;
		bool dir;
	} handles[HANDLES]; /* node 0: none */
	struct fs fs;	    /* the last, since it ends with much that need not be cleared */
};

struct answer {
	struct fuse_out_header header;
	char data[65536];
};

static struct answer answer; /* to the newest request */

/* What the kernel is told. Return: whether it is the answer to the newest request. */
static bool hear(struct script *s)
{
	static struct answer heard;
	bool answered = false;

	while (recv(s->kernel, &heard, sizeof(heard), 0) > 0) {
		if (heard.header.unique == s->parked)
			s->parked = 0;
		if (heard.header.unique != s->unique)
			continue;
		if (answered)
			abort(); /* twice */
		answered = true;
		memcpy(&answer, &heard, heard.header.len);
	}
	return answered;
}

/* Let all work until there is an answer, or there will be none for now. */
static bool await(struct script *s)
{
	for (int quiet = 0, n = 0; quiet < QUIET_TURNS && n < WORLD_TURNS; n++) {
		world_step(&s->w);
		quiet = world_listen(&s->w) ? 0 : quiet + 1;
		if (hear(s))
			return true;
	}
	return false;
}

/* Return: whether it was answered, and without an error. */
static bool ask(struct script *s, uint32_t opcode, uint64_t node, const void *arg,
		size_t arg_len, const void *data, size_t len)
{
	static char request[70000];
	struct fuse_in_header header = {.opcode = opcode, .nodeid = node, .pid = 1};

	header.len = (uint32_t)(sizeof(header) + arg_len + len);
	header.unique = s->unique += 2;
	memcpy(request, &header, sizeof(header));
	if (arg_len)
		memcpy(request + sizeof(header), arg, arg_len);
	memcpy(request + sizeof(header) + arg_len, data, len);
	if (send(s->kernel, request, header.len, MSG_NOSIGNAL) < 0)
		abort();
	if (await(s))
		return !answer.header.error;
	if (opcode != FUSE_INTERRUPT)
		s->parked = header.unique;
	return false;
}

static const struct place root = {.node = ROOT, .mode = S_IFDIR};

static struct place lookup(struct script *s, struct place parent, const char *name)
{
	struct fuse_entry_out entry;

	if (!S_ISDIR(parent.mode) ||
	    !ask(s, FUSE_LOOKUP, parent.node, "", 0, name, strlen(name) + 1))
		return (struct place){0};
	memcpy(&entry, answer.data, sizeof(entry));
	return (struct place){.node = entry.nodeid, .mode = entry.attr.mode};
}

static struct place walk(struct script *s, const char *path)
{
	char copy[64], *rest = copy, *name;
	struct place at = root;

	snprintf(copy, sizeof(copy), "%s", path);
	while (at.node && *copy && (name = strsep(&rest, "/")))
		at = lookup(s, at, name);
	return at;
}

static struct place get_place(struct script *s)
{
	uint8_t which = cursor_get_u8(&s->in);

	return which < COUNT(paths) ? walk(s, paths[which]) : s->nodes[which % NODES];
}

static void spell(struct script *s, struct buf *out)
{
	tokens_spell(out, &s->in, cursor_get_u8(&s->in), words, COUNT(words));
}

/* One that the kernel lets through. */
static void spell_name(struct script *s, char name[256])
{
	struct buf text = {0};
	size_t len;

	spell(s, &text);
	len = strcspn((const char *)buf_peek(&text), "/");
	snprintf(name, 256, "%.*s", (int)(len < 255 ? len : 255),
		 (const char *)buf_peek(&text));
	if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		strcpy(name, "b");
	buf_fini(&text);
}

static unsigned open_place(struct script *s, struct place at, uint32_t flags)
{
	unsigned slot = cursor_get_u8(&s->in) % HANDLES;
	struct fuse_open_in in = {.flags = flags};
	struct fuse_open_out out;
	bool dir = S_ISDIR(at.mode);

	if (!at.node || S_ISLNK(at.mode) || s->handles[slot].node ||
	    !ask(s, dir ? FUSE_OPENDIR : FUSE_OPEN, at.node, &in, sizeof(in), "", 0))
		return HANDLES;
	memcpy(&out, answer.data, sizeof(out));
	s->handles[slot].node = at.node;
	s->handles[slot].fh = out.fh;
	s->handles[slot].dir = dir;
	return slot;
}

static void write_to(struct script *s, unsigned slot, uint64_t offset)
{
	struct fuse_write_in in = {.fh = s->handles[slot].fh, .offset = offset};
	struct buf data = {0};

	spell(s, &data);
	in.size = (uint32_t)data.len;
	ask(s, FUSE_WRITE, s->handles[slot].node, &in, sizeof(in), buf_peek(&data),
	    data.len);
	buf_fini(&data);
}

static void read_from(struct script *s, unsigned slot, uint64_t offset)
{
	struct fuse_read_in in = {
	    .fh = s->handles[slot].fh, .offset = offset, .size = 4096};
	bool plus = cursor_get_u8(&s->in) & 1;
	uint32_t list = plus ? FUSE_READDIRPLUS : FUSE_READDIR;

	ask(s, s->handles[slot].dir ? list : FUSE_READ, s->handles[slot].node, &in,
	    sizeof(in), "", 0);
}

static void release(struct script *s, unsigned slot)
{
	struct fuse_release_in in = {.fh = s->handles[slot].fh};
	struct fuse_flush_in flush = {.fh = s->handles[slot].fh};
	bool dir = s->handles[slot].dir;

	if (!dir)
		ask(s, FUSE_FLUSH, s->handles[slot].node, &flush, sizeof(flush), "", 0);
	ask(s, dir ? FUSE_RELEASEDIR : FUSE_RELEASE, s->handles[slot].node, &in, sizeof(in),
	    "", 0);
	s->handles[slot].node = 0;
}

/* As `echo TEXT > FILE` does. */
static int step_store(void *script)
{
	struct script *s = script;
	unsigned slot = open_place(s, get_place(s), O_WRONLY | O_TRUNC);

	if (slot == HANDLES)
		return 0;
	if (!s->handles[slot].dir)
		write_to(s, slot, 0);
	release(s, slot);
	return 0;
}

/* As `cat FILE`, or `ls`. */
static int step_show(void *script)
{
	struct script *s = script;
	unsigned slot = open_place(s, get_place(s), O_RDONLY);

	if (slot == HANDLES)
		return 0;
	read_from(s, slot, 0);
	release(s, slot);
	return 0;
}

static int step_open(void *script)
{
	struct script *s = script;
	uint8_t how = cursor_get_u8(&s->in);

	open_place(s, get_place(s), how & O_ACCMODE ? how & O_ACCMODE : O_NONBLOCK);
	return 0;
}

static int step_use(void *script)
{
	struct script *s = script;
	unsigned slot = cursor_get_u8(&s->in) % HANDLES;
	uint8_t how = cursor_get_u8(&s->in);
	uint64_t offset = how & 4 ? cursor_get_u64(&s->in) & INT64_MAX : how >> 3;

	if (!s->handles[slot].node)
		return 0;
	if ((how & 3) == 0)
		release(s, slot);
	else if ((how & 3) == 1 && !s->handles[slot].dir)
		write_to(s, slot, offset);
	else
		read_from(s, slot, offset);
	return 0;
}

static int step_lookup(void *script)
{
	struct script *s = script;
	struct place parent = get_place(s);
	char name[256];

	spell_name(s, name);
	if (parent.node)
		s->nodes[cursor_get_u8(&s->in) % NODES] = lookup(s, parent, name);
	return 0;
}

/* A name of @parent comes or goes. */
static void change_name(struct script *s, uint32_t opcode, struct place parent)
{
	union {
		struct fuse_mkdir_in mkdir;
		struct fuse_mknod_in mknod;
	} in = {0};
	char name[256];
	size_t len = 0;

	if (opcode == FUSE_MKDIR)
		len = sizeof(in.mkdir);
	if (opcode == FUSE_MKNOD) {
		len = sizeof(in.mknod);
		in.mknod.mode = S_IFREG | 0644;
	}
	spell_name(s, name);
	ask(s, opcode, parent.node, &in, len, name, strlen(name) + 1);
}

/* Of two names in one request: FUSE_RENAME2 and, without @in, FUSE_SYMLINK. */
static void change_names(struct script *s, uint32_t opcode, struct place parent,
			 const struct fuse_rename2_in *in)
{
	char names[512];
	size_t len;

	spell_name(s, names);
	len = strlen(names) + 1;
	spell_name(s, names + len);
	len += strlen(names + len) + 1;
	ask(s, opcode, parent.node, in, in ? sizeof(*in) : 0, names, len);
}

static int step_name(void *script)
{
	static const uint32_t opcodes[] = {FUSE_MKDIR, FUSE_RMDIR, FUSE_UNLINK, FUSE_MKNOD};
	struct script *s = script;
	uint32_t opcode = opcodes[cursor_get_u8(&s->in) % COUNT(opcodes)];
	struct place parent = get_place(s);

	if (S_ISDIR(parent.mode))
		change_name(s, opcode, parent);
	return 0;
}

static int step_names(void *script)
{
	struct script *s = script;
	uint8_t how = cursor_get_u8(&s->in);
	struct place parent = get_place(s), to = how & 4 ? parent : get_place(s);
	struct fuse_rename2_in in = {.newdir = to.node, .flags = how & 3};

	if (S_ISDIR(parent.mode) && S_ISDIR(to.mode))
		change_names(s, how & 8 ? FUSE_SYMLINK : FUSE_RENAME2, parent,
			     how & 8 ? NULL : &in);
	return 0;
}

/* What asks for attributes, or changes them. */
static int step_attributes(void *script)
{
	static const uint32_t opcodes[] = {FUSE_GETATTR, FUSE_SETATTR, FUSE_READLINK,
					   FUSE_STATFS, FUSE_LISTXATTR};
	struct script *s = script;
	uint32_t opcode = opcodes[cursor_get_u8(&s->in) % COUNT(opcodes)];
	struct place at = get_place(s);
	union {
		struct fuse_getattr_in getattr;
		struct fuse_setattr_in setattr;
		struct fuse_getxattr_in list;
	} in = {0};
	size_t len = 0;

	if (opcode == FUSE_GETATTR)
		len = sizeof(in.getattr);
	if (opcode == FUSE_LISTXATTR)
		len = sizeof(in.list);
	if (opcode == FUSE_SETATTR) {
		len = sizeof(in.setattr);
		in.setattr.valid = cursor_get_u16(&s->in) &
				   (FATTR_MODE | FATTR_SIZE | FATTR_UID | FATTR_MTIME_NOW);
		in.setattr.size = cursor_get_u8(&s->in);
		in.setattr.mode = cursor_get_u16(&s->in);
	}
	if (at.node && (opcode != FUSE_READLINK || S_ISLNK(at.mode)))
		ask(s, opcode, at.node, &in, len, "", 0);
	return 0;
}

static int step_interrupt(void *script)
{
	struct script *s = script;
	struct fuse_interrupt_in in = {.unique = s->parked};

	if (s->parked)
		ask(s, FUSE_INTERRUPT, 0, &in, sizeof(in), "", 0);
	return 0;
}

static script_step *const steps[] = {
    step_store,	     step_show,	     step_open,	 step_use,   step_lookup, step_name,
    step_attributes, step_interrupt, step_names, step_store, step_show,
};

static void ended(struct fs *fs)
{
	(void)fs;
}

static void begin(struct script *s)
{
	struct fs_options options = {.uid = getuid(), .gid = getgid()};
	struct fuse_init_in in = {.major = FUSE_KERNEL_VERSION,
				  .minor = FUSE_KERNEL_MINOR_VERSION,
				  .max_readahead = 131072};
	struct error err;
	int fds[2];

	world_begin(&s->w);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		abort();
	s->kernel = fds[0];
	io_set_nonblock(s->kernel, true);
	options.fuse_fd = fds[1];
	s->fs.ended = ended;
	if (fs_mount(&s->fs, &s->w.core, &options, &err) < 0 ||
	    !ask(s, FUSE_INIT, 0, &in, sizeof(in), "", 0))
		abort();
	for (unsigned i = 0; i < NODES; i++)
		s->nodes[i] = root;
}

/* Whatever was done, the mount is there. */
static void end(struct script *s)
{
	if (!walk(s, "host").node)
		abort();
	core_end(&s->w.core);
	fs_close_all(&s->fs);
	fs_unmount(&s->fs);
	close(s->kernel);
	world_end(&s->w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct script s;

	memset(&s, 0, offsetof(struct script, fs) + offsetof(struct fs, scratch));
	s.in = cursor_over(data, size);
	begin(&s);
	script_run(&s.in, steps, COUNT(steps), &s);
	end(&s);
	return 0;
}
