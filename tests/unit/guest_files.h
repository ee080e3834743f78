/*
 * For tests: file servers of guests, which the test plays, with a few files in memory.
 */
#pragma once

#include "tests/unit/put_reply.h"
#include "tests/unit/world.h"

#include "wire/files.h"
#include "wire/tree.h"

#define GUEST_FILES 64
#define GUEST_TEXT  256

struct guest_file {
	char path[128]; /* empty: no file */
	uint32_t mode;
	char text[GUEST_TEXT];
	int64_t mtime_ns, ctime_ns;
	uint64_t ino;
};

/* The ctime of a file that all have: that of the fork. Files that a test makes are older
 * unless it says so. */
#define GUEST_FORK_NS 1000000000

struct guest_fs {
	uint32_t vm;
	struct guest_file files[GUEST_FILES];
	struct buf tree; /* that is being read, by handle 1; those of files follow */
	bool silent;	 /* it answers no request */
	int requests;
	int holds;     /* how often its programs were to stop */
	bool restless; /* they do not */
	/* what a test does before the answer to a request, or instead; true: instead */
	bool (*meddle)(struct guest_fs *fs, const struct files_request *request,
		       struct files_reply *reply);
};

#define TREE_HANDLE 1u
#define FILE_HANDLE 2u /* of the first file */

static uint64_t last_ino = 1000;

static struct guest_file *guest_find(struct guest_fs *fs, const char *path)
{
	for (int i = 0; i < GUEST_FILES; i++)
		if (*path && strcmp(fs->files[i].path, path) == 0)
			return &fs->files[i];
	return NULL;
}

/* Make or replace. */
static struct guest_file *guest_put(struct guest_fs *fs, const char *path, uint32_t mode,
				    const char *text)
{
	struct guest_file *file = guest_find(fs, path);

	for (int i = 0; i < GUEST_FILES && !file; i++)
		if (!*fs->files[i].path)
			file = &fs->files[i];
	if (!file)
		abort();
	memset(file, 0, sizeof(*file));
	snprintf(file->path, sizeof(file->path), "%s", path);
	snprintf(file->text, sizeof(file->text), "%s", text);
	file->mode = mode;
	file->ino = ++last_ino;
	file->mtime_ns = (int64_t)last_ino;
	return file;
}

__attribute__((unused)) static void guest_dir(struct guest_fs *fs, const char *path)
{
	guest_put(fs, path, S_IFDIR | 0755, "");
}

__attribute__((unused)) static void guest_text(struct guest_fs *fs, const char *path,
					       const char *text)
{
	guest_put(fs, path, S_IFREG | 0644, text);
}

static bool guest_has_inside(const struct guest_fs *fs, const char *dir)
{
	size_t len = strlen(dir);

	for (int i = 0; i < GUEST_FILES; i++)
		if (strncmp(fs->files[i].path, dir, len) == 0 &&
		    fs->files[i].path[len] == '/')
			return true;
	return false;
}

/* Return: 0 or an errno. */
static int guest_remove(struct guest_fs *fs, const char *path, bool dir)
{
	struct guest_file *file = guest_find(fs, path);

	if (!file)
		return ENOENT;
	if (S_ISDIR(file->mode) != dir)
		return dir ? ENOTDIR : EISDIR;
	if (guest_has_inside(fs, path))
		return ENOTEMPTY;
	*file->path = '\0';
	return 0;
}

/* The directory that it is to be in is there. */
static bool guest_has_parent(struct guest_fs *fs, const char *path)
{
	char parent[128];
	const struct guest_file *file;

	snprintf(parent, sizeof(parent), "%s", path);
	if (!strrchr(parent, '/'))
		return true;
	*strrchr(parent, '/') = '\0';
	file = guest_find(fs, parent);
	return file && S_ISDIR(file->mode);
}

static int guest_make(struct guest_fs *fs, const struct files_request *request)
{
	if (guest_find(fs, request->path))
		return EEXIST;
	if (!guest_has_parent(fs, request->path))
		return ENOENT;
	if (request->op == FILES_SYMLINK)
		guest_put(fs, request->path, S_IFLNK | 0777, request->path2);
	else
		guest_put(fs, request->path,
			  (request->op == FILES_MKDIR ? S_IFDIR : S_IFREG) |
			      (request->mode & 07777),
			  "");
	return 0;
}

static int guest_rename(struct guest_fs *fs, const struct files_request *request)
{
	struct guest_file *from = guest_find(fs, request->path);
	struct guest_file *to = guest_find(fs, request->path2);

	if (!from || !guest_has_parent(fs, request->path2) ||
	    (request->flags & FILES_EXCHANGE && !to))
		return ENOENT;
	if (to && request->flags & FILES_NOREPLACE)
		return EEXIST;
	if (to && S_ISDIR(to->mode) && !(request->flags & FILES_EXCHANGE))
		return EISDIR;
	if (to)
		snprintf(to->path, sizeof(to->path), "%s",
			 request->flags & FILES_EXCHANGE ? request->path : "");
	snprintf(from->path, sizeof(from->path), "%s", request->path2);
	return 0;
}

static int guest_open(struct guest_fs *fs, const struct files_request *request,
		      struct files_reply *reply)
{
	if (request->flags & FILES_O_CREAT && guest_make(fs, request) != 0)
		return ENOENT;
	if (!guest_find(fs, request->path))
		return ENOENT;
	reply->handle = FILE_HANDLE + (uint32_t)(guest_find(fs, request->path) - fs->files);
	return 0;
}

static int guest_read(struct guest_fs *fs, const struct files_request *request,
		      struct files_reply *reply)
{
	const char *data = (const char *)buf_peek(&fs->tree);
	size_t len = fs->tree.len;

	if (request->handle != TREE_HANDLE) {
		data = fs->files[request->handle - FILE_HANDLE].text;
		len = strlen(data);
	}
	if (request->offset >= len)
		return 0;
	len -= request->offset;
	reply->data = (const uint8_t *)data + request->offset;
	reply->data_len = (uint32_t)(len < request->size ? len : request->size);
	return 0;
}

static int guest_write(struct guest_fs *fs, const struct files_request *request,
		       struct files_reply *reply)
{
	char *text = fs->files[request->handle - FILE_HANDLE].text;

	memcpy(text + request->offset, request->data, request->data_len);
	text[request->offset + request->data_len] = '\0';
	reply->value = request->data_len;
	return 0;
}

static int guest_tree(struct guest_fs *fs, struct files_reply *reply)
{
	const struct tree_entry newest = {
	    .path = "~", .now = {.mode = S_IFREG, .ino = 1, .ctime_ns = GUEST_FORK_NS}};

	buf_fini(&fs->tree);
	tree_put(&fs->tree, &newest);
	for (int i = 0; i < GUEST_FILES; i++) {
		const struct guest_file *file = &fs->files[i];
		struct tree_entry entry = {
		    .path = file->path,
		    .now = {.mode = file->mode,
			    .nlink = 1,
			    .ino = file->ino,
			    .size = strlen(file->text),
			    .mtime_ns = file->mtime_ns,
			    .ctime_ns = file->ctime_ns,
			    .target = S_ISLNK(file->mode) ? file->text : NULL}};

		if (*file->path)
			tree_put(&fs->tree, &entry);
	}
	reply->handle = TREE_HANDLE;
	reply->value = fs->tree.len;
	return 0;
}

static int guest_setattr(struct guest_fs *fs, const struct files_request *request)
{
	struct guest_file *file = guest_find(fs, request->path);

	if (!file)
		return ENOENT;
	if (request->flags & FILES_SET_MODE)
		file->mode = (file->mode & S_IFMT) | request->mode;
	if (request->flags & FILES_SET_MTIME)
		file->mtime_ns = request->mtime_ns;
	return 0;
}

static int guest_getattr(struct guest_fs *fs, const struct files_request *request,
			 struct files_reply *reply)
{
	const struct guest_file *file = guest_find(fs, request->path);

	if (!file)
		return ENOENT;
	reply->has_attr = true;
	reply->attr = (struct files_attr){.ino = file->ino,
					  .mode = file->mode,
					  .nlink = 1,
					  .size = strlen(file->text),
					  .mtime_ns = file->mtime_ns};
	return 0;
}

static int guest_do(struct guest_fs *fs, const struct files_request *request,
		    struct files_reply *reply)
{
	switch (request->op) {
	case FILES_TREE:
		return guest_tree(fs, reply);
	case FILES_OPEN:
		return guest_open(fs, request, reply);
	case FILES_READ:
		return guest_read(fs, request, reply);
	case FILES_WRITE:
		return guest_write(fs, request, reply);
	case FILES_MKDIR:
	case FILES_MKNOD:
	case FILES_SYMLINK:
		return guest_make(fs, request);
	case FILES_UNLINK:
	case FILES_RMDIR:
		return guest_remove(fs, request->path, request->op == FILES_RMDIR);
	case FILES_RENAME:
		return guest_rename(fs, request);
	case FILES_SETATTR:
		return guest_setattr(fs, request);
	case FILES_GETATTR:
		return guest_getattr(fs, request, reply);
	default:
		return 0;
	}
}

/* Answer all that the core has asked @fs. Return: whether there was something. */
static bool guest_answer(struct guest_fs *fs)
{
	struct buf *in = &channels[fs->vm], frames = {0}, out = {0};
	struct agent_frame frame;
	struct error err;

	while (!fs->silent && agent_next(in, &frame, NULL) == 1) {
		struct files_request request;
		struct files_reply reply = {.watch = -1};

		if (frame.type == AGENT_FILES &&
		    files_get_request(&frame, &request, &err) == 0) {
			fs->requests++;
			if (!fs->meddle || !fs->meddle(fs, &request, &reply))
				reply.error = guest_do(fs, &request, &reply);
			put_reply(&frames, frame.epoch, frame.stream, &reply);
		}
		if (frame.type == AGENT_HOLD && *frame.payload) {
			const uint8_t stopped = !fs->restless;

			fs->holds++;
			agent_put(&frames, frame.epoch, 0, AGENT_HELD, &stopped, 1);
		}
		buf_consume(in, agent_frame_size(&frame));
	}
	if (frames.len) {
		link_put(&out, fs->vm, LINK_DATA, buf_peek(&frames), frames.len);
		io_write_all(peer, buf_peek(&out), out.len);
		buf_fini(&out);
		buf_fini(&frames);
		return true;
	}
	return false;
}

/* Let the core and @count guests work until none has anything to do. */
static void guests_work(struct guest_fs *const *list, int count)
{
	for (int idle = 0; idle < 5; idle++) {
		spin(2);
		listen_to_core();
		for (int i = 0; i < count; i++)
			if (guest_answer(list[i]))
				idle = 0;
	}
}
