#include "pffs/api/auth.h"

#include "util/cleanup.h"
#include "util/io.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#define FILE_MAX (1u << 20)

static int add_key(struct auth *auth, const char *key, size_t len, struct error *err)
{
	char(*keys)[AUTH_KEY_MAX];

	while (len && strchr(" \t\r", *key)) {
		key++;
		len--;
	}
	while (len && strchr(" \t\r", key[len - 1]))
		len--;
	if (!len)
		return 0;
	if (len >= AUTH_KEY_MAX)
		return error_say(err, EINVAL, "a key is at most %d bytes",
				 AUTH_KEY_MAX - 1);
	keys = reallocarray(auth->keys, auth->count + 1, sizeof(*keys));
	if (!keys)
		return error_set(err, ENOMEM, "cannot keep the keys");
	auth->keys = keys;
	memset(keys[auth->count], 0, AUTH_KEY_MAX);
	memcpy(keys[auth->count++], key, len);
	return 0;
}

static int add_keys(struct auth *auth, const char *text, const char *separator,
		    struct error *err)
{
	int r = 0;

	while (text && *text && r == 0) {
		size_t len = strcspn(text, separator);

		r = add_key(auth, text, len, err);
		text += len + (text[len] != '\0');
	}
	return r;
}

static int add_file(struct auth *auth, const char *file, struct error *err)
{
	size_t len;
	cleanup_free char *text = io_read_file(file, FILE_MAX, &len, err);

	if (!text)
		return err->code;
	return add_keys(auth, text, "\n", err);
}

int auth_init(struct auth *auth, const char *file, struct error *err)
{
	int r;

	*auth = (struct auth){0};
	r = add_keys(auth, getenv("PFFS_API_KEYS"), ",", err);
	if (r == 0)
		r = add_keys(auth, getenv("PODFLARE_API_KEYS"), ",", err);
	if (r == 0 && file)
		r = add_file(auth, file, err);
	/* An empty file was not meant to let everybody in. */
	if (r == 0 && file && !auth->count)
		r = error_say(err, EINVAL, "there is no key in %s", file);
	return r;
}

void auth_fini(struct auth *auth)
{
	if (auth->keys)
		explicit_bzero(auth->keys, auth->count * sizeof(*auth->keys));
	free(auth->keys);
	*auth = (struct auth){0};
}

/* All bytes of all keys are looked at, and nothing depends on what they are. */
bool auth_key_ok(const struct auth *auth, const char *header)
{
	char given[AUTH_KEY_MAX] = {0};
	volatile unsigned found = 0;

	if (!header || strncasecmp(header, "Bearer ", 7) != 0)
		return false;
	header += 7 + strspn(header + 7, " ");
	if (strlen(header) >= AUTH_KEY_MAX)
		return false;
	memcpy(given, header, strlen(header));
	for (size_t i = 0; i < auth->count; i++) {
		volatile unsigned char differs = 0;

		for (size_t at = 0; at < AUTH_KEY_MAX; at++)
			differs |= (unsigned char)(given[at] ^ auth->keys[i][at]);
		found |= 1u & ((unsigned)(differs - 1) >> 8);
	}
	return found;
}

/* Without the port. A name of DNS may lead anywhere; an address, only where it says. */
static bool is_address(const char *host)
{
	bool six = *host == '[';
	size_t len = strcspn(host + six, six ? "]" : ":");
	const char *port = host + six + len + (six && host[six + len]);
	char name[64];
	struct in6_addr addr;

	if (len >= sizeof(name) || (*port && *port != ':') ||
	    (*port && strspn(port + 1, "0123456789") != strlen(port + 1)))
		return false;
	memcpy(name, host + six, len);
	name[len] = '\0';
	if (six)
		return inet_pton(AF_INET6, name, &addr) == 1;
	return strcasecmp(name, "localhost") == 0 || inet_pton(AF_INET, name, &addr) == 1;
}

/* Browsers tell of each request what asked: also of a GET, which has no origin. */
static bool is_of_others(const char *site)
{
	return site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0;
}

bool auth_page_ok(const char *host, const char *origin, const char *site)
{
	if ((host && !is_address(host)) || is_of_others(site))
		return false;
	return !origin || (host && strncmp(origin, "http://", 7) == 0 &&
			   strcasecmp(origin + 7, host) == 0);
}
