/* Questions by UDP: each datagram is one, and has a query of its own. */
#include "vmctl/dns/query.h"

#include <errno.h>
#include <stdlib.h>

#define TURN 64 /* datagrams taken before others have their turn */

struct datagram {
	struct query query;
	struct sockaddr_storage from;
	socklen_t from_len;
	int fd; /* the listening socket, whose address they know */
};

static void done(struct query *query, const uint8_t *bytes, size_t len)
{
	struct datagram *datagram = container_of(query, struct datagram, query);

	/* One that does not fit into the socket now is lost, as datagrams are. */
	if (bytes)
		sendto(datagram->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL,
		       (const struct sockaddr *)&datagram->from, datagram->from_len);
	free(datagram);
}

static void take(struct dns *dns, const struct datagram *from, const uint8_t *bytes,
		 size_t len)
{
	struct datagram *datagram;
	struct slot *slot;

	net_channel_read(&dns->channel);
	slot = slots_of_address(&dns->slots, (const struct sockaddr *)&from->from);
	datagram = slot ? malloc(sizeof(*datagram)) : NULL;
	if (!datagram)
		return;
	*datagram = *from;
	datagram->query.done = done;
	query_begin(&datagram->query, dns, container_of(slot, struct dns_slot, slot), false,
		    bytes, len);
}

static void ready(struct loop_source *source, uint32_t revents)
{
	static uint8_t bytes[DNS_QUESTION_MAX + 1];
	struct dns *dns = container_of(source, struct dns, udp);

	(void)revents;
	for (unsigned i = 0; i < TURN; i++) {
		struct datagram from = {.fd = source->fd, .from_len = sizeof(from.from)};
		ssize_t n = recvfrom(source->fd, bytes, sizeof(bytes), MSG_DONTWAIT,
				     (struct sockaddr *)&from.from, &from.from_len);

		if (n < 0 && errno != EINTR)
			break;
		if (n > 0)
			take(dns, &from, bytes, (size_t)n);
	}
}

int udp_listen(struct dns *dns, int fd)
{
	return loop_add(&dns->loop, &dns->udp, fd, EPOLLIN, ready);
}
