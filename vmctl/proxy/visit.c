#include "vmctl/proxy/visit.h"

#include "vmctl/proxy/exchange.h"

#include <string.h>
#include <sys/socket.h>

/* The callback of a handshake is given no context, and there is one proxy. */
static struct proxy *the_proxy;

static struct proxy_slot *slot_of(const struct proxy *proxy, const struct sockaddr *address)
{
	struct slot *slot = slots_of_address(&proxy->slots, address);

	return slot ? container_of(slot, struct proxy_slot, slot) : NULL;
}

enum MHD_Result visit_may(void *cls, const struct sockaddr *address, socklen_t len)
{
	struct proxy *proxy = cls;

	(void)len;
	net_channel_read(&proxy->channel); /* who connects may be of a new slot */
	return slot_of(proxy, address) ? MHD_YES : MHD_NO;
}

static void begin(struct proxy *proxy, struct MHD_Connection *connection, void **ctx)
{
	const union MHD_ConnectionInfo *from = MHD_get_connection_info(
					   connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS),
				       *fd = MHD_get_connection_info(
					   connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct proxy_slot *slot = slot_of(proxy, from->client_addr);
	struct visit *visit = slot ? malloc(sizeof(*visit)) : NULL;

	the_proxy = proxy;
	*ctx = visit;
	if (!visit)
		return;
	*visit = (struct visit){
	    .proxy = proxy, .slot = slot, .connection = connection, .fd = fd->connect_fd};
	list_add_before(&slot->visits, &visit->link);
}

static void end(void **ctx)
{
	struct visit *visit = *ctx;

	if (!visit)
		return;
	list_del(&visit->link);
	leaf_give(visit->leaf);
	free(visit);
	*ctx = NULL;
}

void visit_notify(void *cls, struct MHD_Connection *connection, void **ctx,
		  enum MHD_ConnectionNotificationCode code)
{
	if (code == MHD_CONNECTION_NOTIFY_STARTED)
		begin(cls, connection, ctx);
	else
		end(ctx);
}

struct visit *visit_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
	    MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

static struct visit *visit_of_socket(const struct proxy *proxy, int fd)
{
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	struct proxy_slot *slot = NULL;
	struct visit *visit;

	if (getpeername(fd, (struct sockaddr *)&from, &len) == 0)
		slot = slot_of(proxy, (const struct sockaddr *)&from);
	if (!slot)
		return NULL;
	list_for_each (visit, &slot->visits, struct visit, link)
		if (visit->fd == fd)
			return visit;
	return NULL;
}

/* Return: whether the client said which domain it wants, in its canonical form. */
static bool wanted(gnutls_session_t session, char domain[POLICY_NAME_MAX + 1])
{
	char name[POLICY_NAME_MAX + 2];
	size_t len = sizeof(name);
	unsigned type;

	return gnutls_server_name_get(session, name, &len, &type, 0) == 0 &&
	       type == GNUTLS_NAME_DNS && len < sizeof(name) && strlen(name) == len &&
	       policy_name_parse(name, domain, NULL) == 0;
}

int visit_certificate(gnutls_session_t session, const gnutls_datum_t *ca_names, int count,
		      const gnutls_pk_algorithm_t *algorithms, int algorithm_count,
		      gnutls_pcert_st **certificate, unsigned int *certificates,
		      gnutls_privkey_t *key)
{
	struct visit *visit = visit_of_socket(the_proxy, gnutls_transport_get_int(session));
	char domain[POLICY_NAME_MAX + 1];

	(void)ca_names;
	(void)count;
	(void)algorithms;
	(void)algorithm_count;
	if (!visit || !wanted(session, domain) || !proxy_may(&visit->slot->slot, domain))
		return -1;
	if (!visit->leaf)
		visit->leaf = leaf_take(&the_proxy->leaves, domain);
	if (!visit->leaf || strcmp(visit->leaf->domain, domain) != 0)
		return -1;
	*certificate = &visit->leaf->certificate;
	*certificates = 1;
	*key = the_proxy->leaves.private_key;
	return 0;
}

/* The server sees the end of it, and lets go. */
static void cut(struct visit *visit)
{
	shutdown(visit->fd, SHUT_RDWR);
	if (visit->exchange)
		exchange_break(visit->exchange);
}

void visits_check(struct proxy_slot *slot)
{
	struct visit *visit;

	list_for_each (visit, &slot->visits, struct visit, link)
		if (visit->leaf && !proxy_may(&slot->slot, visit->leaf->domain))
			cut(visit);
}

void visits_drop(struct proxy_slot *slot)
{
	while (!list_empty(&slot->visits)) {
		struct visit *visit = container_of(slot->visits.next, struct visit, link);

		cut(visit);
		list_del(&visit->link);
		visit->slot = NULL;
	}
}
