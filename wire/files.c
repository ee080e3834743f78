#include "wire/files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REQUEST_FIXED (1 + 4 + 2 * 4 + 3 * 4 + 3 * 8 + 8 + 2 * 8 + 3 * 4)
#define REPLY_FIXED   (4 + 4 + 2 * 4 + 8 + 1 + 4)
#define ATTR_SIZE     (2 * 8 + 6 * 4 + 2 * 8 + 3 * 8)

bool files_path_ok(const char *path)
{
	size_t total = strlen(path), len;

	if (!total)
		return true;
	if (total > FILES_PATH_MAX)
		return false;
	for (;; path += len + 1) {
		len = strcspn(path, "/");
		if (len < 1 || len > FILES_NAME_MAX || (len == 1 && path[0] == '.') ||
		    (len == 2 && path[0] == '.' && path[1] == '.'))
			return false;
		if (!path[len])
			return true;
	}
}

int files_put_request(struct buf *out, uint16_t epoch, uint32_t stream,
		      const struct files_request *request)
{
	size_t len = request->path ? strlen(request->path) : 0;
	size_t len2 = request->path2 ? strlen(request->path2) : 0;
	size_t room = REQUEST_FIXED + len + len2 + request->data_len;
	uint8_t *payload;
	struct cursor c;
	int r;

	if (len > FILES_PATH_MAX || len2 > FILES_PATH_MAX)
		return -ENAMETOOLONG;
	if (request->data_len > FILES_IO_MAX)
		return -EMSGSIZE;
	payload = malloc(room);
	if (!payload)
		return -ENOMEM;
	c = cursor_into(payload, room);
	cursor_put_u8(&c, request->op);
	cursor_put_u32(&c, request->flags);
	cursor_put_u32(&c, request->handle);
	cursor_put_u32(&c, request->handle2);
	cursor_put_u32(&c, request->mode);
	cursor_put_u32(&c, request->uid);
	cursor_put_u32(&c, request->gid);
	cursor_put_u64(&c, request->offset);
	cursor_put_u64(&c, request->offset2);
	cursor_put_u64(&c, request->size);
	cursor_put_u64(&c, request->owner);
	cursor_put_u64(&c, (uint64_t)request->atime_ns);
	cursor_put_u64(&c, (uint64_t)request->mtime_ns);
	cursor_put_bytes(&c, request->path, len);
	cursor_put_bytes(&c, request->path2, len2);
	cursor_put_bytes(&c, request->data, request->data_len);
	r = agent_put(out, epoch, stream, AGENT_FILES, payload, room - cursor_left(&c));
	free(payload);
	return r;
}

static const void *get_bytes(struct cursor *c, uint32_t max, uint32_t *len)
{
	*len = cursor_get_u32(c);
	if (*len > max)
		c->overflow = true;
	return c->overflow ? NULL : cursor_get_raw(c, *len);
}

int files_get_request(const struct agent_frame *frame, struct files_request *request,
		      struct error *err)
{
	struct cursor c = cursor_over(frame->payload, frame->len);
	char *path2 = request->paths + FILES_PATH_MAX + 1;

	request->op = cursor_get_u8(&c);
	request->flags = cursor_get_u32(&c);
	request->handle = cursor_get_u32(&c);
	request->handle2 = cursor_get_u32(&c);
	request->mode = cursor_get_u32(&c);
	request->uid = cursor_get_u32(&c);
	request->gid = cursor_get_u32(&c);
	request->offset = cursor_get_u64(&c);
	request->offset2 = cursor_get_u64(&c);
	request->size = cursor_get_u64(&c);
	request->owner = cursor_get_u64(&c);
	request->atime_ns = (int64_t)cursor_get_u64(&c);
	request->mtime_ns = (int64_t)cursor_get_u64(&c);
	cursor_get_string(&c, request->paths, FILES_PATH_MAX + 1);
	cursor_get_string(&c, path2, FILES_PATH_MAX + 1);
	request->data = get_bytes(&c, FILES_IO_MAX, &request->data_len);
	if (!cursor_done(&c) || request->op < FILES_LOOKUP || request->op > FILES_OP_MAX)
		return error_say(err, EPROTO, "a request about files is malformed");
	request->path = request->paths;
	request->path2 = path2;
	return 0;
}

static void put_attr(struct cursor *c, const struct files_attr *attr)
{
	cursor_put_u64(c, attr->ino);
	cursor_put_u64(c, attr->dev);
	cursor_put_u32(c, attr->mode);
	cursor_put_u32(c, attr->nlink);
	cursor_put_u32(c, attr->uid);
	cursor_put_u32(c, attr->gid);
	cursor_put_u32(c, attr->rdev);
	cursor_put_u32(c, attr->blksize);
	cursor_put_u64(c, attr->size);
	cursor_put_u64(c, attr->blocks);
	cursor_put_u64(c, (uint64_t)attr->atime_ns);
	cursor_put_u64(c, (uint64_t)attr->mtime_ns);
	cursor_put_u64(c, (uint64_t)attr->ctime_ns);
}

static void get_attr(struct cursor *c, struct files_attr *attr)
{
	attr->ino = cursor_get_u64(c);
	attr->dev = cursor_get_u64(c);
	attr->mode = cursor_get_u32(c);
	attr->nlink = cursor_get_u32(c);
	attr->uid = cursor_get_u32(c);
	attr->gid = cursor_get_u32(c);
	attr->rdev = cursor_get_u32(c);
	attr->blksize = cursor_get_u32(c);
	attr->size = cursor_get_u64(c);
	attr->blocks = cursor_get_u64(c);
	attr->atime_ns = (int64_t)cursor_get_u64(c);
	attr->mtime_ns = (int64_t)cursor_get_u64(c);
	attr->ctime_ns = (int64_t)cursor_get_u64(c);
}

/* Which of a reply's attributes are there, in the order of the bits that say so; and what
 * else has one bit. */
enum has {
	HAS_ATTR = 1,
	HAS_DIR = 2,
	HAS_ATTR2 = 4,
	HAS_DIR2 = 8,
	HAS_ATTRS = 15,
	LINKS_TOLD = 16,
	HAS_ALL = 31,
};

static uint8_t has_of(const struct files_reply *reply)
{
	return (uint8_t)((reply->has_attr ? HAS_ATTR : 0) | (reply->has_dir ? HAS_DIR : 0) |
			 (reply->has_attr2 ? HAS_ATTR2 : 0) |
			 (reply->has_dir2 ? HAS_DIR2 : 0) |
			 (reply->links_told ? LINKS_TOLD : 0));
}

size_t files_put_reply_head(uint8_t *data, uint16_t epoch, uint32_t stream,
			    const struct files_reply *reply)
{
	uint8_t has = has_of(reply);
	size_t fields =
	    REPLY_FIXED + (size_t)__builtin_popcount(has & HAS_ATTRS) * ATTR_SIZE;
	struct cursor c = cursor_into(data - fields, fields);

	_Static_assert(AGENT_HEADER + REPLY_FIXED + 4 * ATTR_SIZE <= FILES_REPLY_HEAD,
		       "the head has room");
	_Static_assert(REPLY_FIXED + 4 * ATTR_SIZE + FILES_IO_MAX <= AGENT_PAYLOAD_MAX,
		       "the largest reply is a frame");
	agent_put_header(data - fields - AGENT_HEADER, epoch, stream, AGENT_FILES_REPLY,
			 fields + reply->data_len);
	cursor_put_u32(&c, (uint32_t)reply->error);
	cursor_put_u32(&c, reply->handle);
	cursor_put_u32(&c, (uint32_t)reply->watch);
	cursor_put_u32(&c, (uint32_t)reply->watch2);
	cursor_put_u64(&c, reply->value);
	cursor_put_u8(&c, has);
	if (has & HAS_ATTR)
		put_attr(&c, &reply->attr);
	if (has & HAS_DIR)
		put_attr(&c, &reply->dir);
	if (has & HAS_ATTR2)
		put_attr(&c, &reply->attr2);
	if (has & HAS_DIR2)
		put_attr(&c, &reply->dir2);
	cursor_put_u32(&c, reply->data_len);
	return AGENT_HEADER + fields;
}

static void get_attrs(struct cursor *c, uint8_t has, struct files_reply *reply)
{
	reply->has_attr = has & HAS_ATTR;
	reply->has_dir = has & HAS_DIR;
	reply->has_attr2 = has & HAS_ATTR2;
	reply->has_dir2 = has & HAS_DIR2;
	reply->links_told = has & LINKS_TOLD;
	if (reply->has_attr)
		get_attr(c, &reply->attr);
	if (reply->has_dir)
		get_attr(c, &reply->dir);
	if (reply->has_attr2)
		get_attr(c, &reply->attr2);
	if (reply->has_dir2)
		get_attr(c, &reply->dir2);
}

int files_get_reply(const struct agent_frame *frame, struct files_reply *reply,
		    struct error *err)
{
	struct cursor c = cursor_over(frame->payload, frame->len);
	uint8_t has;

	*reply = (struct files_reply){.error = (int32_t)cursor_get_u32(&c)};
	reply->handle = cursor_get_u32(&c);
	reply->watch = (int32_t)cursor_get_u32(&c);
	reply->watch2 = (int32_t)cursor_get_u32(&c);
	reply->value = cursor_get_u64(&c);
	has = cursor_get_u8(&c);
	get_attrs(&c, has, reply);
	reply->data = get_bytes(&c, FILES_IO_MAX, &reply->data_len);
	if (!cursor_done(&c) || has > HAS_ALL || reply->error < 0 || reply->error > 4095)
		return error_say(err, EPROTO, "an answer about files is malformed");
	return 0;
}

void files_put_entry(struct cursor *c, const struct files_entry *entry)
{
	put_attr(c, &entry->attr);
	cursor_put_u64(c, entry->cookie);
	cursor_put_bytes(c, entry->name, strlen(entry->name));
}

int files_get_entry(struct cursor *c, struct files_entry *entry)
{
	if (!cursor_left(c) && !c->overflow)
		return 0;
	get_attr(c, &entry->attr);
	entry->cookie = cursor_get_u64(c);
	cursor_get_string(c, entry->name, sizeof(entry->name));
	if (c->overflow || !entry->name[0] || strchr(entry->name, '/') ||
	    !files_path_ok(entry->name))
		return -EPROTO;
	return 1;
}

void files_put_statfs(struct cursor *c, const struct files_statfs *st)
{
	cursor_put_u64(c, st->bsize);
	cursor_put_u64(c, st->blocks);
	cursor_put_u64(c, st->bfree);
	cursor_put_u64(c, st->bavail);
	cursor_put_u64(c, st->files);
	cursor_put_u64(c, st->ffree);
	cursor_put_u32(c, st->namelen);
}

int files_get_statfs(const struct files_reply *reply, struct files_statfs *st)
{
	struct cursor c = cursor_over(reply->data, reply->data_len);

	st->bsize = cursor_get_u64(&c);
	st->blocks = cursor_get_u64(&c);
	st->bfree = cursor_get_u64(&c);
	st->bavail = cursor_get_u64(&c);
	st->files = cursor_get_u64(&c);
	st->ffree = cursor_get_u64(&c);
	st->namelen = cursor_get_u32(&c);
	return cursor_done(&c) ? 0 : -EPROTO;
}
