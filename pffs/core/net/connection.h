/*
 * A connection from outside to a port of a guest.
 *
 * Theory of operation
 *
 * It is a stream of the agent's protocol (wire/agent.h) on one side and a socket on the
 * other. Each side is read only as long as the other has room: of the client at most
 * AGENT_STDIN_WINDOW bytes are on the way, of the guest AGENT_PORT_WINDOW, which wait in
 * `out` until the client reads them. Either direction ends by itself.
 *
 * It is opened when the machine is ready, which a frozen one is resumed for; until then the
 * client's bytes stay in its socket. While the machine is being forked or frozen nothing is
 * sent. It ends with the machine: in a fork there is no copy of it, and the agent of one
 * that wakes knows of none.
 */
#pragma once

#include "pffs/core/sandbox.h"

struct port;
struct ports;

/* Of one sandbox. Others wait in the sockets' backlogs, but for those that come by a
 * porter, which are closed. */
#define CONNECTIONS_MAX 256

/** connection_new() - somebody has connected. @fd: taken over. */
void connection_new(struct port *port, int fd);

/** connections_resume() - something may be sent to the guest again. */
void connections_resume(struct sandbox *sb);

/** connections_frame() - a frame of a connection. Return: 0, or -EPROTO with @err filled.
 */
int connections_frame(struct sandbox *sb, const struct agent_frame *frame,
		      struct error *err);

/** connections_drained() - there is room for what is on the way to the guest. */
void connections_drained(struct sandbox *sb);

/** connections_abandon() - end those to @port, NULL: all, and tell the guest. */
void connections_abandon(struct ports *ports, const struct port *port);

/** connections_end() - end all that the guest knew: it knows them no more, or there is
 * none.
 * @waiting: the others as well. */
void connections_end(struct ports *ports, bool waiting);
