#include "wire/policy_entry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Of a name; '_' is in the names of services. */
static bool is_name_byte(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || c == '-' || c == '_';
}

/* Return: bytes of the label at @at, 0 when it is none. */
static size_t label(const char *at)
{
	size_t len = 0;

	while (is_name_byte(at[len]))
		len++;
	return len > 63 || at[0] == '-' || (len && at[len - 1] == '-') ? 0 : len;
}

/* The last label must not look like a number: that is a broken address. */
static bool is_name(const char *name)
{
	size_t len = label(name);

	while (len && name[len] == '.') {
		name += len + 1;
		len = label(name);
	}
	return len && !name[len] && strspn(name, "0123456789") < len;
}

/* ASCII alone, whatever the locale is. */
static char lower(char c)
{
	if (c < 'A' || c > 'Z')
		return c;
	return (char)(c - 'A' + 'a');
}

int policy_name_parse(const char *text, char to[POLICY_NAME_MAX + 1], struct error *err)
{
	size_t len = strlen(text);

	if (len && text[len - 1] == '.')
		len--;
	if (len > POLICY_NAME_MAX)
		return error_say(err, EINVAL, "a domain has at most %u bytes",
				 POLICY_NAME_MAX);
	for (size_t i = 0; i < len; i++)
		to[i] = lower(text[i]);
	to[len] = '\0';
	return is_name(to)
		   ? 0
		   : error_say(err, EINVAL,
			       "\"%.80s\" is not a domain, an address or a range; a "
			       "domain is ASCII, with xn-- for other letters",
			       text);
}

static int bad_ports(const char *text, struct error *err)
{
	return error_say(
	    err, EINVAL,
	    "\"%.40s\" is not ports like 80,443 or 8000-8010 (1 to 65535, at most "
	    "%u of them)",
	    text, POLICY_PORTS_MAX);
}

/* Return: what follows the port at @at, or NULL. */
static const char *parse_port(const char *at, uint16_t *port)
{
	size_t digits = strspn(at, "0123456789");
	unsigned long number = strtoul(at, NULL, 10);

	if (!digits || digits > 5 || !number || number > UINT16_MAX)
		return NULL;
	*port = (uint16_t)number;
	return at + digits;
}

static const char *parse_ports_range(const char *at, struct policy_ports *ports)
{
	at = parse_port(at, &ports->low);
	ports->high = ports->low;
	if (at && *at == '-')
		at = parse_port(at + 1, &ports->high);
	return ports->low <= ports->high ? at : NULL;
}

static int by_low(const void *a, const void *b)
{
	return ((const struct policy_ports *)a)->low -
	       ((const struct policy_ports *)b)->low;
}

/* Put them in order, and make one of those that touch. All ports are none named. */
static void tidy_ports(struct policy_entry *entry)
{
	struct policy_ports *ports = entry->ports;
	unsigned count = 0;

	qsort(ports, entry->port_count, sizeof(*ports), by_low);
	for (unsigned i = 0; i < entry->port_count; i++) {
		if (!count || ports[i].low > ports[count - 1].high + 1)
			ports[count++] = ports[i];
		else if (ports[i].high > ports[count - 1].high)
			ports[count - 1].high = ports[i].high;
	}
	entry->port_count = ports[0].low == 1 && ports[0].high == UINT16_MAX ? 0 : count;
}

static int parse_ports(const char *text, struct policy_entry *entry, struct error *err)
{
	const char *at = text;

	do {
		if (entry->port_count == POLICY_PORTS_MAX)
			return bad_ports(text, err);
		at = parse_ports_range(at, &entry->ports[entry->port_count++]);
	} while (at && *at++ == ',');
	if (!at || at[-1])
		return bad_ports(text, err);
	tidy_ports(entry);
	return 0;
}

static int parse_range(const char *text, struct policy_entry *entry, struct error *err)
{
	int r = policy_range_parse(text, &entry->range, err);

	entry->kind = POLICY_RANGE;
	if (r == 0 && policy_range_for_good(&entry->range))
		return error_say(err, EINVAL, "%s is closed for good, see docs/network.md",
				 text);
	return r;
}

/* An address has digits alone behind its last dot, and a range has a slash. */
static bool looks_like_range(const char *text)
{
	const char *dot = strrchr(text, '.');

	return strpbrk(text, ":/") ||
	       (dot && is_digit(dot[1]) && !dot[1 + strspn(dot + 1, "0123456789")]);
}

static int parse_to(const char *text, struct policy_entry *entry, struct error *err)
{
	bool below = strncmp(text, "*.", 2) == 0;

	if (!below && looks_like_range(text))
		return parse_range(text, entry, err);
	entry->kind = below ? POLICY_BELOW : POLICY_NAME;
	return policy_name_parse(text + (below ? 2 : 0), entry->name, err);
}

/* [RANGE] or [RANGE]:PORTS, @text behind the bracket. */
static int cut_brackets(char *text, char **ports, struct error *err)
{
	char *end = strchr(text, ']');

	if (end)
		*end = '\0';
	if (!end || !strchr(text, ':') || (end[1] && end[1] != ':'))
		return error_say(err, EINVAL,
				 "in brackets is an IPv6 address or range, and ports may "
				 "follow, as in [2001:db8::/32]:443");
	*ports = end[1] ? end + 2 : NULL;
	return 0;
}

/* Cut @text where its ports begin; *ports is NULL for all. */
static int cut_ports(char **text, char **ports, struct error *err)
{
	char *first = strchr(*text, ':');

	*ports = NULL;
	if (**text == '[')
		return cut_brackets(++*text, ports, err);
	if (!first || strchr(first + 1, ':')) /* more than one: IPv6 without ports */
		return 0;
	*first = '\0';
	*ports = first + 1;
	return 0;
}

int policy_entry_parse(const char *text, struct policy_entry *entry, struct error *err)
{
	char line[POLICY_LINE_MAX], *to = line, *ports;
	size_t len = strlen(text);
	int r;

	*entry = (struct policy_entry){0};
	if (len >= sizeof(line))
		return error_say(err, EINVAL, "an entry has at most %u bytes",
				 POLICY_LINE_MAX - 1);
	memcpy(line, text, len + 1);
	r = cut_ports(&to, &ports, err);
	if (r == 0)
		r = parse_to(to, entry, err);
	return r < 0 || !ports ? r : parse_ports(ports, entry, err);
}

/* Return: bytes put at @to. */
static size_t print_to(const struct policy_entry *entry, char to[POLICY_LINE_MAX])
{
	bool bracket = entry->range.six && entry->port_count;
	char range[POLICY_RANGE_TEXT];

	if (entry->kind == POLICY_RANGE)
		policy_range_print(&entry->range, range);
	if (entry->kind == POLICY_RANGE)
		return (size_t)snprintf(to, POLICY_LINE_MAX, bracket ? "[%s]" : "%s",
					range);
	return (size_t)snprintf(to, POLICY_LINE_MAX, "%s%s",
				entry->kind == POLICY_BELOW ? "*." : "", entry->name);
}

/* The longest there is: "*.", a name, and 16 of ":65534-65535". It fits. */
void policy_entry_print(const struct policy_entry *entry, char to[POLICY_LINE_MAX])
{
	size_t used = print_to(entry, to);

	for (unsigned i = 0; i < entry->port_count; i++) {
		const struct policy_ports *ports = &entry->ports[i];

		used += (size_t)snprintf(to + used, POLICY_LINE_MAX - used, "%c%u",
					 i ? ',' : ':', ports->low);
		if (ports->high > ports->low)
			used += (size_t)snprintf(to + used, POLICY_LINE_MAX - used, "-%u",
						 ports->high);
	}
}

static bool is_below(const char *name, const char *domain)
{
	size_t len = strlen(name), end = strlen(domain);

	return len > end + 1 && name[len - end - 1] == '.' &&
	       strcmp(name + len - end, domain) == 0;
}

bool policy_entry_names(const struct policy_entry *entry, const char *name)
{
	if (entry->kind == POLICY_BELOW)
		return is_below(name, entry->name);
	return entry->kind == POLICY_NAME && strcmp(entry->name, name) == 0;
}

bool policy_entry_ports(const struct policy_entry *entry, struct policy_ports ports)
{
	for (unsigned i = 0; i < entry->port_count; i++)
		if (entry->ports[i].low <= ports.low && entry->ports[i].high >= ports.high)
			return true;
	return entry->port_count == 0;
}

bool policy_entry_to(const struct policy_entry *outer, const struct policy_entry *inner)
{
	if (outer->kind == POLICY_RANGE || inner->kind == POLICY_RANGE)
		return outer->kind == inner->kind &&
		       policy_range_has(&outer->range, &inner->range);
	if (inner->kind == POLICY_BELOW)
		return outer->kind == POLICY_BELOW &&
		       (strcmp(outer->name, inner->name) == 0 ||
			is_below(inner->name, outer->name));
	return policy_entry_names(outer, inner->name);
}

bool policy_entry_same(const struct policy_entry *a, const struct policy_entry *b)
{
	return policy_entry_to(a, b) && policy_entry_to(b, a) &&
	       a->port_count == b->port_count &&
	       memcmp(a->ports, b->ports, a->port_count * sizeof(*a->ports)) == 0;
}
