#include "pffs/fs/text.h"

#include "util/cleanup.h"

#include <errno.h>
#include <string.h>

/* The longest value that any control file takes in one write. */
#define VALUE_MAX 4096

static char *render(const struct node *node, size_t *len)
{
	const struct file_ops *ops = kind_info(node->kind)->ops;
	char *text = NULL;
	FILE *out = open_memstream(&text, len);

	if (!out)
		return NULL;
	if (ops->render)
		ops->render(node, out);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

int text_open(struct handle *h, struct error *err)
{
	char *text;
	size_t len;

	if ((h->flags & O_ACCMODE) == O_WRONLY)
		return 0;
	text = render(&h->node, &len);
	if (!text)
		return error_set(err, ENOMEM, "cannot show this file");
	handle_text(h, text, len);
	return 0;
}

ssize_t text_read(struct handle *h, uint64_t offset, char *to, size_t len)
{
	return handle_read_text(h, offset, to, len);
}

/* Each line of a write is a value of its own, taken in order until one fails. */
int text_write(struct handle *h, const char *data, size_t len, struct error *err)
{
	char value[VALUE_MAX + 1];
	char *rest = value, *line;
	int r;

	if (len > VALUE_MAX || memchr(data, '\0', len))
		return error_say(err, EINVAL, "a value is text of at most %d bytes",
				 VALUE_MAX);
	memcpy(value, data, len);
	value[len] = '\0';
	while ((line = strsep(&rest, "\n"))) {
		if (!*line)
			continue;
		r = h->ops->store(&h->node, line, err);
		if (r < 0)
			return r;
	}
	return 0;
}

uint64_t text_size(const struct node *node)
{
	size_t len = 0;
	cleanup_free char *text = render(node, &len);

	return text ? len : 0;
}

size_t text_words(char *text, char **words, size_t max)
{
	char *rest = text, *word;
	size_t count = 0;

	while ((word = strsep(&rest, " \t\n"))) {
		if (!*word)
			continue;
		if (count < max)
			words[count] = word;
		count++;
	}
	return count;
}
