#include "pffs/core/templates.h"

#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define SUFFIX	 ".erofs"
#define FILE_MAX (4u << 20)
#define FALLBACK "default"

int templates_init(struct templates *t, const char *images, struct error *err)
{
	*t = (struct templates){.fallback = SIZE_MAX};
	if (asprintf(&t->dir, "%s/templates", images) < 0)
		return error_set(err, ENOMEM, "cannot keep the images directory");
	templates_scan(t);
	return 0;
}

void templates_fini(struct templates *t)
{
	for (size_t i = 0; i < t->count; i++)
		free(t->list[i].name);
	free(t->list);
	free(t->dir);
}

bool templates_has(const struct templates *t, size_t index)
{
	return index < t->count && !t->list[index].gone;
}

static int known(const struct templates *t, const char *name)
{
	for (size_t i = 0; i < t->count; i++)
		if (!t->list[i].gone && strcmp(t->list[i].name, name) == 0)
			return (int)i;
	return -1;
}

static void choose_fallback(struct templates *t)
{
	int index = known(t, FALLBACK);

	if (!templates_has(t, t->fallback))
		t->fallback = index < 0 ? SIZE_MAX : (size_t)index;
}

int templates_add(struct templates *t, const char *name)
{
	char *copy = strdup(name);
	struct template *grown = realloc(t->list, (t->count + 1) * sizeof(*grown));

	if (grown)
		t->list = grown;
	if (!copy || !grown) {
		free(copy);
		return -ENOMEM;
	}
	t->list[t->count] = (struct template){.name = copy};
	t->count++;
	choose_fallback(t);
	return (int)t->count - 1;
}

void templates_remove(struct templates *t, size_t index)
{
	t->list[index].gone = true;
	choose_fallback(t);
}

/* Take up an image, the name of whose file is @file. */
static void take_up(struct templates *t, const char *file)
{
	const char *dot = strrchr(file, '.');
	char name[TEMPLATE_NAME_MAX + 1];
	size_t len = dot ? (size_t)(dot - file) : 0;

	if (!len || len > TEMPLATE_NAME_MAX || file[0] == '.' || strcmp(dot, SUFFIX) != 0)
		return;
	memcpy(name, file, len);
	name[len] = '\0';
	if (known(t, name) < 0)
		templates_add(t, name);
}

void templates_scan(struct templates *t)
{
	cleanup_closedir DIR *dir = opendir(t->dir);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		take_up(t, entry->d_name);
}

int templates_find(struct templates *t, const char *name)
{
	int index = known(t, name);

	if (index >= 0)
		return index;
	templates_scan(t);
	return known(t, name);
}

/* Return: 0 or -errno. */
static int stat_image(const struct templates *t, size_t index, struct stat *st)
{
	cleanup_free char *path = NULL;

	if (asprintf(&path, "%s/%s" SUFFIX, t->dir, t->list[index].name) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	return stat(path, st) < 0 ? -errno : 0;
}

bool templates_image_gone(const struct templates *t, size_t index)
{
	struct stat st;

	return !t->list[index].made && stat_image(t, index, &st) == -ENOENT;
}

bool templates_image_changed(struct templates *t, size_t index)
{
	struct template *template = &t->list[index];
	struct stat st;
	bool changed;

	if (stat_image(t, index, &st) < 0)
		return false;
	changed = st.st_mtim.tv_sec != template->created.tv_sec ||
		  st.st_mtim.tv_nsec != template->created.tv_nsec;
	template->created = st.st_mtim;
	if (changed)
		template->image = ++t->images;
	return changed;
}

char *templates_file(const struct templates *t, size_t index, const char *suffix)
{
	cleanup_free char *path = NULL;
	char *text = NULL;
	size_t len;

	if (asprintf(&path, "%s/%s.%s", t->dir, t->list[index].name, suffix) >= 0)
		text = io_read_file(path, FILE_MAX, &len, NULL);
	else
		path = NULL;
	return text ? text : strdup("");
}
