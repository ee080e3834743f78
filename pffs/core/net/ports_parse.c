#include "pffs/core/net/ports_parse.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLANKS " \t\r"

static int say_how(struct error *err, const char *line)
{
	return error_say(
	    err, EINVAL,
	    "'%.60s' is no port of net/ports: that is a number from 1 to 65535, "
	    "and, if it is to be reached at the host's loopback as well, "
	    "ADDRESS:PORT, as in 8000 127.0.0.1:8080",
	    line);
}

/* Return: 0 or -EINVAL. */
static int parse_number(const char *text, uint16_t *number)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (text[0] < '1' || text[0] > '9' || *end || value > UINT16_MAX)
		return -EINVAL;
	*number = (uint16_t)value;
	return 0;
}

/* ADDRESS:PORT or [ADDRESS]:PORT, which is cut. Return: 0 or -EINVAL. */
static int parse_address(char *text, struct sockaddr_storage *address)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
	char *colon = strrchr(text, ':');
	uint16_t number;

	if (!colon || parse_number(colon + 1, &number) < 0)
		return -EINVAL;
	*colon = '\0';
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(number);
		return 0;
	}
	if (text[0] != '[' || colon[-1] != ']')
		return -EINVAL;
	colon[-1] = '\0';
	if (inet_pton(AF_INET6, text + 1, &v6->sin6_addr) != 1)
		return -EINVAL;
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(number);
	return 0;
}

static int parse_line(char *text, struct port_line *line, struct error *err)
{
	char whole[PORT_LINE_MAX], *rest = NULL, *number, *address;

	snprintf(whole, sizeof(whole), "%s", text);
	number = strtok_r(text, BLANKS, &rest);
	address = strtok_r(NULL, BLANKS, &rest);
	if (parse_number(number, &line->number) < 0 || strtok_r(NULL, BLANKS, &rest) ||
	    (address && parse_address(address, &line->address) < 0))
		return say_how(err, whole);
	if (address && !binder_is_loopback(&line->address))
		return error_say(err, EPERM,
				 "'%s': only addresses of the loopback can be listened at, "
				 "such as 127.0.0.1",
				 whole);
	return 0;
}

static int add_line(struct port_lines *lines, const struct port_line *line,
		    struct error *err)
{
	for (size_t i = 0; i < lines->count; i++) {
		if (lines->line[i].number != line->number)
			continue;
		if (memcmp(&lines->line[i].address, &line->address,
			   sizeof(line->address)) == 0)
			return 0;
		return error_say(err, EEXIST, "port %u is in net/ports already",
				 line->number);
	}
	if (lines->count == PORTS_MAX)
		return error_say(err, ENOSPC, "net/ports has %d ports, which is all it can",
				 PORTS_MAX);
	lines->line[lines->count++] = *line;
	return 0;
}

int port_lines_parse(struct port_lines *lines, const char *text, struct error *err)
{
	char line[PORT_LINE_MAX];
	int r = 0;

	while (r == 0 && *text) {
		size_t len = strcspn(text, "\n"), shown = strcspn(text, "\n#");
		struct port_line parsed;

		memset(&parsed, 0, sizeof(parsed));
		snprintf(line, sizeof(line), "%.*s", (int)shown, text);
		if (shown >= sizeof(line))
			r = say_how(err, line);
		else if (line[strspn(line, BLANKS)])
			r = parse_line(line, &parsed, err);
		if (r == 0 && parsed.number)
			r = add_line(lines, &parsed, err);
		text += len + (text[len] == '\n');
	}
	return r;
}

void port_line_print(const struct port_line *line, char text[PORT_LINE_MAX])
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)&line->address;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&line->address;
	char address[INET6_ADDRSTRLEN];

	if (line->address.ss_family == AF_INET)
		snprintf(text, PORT_LINE_MAX, "%u %s:%u", line->number,
			 inet_ntop(AF_INET, &v4->sin_addr, address, sizeof(address)),
			 ntohs(v4->sin_port));
	else if (line->address.ss_family == AF_INET6)
		snprintf(text, PORT_LINE_MAX, "%u [%s]:%u", line->number,
			 inet_ntop(AF_INET6, &v6->sin6_addr, address, sizeof(address)),
			 ntohs(v6->sin6_port));
	else
		snprintf(text, PORT_LINE_MAX, "%u", line->number);
}
