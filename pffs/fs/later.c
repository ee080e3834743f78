#include "pffs/fs/later.h"

#include "pffs/fs/operations.h"

void later_init(struct later *later, fuse_req_t req, struct fs *fs, struct sandbox *sb,
		size_t len)
{
	*later = (struct later){.req = req, .fs = fs, .sb = sb, .len = len};
	fs_owe(fs);
	if (sb)
		sandbox_ref(sb);
}

void later_answer_write(const struct later *later, const struct error *err)
{
	if (err)
		fs_refuse(later->req, later->fs, later->sb, err);
	else
		fuse_reply_write(later->req, later->len);
}

void later_fini(struct later *later)
{
	sandbox_unref(later->sb);
	fs_settle(later->fs);
}
