#include "guest/agent/netlink.h"

#include "util/cleanup.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#define PATIENCE_S 1

int netlink_open(int protocol)
{
	const struct timeval patience = {.tv_sec = PATIENCE_S};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

void *netlink_begin(struct netlink_request *request, uint16_t type, uint16_t flags,
		    size_t len)
{
	memset(request, 0, sizeof(*request));
	request->header.nlmsg_len = NLMSG_LENGTH(len);
	request->header.nlmsg_type = type;
	request->header.nlmsg_flags = NLM_F_REQUEST | flags;
	return NLMSG_DATA(&request->header);
}

void netlink_put(struct netlink_request *request, uint16_t type, const void *data,
		 size_t len)
{
	size_t at = NLMSG_ALIGN(request->header.nlmsg_len);
	struct rtattr *attribute = (void *)((uint8_t *)&request->header + at);

	attribute->rta_type = type;
	attribute->rta_len = (uint16_t)RTA_LENGTH(len);
	memcpy(RTA_DATA(attribute), data, len);
	request->header.nlmsg_len = (uint32_t)(at + RTA_ALIGN(RTA_LENGTH(len)));
}

/* A request has a number, by which an answer that came too late is known. */
static int send_request(int fd, struct netlink_request *request)
{
	static uint32_t number;

	request->header.nlmsg_seq = ++number;
	return send(fd, request, request->header.nlmsg_len, 0) < 0 ? -errno : 0;
}

/* Return: bytes that came, or -errno. */
static int receive(int fd, void *answer)
{
	ssize_t n;

	do
		n = recv(fd, answer, NETLINK_ANSWER, 0);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : (int)n;
}

/* Return: the -errno in @message, 0 for an acknowledgement. */
static int error_of(const struct nlmsghdr *message)
{
	const struct nlmsgerr *error = NLMSG_DATA(message);

	return error->error;
}

const struct nlmsghdr *netlink_get(int fd, struct netlink_request *request, void *answer)
{
	const struct nlmsghdr *message = answer;
	int n = send_request(fd, request);

	do
		n = n < 0 ? n : receive(fd, answer);
	while (n >= 0 && (!NLMSG_OK(message, (unsigned)n) ||
			  message->nlmsg_seq != request->header.nlmsg_seq));
	errno = n < 0 ? -n : 0;
	return n < 0 ? NULL : message;
}

int netlink_do(int fd, struct netlink_request *request)
{
	cleanup_free void *answer = malloc(NETLINK_ANSWER);
	const struct nlmsghdr *message;

	request->header.nlmsg_flags |= NLM_F_ACK;
	message = answer ? netlink_get(fd, request, answer) : NULL;
	if (!message)
		return -errno;
	return message->nlmsg_type == NLMSG_ERROR ? error_of(message) : -EPROTO;
}

int netlink_dump(int fd, struct netlink_request *request, void *answer,
		 void (*each)(void *ctx, const struct nlmsghdr *message), void *ctx)
{
	int n;

	request->header.nlmsg_flags |= NLM_F_DUMP;
	n = send_request(fd, request);
	while (n >= 0 && (n = receive(fd, answer)) >= 0) {
		const struct nlmsghdr *message = answer;

		for (; NLMSG_OK(message, (unsigned)n); message = NLMSG_NEXT(message, n)) {
			if (message->nlmsg_seq != request->header.nlmsg_seq)
				continue;
			if (message->nlmsg_type == NLMSG_DONE)
				return 0;
			if (message->nlmsg_type == NLMSG_ERROR)
				return error_of(message);
			each(ctx, message);
		}
	}
	return n;
}
