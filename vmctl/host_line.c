#include "vmctl/host_line.h"

#include "vmctl/broker.h"
#include "vmctl/client.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define LINE_WORD  "pffsline"
#define LINE_PIECE 4096u

int line_put(struct buf *out, const uint8_t nonce[LINK_NONCE])
{
	uint8_t *to = buf_reserve(out, strlen(LINE_WORD) + LINK_NONCE);

	if (!to)
		return -ENOMEM;
	buf_append(out, LINE_WORD, strlen(LINE_WORD));
	return buf_append(out, nonce, LINK_NONCE);
}

/* Drop what is before @what. Return: whether it was there; else its beginning may be. */
static bool seek(struct buf *in, const void *what, size_t len)
{
	const uint8_t *from = buf_peek(in), *at;

	if (!from || in->len < len)
		return false;
	at = memmem(from, in->len, what, len);
	buf_consume(in, at ? (size_t)(at - from) : in->len - len + 1);
	return at;
}

bool line_take(struct buf *in, uint8_t nonce[LINK_NONCE])
{
	const size_t word = strlen(LINE_WORD);

	if (!seek(in, LINE_WORD, word) || in->len < word + LINK_NONCE)
		return false;
	memcpy(nonce, buf_peek(in) + word, LINK_NONCE);
	buf_consume(in, word + LINK_NONCE);
	return true;
}

bool line_seek(struct buf *in, const uint8_t nonce[LINK_NONCE])
{
	if (!seek(in, nonce, LINK_NONCE))
		return false;
	buf_consume(in, LINK_NONCE);
	return true;
}

/* A relay has come. */
static void begin(struct line *line, const uint8_t nonce[LINK_NONCE])
{
	struct client *client;

	list_for_each (client, &line->broker->clients, struct client, link)
		if (client->port)
			client_begin(client, nonce);
	buf_consume(&line->out, line->out.len);
	line_put(&line->out, nonce);
}

static void on_line(struct loop_source *source, uint32_t revents)
{
	struct line *line = container_of(source, struct line, source);
	bool hung = revents & (EPOLLHUP | EPOLLERR);
	uint8_t nonce[LINK_NONCE];
	ssize_t n = 0;

	if (!hung)
		n = buf_fill(&line->in, source->fd, LINE_PIECE);
	while (line_take(&line->in, nonce))
		begin(line, nonce);
	if (line->out.len)
		buf_flush(&line->out, source->fd);
	loop_mod(&line->broker->loop, source,
		 hung || n == 0 ? CLIENT_HUNG : EPOLLIN | (line->out.len ? EPOLLOUT : 0u));
}

int line_init(struct line *line, struct broker *broker, int fd, struct error *err)
{
	int r;

	*line = (struct line){.broker = broker};
	r = loop_add(&broker->loop, &line->source, fd, EPOLLIN, on_line);
	if (r == 0)
		return 0;
	close(fd);
	return error_set(err, -r, "cannot serve a relay");
}

void line_fini(struct line *line)
{
	int fd = line->source.fd;

	if (fd >= 0) {
		loop_del(&line->broker->loop, &line->source);
		close(fd);
	}
	buf_fini(&line->in);
	buf_fini(&line->out);
}
