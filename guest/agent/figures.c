#include "guest/agent/figures.h"

#include "wire/agent.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE (64u << 10)

void figures_init(struct figures *figures, struct port *port, uint32_t stream)
{
	*figures = (struct figures){.port = port, .stream = stream, .number = 1};
}

static int first(const struct figures *figures)
{
	int fd;

	memcpy(&fd, buf_peek(&figures->fds), sizeof(fd));
	return fd;
}

static void drop_first(struct figures *figures)
{
	close(first(figures));
	buf_consume(&figures->fds, sizeof(int));
	figures->at = 0;
	figures->number++;
}

/* The agent must not wait: of other files than regular ones a read may never end. */
static bool is_good(const struct figures *figures, int fd)
{
	size_t before = figures->number - 1 + figures->fds.len / sizeof(int);
	struct stat st;

	return before < AGENT_FIGURES && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	       st.st_size <= AGENT_FIGURE_MAX;
}

void figures_add(struct figures *figures, int fd)
{
	if (!is_good(figures, fd) || buf_append(&figures->fds, &fd, sizeof(fd)) < 0)
		close(fd);
	else
		figures_resume(figures);
}

void figures_resume(struct figures *figures)
{
	static uint8_t piece[4 + PIECE];
	struct cursor c = cursor_into(piece, sizeof(piece));
	ssize_t n;

	while (figures->fds.len && port_has_room(figures->port)) {
		c = cursor_into(piece, sizeof(piece));
		cursor_put_u32(&c, figures->number);
		n = figures->at < AGENT_FIGURE_MAX
			? pread(first(figures), piece + 4, PIECE, figures->at)
			: 0;
		if (n < 0)
			n = 0;
		port_send(figures->port, figures->stream, AGENT_FIGURE, piece,
			  4 + (size_t)n);
		figures->at += n;
		if (!n)
			drop_first(figures);
	}
}

bool figures_are_sent(const struct figures *figures)
{
	return !figures->fds.len;
}

void figures_fini(struct figures *figures)
{
	while (figures->fds.len)
		drop_first(figures);
	buf_fini(&figures->fds);
}
