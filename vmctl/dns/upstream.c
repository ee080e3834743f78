#include "vmctl/dns/upstream.h"

#include "vmctl/dns/resolv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <unistd.h>

static void change(struct loop_source *source, uint32_t revents)
{
	struct upstreams *upstreams = container_of(source, struct upstreams, source);
	struct upstream_list list;
	int fd = source->fd;
	ssize_t n = read(fd, &list, sizeof(list));

	(void)revents;
	if (n == sizeof(list) && list.count <= UPSTREAM_MAX) {
		upstreams->host = list;
	} else if (n >= 0 || (errno != EAGAIN && errno != EINTR)) {
		loop_del(upstreams->loop, source); /* the last ones are kept */
		close(fd);
	}
}

int upstreams_watch(struct upstreams *upstreams, struct loop *loop, struct error *err)
{
	int fd = resolv_start(err), r;

	if (fd < 0)
		return fd;
	upstreams->loop = loop;
	r = loop_add(loop, &upstreams->source, fd, EPOLLIN, change);
	if (r == 0)
		return 0;
	close(fd);
	return error_set(err, -r, "cannot watch the host's resolvers");
}

/* By hand: getaddrinfo(3) would make sockets for the zone that an address may have. */
static void add(struct upstream_list *named, const char *text)
{
	struct upstream *upstream = &named->list[named->count];
	struct sockaddr_in *four = (void *)&upstream->address;
	struct sockaddr_in6 *six = (void *)&upstream->address;

	if (named->count == UPSTREAM_MAX)
		return;
	*upstream = (struct upstream){0};
	if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons(UPSTREAM_PORT);
		upstream->len = sizeof(*four);
	} else if (inet_pton(AF_INET6, text, &six->sin6_addr) == 1) {
		six->sin6_family = AF_INET6;
		six->sin6_port = htons(UPSTREAM_PORT);
		upstream->len = sizeof(*six);
	}
	if (upstream->len)
		named->count++;
}

void upstreams_name(struct upstreams *upstreams, const json_t *addresses)
{
	size_t i;
	json_t *address;

	upstreams->named.count = 0;
	json_array_foreach(addresses, i, address) if (json_is_string(address))
	    add(&upstreams->named, json_string_value(address));
}

const struct upstream_list *upstreams_now(const struct upstreams *upstreams)
{
	return upstreams->named.count ? &upstreams->named : &upstreams->host;
}
