#include "pffs/core/place.h"

#include "util/cleanup.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

/* Put @name and @between before @path, which is freed. Return: the longer one, or NULL. */
static char *put_before(const char *name, const char *between, char *path)
{
	char *longer;

	if (!path || asprintf(&longer, "%s%s%s", name, between, path) < 0)
		longer = NULL;
	free(path);
	return longer;
}

char *place_path(const struct sandbox *sb)
{
	const struct templates *templates = &sb->core->templates;
	char *path = strdup(sb->name);
	folder_t folder = sb->folder;
	const struct sandbox *parent;

	while (path && (parent = sandbox_of_folder(sb->core, folder))) {
		path = put_before(parent->name, "/forks/", path);
		folder = parent->folder;
	}
	if (folder == FOLDER_ROOT || folder >> 62 != FOLDER_TEMPLATE(0) >> 62)
		return path;
	path =
	    put_before(templates->list[folder & ~FOLDER_TEMPLATE(0)].name, "/forks/", path);
	return put_before("templates", "/", path);
}

/* Cut the next name off a path, and a separator behind it. */
static char *next_name(char **rest)
{
	return strsep(rest, "/");
}

/* Names and forks/ in turn, from a folder on. */
static struct sandbox *walk(struct core *core, folder_t folder, char *rest)
{
	struct sandbox *sb = NULL;
	const char *name;

	while ((name = next_name(&rest))) {
		sb = sandbox_find(core, folder, name);
		if (!sb || !rest)
			return sb;
		if (strcmp(next_name(&rest), "forks") != 0)
			return NULL;
		folder = FOLDER_FORKS(sb->serial);
	}
	return NULL;
}

static bool template_folder(struct core *core, char **rest, folder_t *folder)
{
	const char *name;
	int index;

	if (strncmp(*rest, "templates/", 10) != 0)
		return true;
	*rest += 10;
	name = next_name(rest);
	index = *rest ? templates_find(&core->templates, name) : -1;
	if (index < 0 || strcmp(next_name(rest), "forks") != 0 || !*rest)
		return false;
	*folder = FOLDER_TEMPLATE((folder_t)index);
	return true;
}

struct sandbox *place_find(struct core *core, const char *text)
{
	cleanup_free char *copy = strdup(text);
	struct sandbox *sb = sandbox_by_id(core, text);
	folder_t folder = FOLDER_ROOT;
	char *rest = copy;

	if (sb || !copy || !template_folder(core, &rest, &folder))
		return sb;
	return walk(core, folder, rest);
}

int place_fresh_name(struct core *core, char name[SANDBOX_NAME_MAX + 1])
{
	struct error ignored;
	uint32_t number;

	do {
		if (getrandom(&number, sizeof(number), 0) != sizeof(number))
			return -EIO;
		snprintf(name, SANDBOX_NAME_MAX + 1, "sb-%08x", number);
	} while (sandbox_check_name(core, FOLDER_ROOT, name, &ignored) < 0);
	return 0;
}
