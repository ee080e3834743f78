#include "vmctl/images.h"

#include "util/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *images_dir(const char *given)
{
	const char *env = getenv("PFFS_IMAGES");

	if (given)
		return given;
	return env && *env ? env : IMAGES_DEFAULT;
}

bool images_is_name(const char *name)
{
	size_t len = strlen(name);

	return len >= 1 && len <= 64 && name[0] != '.' &&
	       strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
			    "0123456789._-") == len;
}

char *images_path(const char *dir, const char *name, const char *suffix)
{
	char *path;

	if (asprintf(&path, "%s/%s%s", dir, name, suffix ? suffix : "") < 0)
		return NULL;
	return path;
}

int images_need(const char *path, const char *what, const char *remedy, struct error *err)
{
	if (access(path, R_OK) == 0)
		return 0;
	if (errno == ENOENT)
		return error_say(err, ENOENT, "there is no %s (%s): make it with %s", what,
				 path, remedy);
	return error_set(err, errno, "cannot read the %s %s", what, path);
}

char *images_template(const char *dir, const char *name, struct error *err)
{
	cleanup_free char *folder = images_path(dir, "templates", NULL), *path = NULL;

	if (!images_is_name(name)) {
		error_say(err, EINVAL,
			  "a template's name is 1 to 64 of A-Za-z0-9._- and "
			  "does not begin with a dot");
		return NULL;
	}
	if (folder)
		path = images_path(folder, name, IMAGES_SUFFIX);
	if (!path) {
		error_set(err, ENOMEM, "cannot look for template %s", name);
		return NULL;
	}
	if (access(path, R_OK) == 0)
		return steal_pointer(&path);
	if (errno == ENOENT)
		error_say(err, ENOENT,
			  "there is no template %s: build it with guest/images/build %s",
			  name, name);
	else
		error_set(err, errno, "cannot read template %s", name);
	return NULL;
}

/* The template's name in @file, the name of a file, or NULL. */
static json_t *template_of(const char *file)
{
	size_t len = strlen(file), suffix = strlen(IMAGES_SUFFIX);
	char name[65];

	if (len <= suffix || len - suffix >= sizeof(name) ||
	    strcmp(file + len - suffix, IMAGES_SUFFIX) != 0)
		return NULL;
	memcpy(name, file, len - suffix);
	name[len - suffix] = '\0';
	return images_is_name(name) ? json_string(name) : NULL;
}

json_t *images_templates(const char *dir)
{
	cleanup_free char *folder = images_path(dir, "templates", NULL);
	cleanup_free struct dirent **files = NULL;
	json_t *names = json_array();
	int count = folder ? scandir(folder, &files, NULL, alphasort) : -1;

	for (int i = 0; i < count; i++) {
		json_t *name = template_of(files[i]->d_name);

		if (name)
			json_array_append_new(names, name);
		free(files[i]);
	}
	return names;
}
