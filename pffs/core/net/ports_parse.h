/*
 * Lines of net/ports.
 */
#pragma once

#include "pffs/core/net/ports.h"

struct port_line {
	uint16_t number;
	struct sockaddr_storage address; /* AF_UNSPEC: none */
};

struct port_lines {
	struct port_line line[PORTS_MAX];
	size_t count;
};

/**
 * port_lines_parse() - add the lines of @text.
 * Return: 0, -EINVAL, -EPERM for an address that is not of the loopback, -EEXIST for a port
 * that is there with another address, -ENOSPC; @err filled.
 */
int port_lines_parse(struct port_lines *lines, const char *text, struct error *err);

/** port_line_print() - as it is written, without a newline. */
void port_line_print(const struct port_line *line, char text[PORT_LINE_MAX]);
