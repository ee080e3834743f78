#include "guest/files/call.h"

#include <errno.h>
#include <sys/xattr.h>

static int answer(struct call *call, ssize_t n)
{
	if (n < 0)
		return -errno;
	call->reply.value = (uint64_t)n;
	if (call->req.size)
		call->reply.data_len = (uint32_t)n;
	return 0;
}

static size_t room(const struct call *call)
{
	return call->req.size < FILES_IO_MAX ? call->req.size : FILES_IO_MAX;
}

int op_getxattr(struct call *call)
{
	return answer(call, getxattr(fd_name(call->fd).text, call->req.path2, call->data,
				     room(call)));
}

int op_listxattr(struct call *call)
{
	return answer(call,
		      listxattr(fd_name(call->fd).text, (char *)call->data, room(call)));
}

int op_setxattr(struct call *call)
{
	int r = setxattr(fd_name(call->fd).text, call->req.path2, call->req.data,
			 call->req.data_len, (int)call->req.mode);

	return r < 0 ? -errno : 0;
}

int op_removexattr(struct call *call)
{
	return removexattr(fd_name(call->fd).text, call->req.path2) < 0 ? -errno : 0;
}
