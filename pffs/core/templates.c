#include "pffs/core/templates.h"

#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <string.h>

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
		free(t->names[i]);
	free(t->names);
	free(t->dir);
}

static int known(const struct templates *t, const char *name, size_t len)
{
	for (size_t i = 0; i < t->count; i++)
		if (strlen(t->names[i]) == len && memcmp(t->names[i], name, len) == 0)
			return (int)i;
	return -1;
}

static void add(struct templates *t, const char *name, size_t len)
{
	char *copy = strndup(name, len);
	char **grown = realloc(t->names, (t->count + 1) * sizeof(*grown));

	if (grown)
		t->names = grown;
	if (!copy || !grown) {
		free(copy);
		return;
	}
	if (t->fallback == SIZE_MAX && strcmp(copy, FALLBACK) == 0)
		t->fallback = t->count;
	t->names[t->count++] = copy;
}

void templates_scan(struct templates *t)
{
	cleanup_closedir DIR *dir = opendir(t->dir);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		const char *dot = strrchr(entry->d_name, '.');
		size_t len = dot ? (size_t)(dot - entry->d_name) : 0;

		if (len && len <= TEMPLATE_NAME_MAX && entry->d_name[0] != '.' &&
		    strcmp(dot, SUFFIX) == 0 && known(t, entry->d_name, len) < 0)
			add(t, entry->d_name, len);
	}
}

int templates_find(struct templates *t, const char *name)
{
	int index = known(t, name, strlen(name));

	if (index >= 0)
		return index;
	templates_scan(t);
	return known(t, name, strlen(name));
}

char *templates_file(const struct templates *t, size_t index, const char *suffix)
{
	cleanup_free char *path = NULL;
	char *text = NULL;
	size_t len;

	if (asprintf(&path, "%s/%s.%s", t->dir, t->names[index], suffix) >= 0)
		text = io_read_file(path, FILE_MAX, &len, NULL);
	else
		path = NULL;
	return text ? text : strdup("");
}
