#include "wire/picks.h"

#include "wire/cursor.h"
#include "wire/files.h"
#include "wire/tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int picks_put(struct buf *out, const char *path, enum pick_how how)
{
	uint8_t head[1 + 4];
	struct cursor c = cursor_into(head, sizeof(head));
	size_t len = strlen(path) + 1;
	int r;

	cursor_put_u8(&c, (uint8_t)how);
	cursor_put_u32(&c, (uint32_t)len);
	r = buf_append(out, head, sizeof(head));
	return r < 0 ? r : buf_append(out, path, len);
}

static bool get(struct cursor *c, struct pick *pick)
{
	uint8_t how = cursor_get_u8(c);
	uint32_t len = cursor_get_u32(c);
	const char *path = len && len <= FILES_PATH_MAX + 1 ? cursor_get_raw(c, len) : NULL;

	*pick = (struct pick){path, how};
	return path && strnlen(path, len) == len - 1 && files_path_ok(path) &&
	       how >= PICK_NAME && how <= PICK_ALL;
}

/* What is picked for more comes first. */
static int compare(const void *a, const void *b)
{
	const struct pick *x = a, *y = b;
	int order = tree_path_compare(x->path, y->path);

	return order ? order : (int)y->how - (int)x->how;
}

static void drop_doubles(struct picks *picks)
{
	size_t count = 0;

	for (size_t i = 0; i < picks->count; i++)
		if (!count || strcmp(picks->list[count - 1].path, picks->list[i].path) != 0)
			picks->list[count++] = picks->list[i];
	picks->count = count;
}

int picks_parse(struct picks *picks, const void *data, size_t len)
{
	struct cursor c = cursor_over(data, len);
	size_t most = len / (1 + 4 + 1); /* an encoded pick is no shorter */

	*picks = (struct picks){.list = calloc(most + 1, sizeof(struct pick))};
	if (!picks->list)
		return -ENOMEM;
	while (cursor_left(&c)) {
		if (picks->count > most || !get(&c, &picks->list[picks->count])) {
			picks_fini(picks);
			return -EPROTO;
		}
		picks->count++;
	}
	qsort(picks->list, picks->count, sizeof(*picks->list), compare);
	drop_doubles(picks);
	return 0;
}

void picks_fini(struct picks *picks)
{
	free(picks->list);
	*picks = (struct picks){0};
}

size_t picks_at(const struct picks *picks, const char *path)
{
	size_t low = 0, high = picks->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (tree_path_compare(picks->list[mid].path, path) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* All of what is below a path stands together behind it: what is passed by is over. */
bool picks_sweep_all(struct picks_sweep *sweep, const char *path)
{
	const struct picks *picks = sweep->picks;

	for (; sweep->next < picks->count; sweep->next++) {
		const struct pick *pick = &picks->list[sweep->next];

		if (pick->how != PICK_ALL)
			continue;
		if (tree_path_is_below(path, pick->path))
			return true;
		if (tree_path_compare(path, pick->path) < 0)
			return false;
	}
	return false;
}
