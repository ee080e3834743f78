#include "wire/policy_range.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The special purpose registries of IANA (RFC 6890), and what an IPv4 address is put into.
 */
const struct policy_closed policy_closed[] = {
    {"0.0.0.0/8", true}, /* the host itself, for Linux */
    {"10.0.0.0/8", false},
    {"100.64.0.0/10", false},
    {"127.0.0.0/8", true},
    {"169.254.0.0/16", false},
    {"172.16.0.0/12", false},
    {"192.0.0.0/24", false},
    {"192.0.2.0/24", false},
    {"192.88.99.0/24", false},
    {"192.168.0.0/16", false},
    {"198.18.0.0/15", true},
    {"198.51.100.0/24", false},
    {"203.0.113.0/24", false},
    {"224.0.0.0/4", false},
    {"240.0.0.0/4", false},
    /* The host itself, and IPv4 in forms that are for programs, not for packets: a packet
     * to ::ffff:127.0.0.1 would be the host's loopback to a socket that it is given to. */
    {"::/64", true},
    {"64:ff9b::/96", false},
    {"64:ff9b:1::/48", false},
    {"100::/64", false},
    {"2001::/23", false},
    {"2001:db8::/32", false},
    {"2002::/16", false},
    {"3fff::/20", false},
    {"5f00::/16", false},
    {"fc00::/7", false},
    {"fd70:6666:7300::/48", true},
    {"fe80::/10", false},
    {"fec0::/10", false},
    {"ff00::/8", false},
    {NULL, false},
};

static unsigned bits_of(const struct policy_range *range)
{
	return range->six ? 128 : 32;
}

/* Leave the first @prefix bits. Return: were the others zero? */
static bool mask(uint8_t address[16], unsigned prefix)
{
	bool clean = true;

	for (unsigned bit = prefix; bit < 128; bit++) {
		uint8_t *byte = &address[bit / 8], flag = (uint8_t)(0x80 >> bit % 8);

		clean = clean && !(*byte & flag);
		*byte &= (uint8_t)~flag;
	}
	return clean;
}

/* ::ffff:a.b.c.d is a.b.c.d. */
static void unmap(struct policy_range *range)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (!range->six || range->prefix < 96 || memcmp(range->address, mapped, 12) != 0)
		return;
	memmove(range->address, range->address + 12, 4);
	memset(range->address + 4, 0, 12);
	range->prefix -= 96;
	range->six = false;
}

static int parse_prefix(const char *text, struct policy_range *range)
{
	size_t digits = strspn(text, "0123456789");
	unsigned long prefix = strtoul(text, NULL, 10);

	if (!digits || digits > 3 || text[digits] || prefix > bits_of(range))
		return -EINVAL;
	range->prefix = (uint8_t)prefix;
	return 0;
}

static int parse_address(const char *text, struct policy_range *range)
{
	*range = (struct policy_range){.six = strchr(text, ':')};
	range->prefix = (uint8_t)bits_of(range);
	return inet_pton(range->six ? AF_INET6 : AF_INET, text, range->address) == 1
		   ? 0
		   : -EINVAL;
}

static int bad_range(const char *text, struct error *err)
{
	return error_say(err, EINVAL,
			 "\"%.60s\" is not an address or a range like 192.0.2.0/24", text);
}

int policy_range_parse(const char *text, struct policy_range *range, struct error *err)
{
	char address[INET6_ADDRSTRLEN], right[POLICY_RANGE_TEXT];
	size_t len = strcspn(text, "/");
	bool clean;

	if (len >= sizeof(address))
		return bad_range(text, err);
	memcpy(address, text, len);
	address[len] = '\0';
	if (parse_address(address, range) < 0 ||
	    (text[len] && parse_prefix(text + len + 1, range) < 0))
		return bad_range(text, err);
	clean = mask(range->address, range->prefix);
	unmap(range);
	policy_range_print(range, right);
	return clean ? 0
		     : error_say(err, EINVAL,
				 "%s has bits behind its prefix: did you mean %s?", text,
				 right);
}

void policy_range_print(const struct policy_range *range, char to[POLICY_RANGE_TEXT])
{
	size_t used;

	inet_ntop(range->six ? AF_INET6 : AF_INET, range->address, to, INET6_ADDRSTRLEN);
	used = strlen(to);
	if (range->prefix < bits_of(range))
		snprintf(to + used, POLICY_RANGE_TEXT - used, "/%u", range->prefix);
}

struct policy_range policy_range_of(const void *address, bool six)
{
	struct policy_range range = {.six = six, .prefix = six ? 128 : 32};

	memcpy(range.address, address, six ? 16 : 4);
	unmap(&range);
	return range;
}

bool policy_range_has(const struct policy_range *outer, const struct policy_range *inner)
{
	uint8_t masked[16];

	if (outer->six != inner->six || outer->prefix > inner->prefix)
		return false;
	memcpy(masked, inner->address, sizeof(masked));
	mask(masked, outer->prefix);
	return memcmp(masked, outer->address, sizeof(masked)) == 0;
}

bool policy_range_for_good(const struct policy_range *range)
{
	struct policy_range closed = {0};

	for (const struct policy_closed *at = policy_closed; at->text; at++)
		if (at->for_good && policy_range_parse(at->text, &closed, NULL) == 0 &&
		    policy_range_has(&closed, range))
			return true;
	return false;
}

bool policy_range_touches_closed(const struct policy_range *range)
{
	struct policy_range closed = {0};

	for (const struct policy_closed *at = policy_closed; at->text; at++)
		if (policy_range_parse(at->text, &closed, NULL) == 0 &&
		    (policy_range_has(&closed, range) || policy_range_has(range, &closed)))
			return true;
	return false;
}
