/*
 * libmicrohttpd without TLS, and GnuTLS as what the callback for a certificate asks of a
 * handshake.
 */
#pragma once

#include "tests/fuzz/script.h"

#include <gnutls/gnutls.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/socket.h>

/* What the callback of a handshake sees of it. */
struct hello {
	int fd;
	struct sockaddr_in from;
	const char *name;
};

static const struct hello *hello; /* of who comes now */

struct MHD_Daemon *__real_MHD_start_daemon(unsigned flags, uint16_t port,
					   MHD_AcceptPolicyCallback may, void *may_cls,
					   MHD_AccessHandlerCallback fn, void *fn_cls, ...);
struct MHD_Daemon *__wrap_MHD_start_daemon(unsigned flags, uint16_t port,
					   MHD_AcceptPolicyCallback may, void *may_cls,
					   MHD_AccessHandlerCallback fn, void *fn_cls, ...);
int __wrap_gnutls_transport_get_int(gnutls_session_t session);
int __wrap_gnutls_server_name_get(gnutls_session_t session, void *data, size_t *len,
				  unsigned *type, unsigned index);
int __wrap_getpeername(int fd, struct sockaddr *address, socklen_t *len);

/* The same, but without TLS. */
struct MHD_Daemon *__wrap_MHD_start_daemon(unsigned flags, uint16_t port,
					   MHD_AcceptPolicyCallback may, void *may_cls,
					   MHD_AccessHandlerCallback fn, void *fn_cls, ...)
{
	struct MHD_OptionItem items[20], *item = items;
	va_list list;
	int option;

	va_start(list, fn_cls);
	while ((option = va_arg(list, int)) != MHD_OPTION_END) {
		*item = (struct MHD_OptionItem){.option = (enum MHD_OPTION)option};
		switch (option) {
		case MHD_OPTION_HTTPS_CERT_CALLBACK:
		case MHD_OPTION_HTTPS_PRIORITIES:
			va_arg(list, void *);
			continue;
		case MHD_OPTION_EXTERNAL_LOGGER:
		case MHD_OPTION_NOTIFY_COMPLETED:
		case MHD_OPTION_NOTIFY_CONNECTION:
		case MHD_OPTION_URI_LOG_CALLBACK:
		case MHD_OPTION_UNESCAPE_CALLBACK:
			item->value = va_arg(list, intptr_t);
			item->ptr_value = va_arg(list, void *);
			break;
		case MHD_OPTION_CONNECTION_MEMORY_LIMIT:
			item->value = (intptr_t)va_arg(list, size_t);
			break;
		default:
			item->value = va_arg(list, int);
		}
		must(++item < items + sizeof(items) / sizeof(items[0]));
	}
	va_end(list);
	*item = (struct MHD_OptionItem){.option = MHD_OPTION_END};
	return __real_MHD_start_daemon(flags & ~(unsigned)MHD_USE_TLS, port, may, may_cls,
				       fn, fn_cls, MHD_OPTION_ARRAY, items, MHD_OPTION_END);
}

int __wrap_gnutls_transport_get_int(gnutls_session_t session)
{
	(void)session;
	return hello->fd;
}

/* As GnuTLS does: with a NUL, where there is room. */
int __wrap_gnutls_server_name_get(gnutls_session_t session, void *data, size_t *len,
				  unsigned *type, unsigned index)
{
	size_t room = *len;

	(void)session;
	must(index == 0);
	*len = strlen(hello->name);
	*type = GNUTLS_NAME_DNS;
	if (room <= *len)
		return GNUTLS_E_SHORT_MEMORY_BUFFER;
	memcpy(data, hello->name, *len + 1);
	return 0;
}

int __wrap_getpeername(int fd, struct sockaddr *address, socklen_t *len)
{
	must(fd == hello->fd && *len >= sizeof(hello->from));
	memcpy(address, &hello->from, sizeof(hello->from));
	*len = sizeof(hello->from);
	return 0;
}
