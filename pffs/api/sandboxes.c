/*
 * Sandboxes: made, listed, changed, removed.
 */
#include "pffs/api/making.h"
#include "pffs/api/reply.h"
#include "pffs/api/settings.h"
#include "pffs/api/shown.h"
#include "pffs/core/place.h"
#include "pffs/core/template.h"

#include <errno.h>
#include <string.h>

static int tell_made(struct request *r, struct sandbox **made, size_t count,
		     struct error *err)
{
	(void)count;
	if (settings_apply(r, made[0], err) < 0)
		return err->code;
	reply_json(r, MHD_HTTP_OK, shown_sandbox(made[0]));
	return 0;
}

static int check_name(struct request *r, char fresh[SANDBOX_NAME_MAX + 1],
		      const char **name, struct error *err)
{
	int result = request_text(r, "name", name, err);

	if (result < 0)
		return result;
	if (*name)
		return sandbox_check_name(r->core, FOLDER_ROOT, *name, err);
	*name = fresh;
	return place_fresh_name(r->core, fresh) < 0
		   ? error_say(err, EIO, "cannot find a name")
		   : 0;
}

static int find_template(struct request *r, size_t *index, struct error *err)
{
	const char *name = NULL;
	int found, result = request_text(r, "template", &name, err);

	if (result < 0)
		return result;
	if (!name || !*name) {
		templates_find(&r->core->templates, "default");
		*index = r->core->templates.fallback;
		return 0;
	}
	found = template_find(r->core, name);
	if (found < 0)
		return error_say(err, EINVAL, "there is no template %.64s", name);
	*index = (size_t)found;
	return 0;
}

static int begin(struct request *r, struct error *err)
{
	char fresh[SANDBOX_NAME_MAX + 1];
	const char *name = NULL;
	struct fork_order order = {.folder = FOLDER_ROOT,
				   .names = &name,
				   .count = 1,
				   .uid = r->core->options.uid,
				   .gid = r->core->options.gid};
	struct making *making;
	size_t template = 0;
	int result = settings_check(r, err);

	if (result == 0)
		result = check_name(r, fresh, &name, err);
	if (result == 0)
		result = find_template(r, &template, err);
	if (result < 0)
		return result;
	making = making_new(r, 1, tell_made);
	if (!making)
		return error_set(err, ENOMEM, "cannot make a sandbox");
	order.handle = &making->fork;
	return template_fork(r->core, template, &order, making_made, making, err);
}

static void create(struct request *r)
{
	struct error err;

	if (begin(r, &err) < 0)
		reply_error(r, &err);
}

static void list(struct request *r)
{
	json_t *all = json_array();
	struct sandbox *sb;

	list_for_each (sb, &r->core->sandboxes, struct sandbox, link)
		if (sandbox_is_shown(sb))
			json_array_append_new(all, shown_sandbox(sb));
	reply_json(r, MHD_HTTP_OK, json_pack("{s:o}", "sandboxes", all));
}

static void get(struct request *r)
{
	reply_json(r, MHD_HTTP_OK, shown_sandbox(r->sb));
}

static int change(struct request *r, struct error *err)
{
	const char *name = NULL;
	struct sandbox *sb = r->sb;
	int result = settings_check(r, err);

	if (result == 0)
		result = request_text(r, "name", &name, err);
	if (result == 0 && name &&
	    (sb->folder != FOLDER_ROOT || strcmp(name, sb->name) != 0))
		result = sandbox_rename(sb, FOLDER_ROOT, name, err);
	return result == 0 ? settings_apply(r, sb, err) : result;
}

static void patch(struct request *r)
{
	struct error err;

	if (change(r, &err) < 0)
		reply_error(r, &err);
	else
		reply_json(r, MHD_HTTP_OK, shown_sandbox(r->sb));
}

static bool is_in(const struct sandbox *sb, const struct sandbox *above)
{
	return sb->folder == FOLDER_FORKS(above->serial) && sandbox_is_shown(sb);
}

/* The root may have one of the same name. */
static int keep_fork(struct sandbox *fork, struct error *err)
{
	char name[SANDBOX_NAME_MAX + 1];
	struct error ignored;

	if (sandbox_rename(fork, FOLDER_ROOT, fork->name, &ignored) == 0)
		return 0;
	if (place_fresh_name(fork->core, name) < 0)
		return error_say(err, EIO, "cannot find a name for %s", fork->name);
	return sandbox_rename(fork, FOLDER_ROOT, name, err);
}

/* Forks of its forks stay where they are, in those. */
static int keep_forks(struct sandbox *sb, struct error *err)
{
	struct sandbox *fork;
	int result = 0;

	list_for_each (fork, &sb->core->sandboxes, struct sandbox, link)
		if (result == 0 && is_in(fork, sb))
			result = keep_fork(fork, err);
	return result;
}

static struct sandbox *some_fork(const struct sandbox *sb)
{
	struct sandbox *fork;

	list_for_each (fork, &sb->core->sandboxes, struct sandbox, link)
		if (is_in(fork, sb))
			return fork;
	return NULL;
}

/* From the leaves on: to remove one may remove others. */
static void remove_all(struct sandbox *sb)
{
	struct sandbox *leaf, *below;

	do {
		leaf = sb;
		while ((below = some_fork(leaf)))
			leaf = below;
		sandbox_destroy(leaf);
	} while (leaf != sb);
}

static int remove_as(struct sandbox *sb, const char *forks, struct error *err)
{
	if (strcmp(forks, "remove") == 0) {
		remove_all(sb);
		return 0;
	}
	if (strcmp(forks, "refuse") == 0) {
		if (sandbox_in_folder(sb->core, FOLDER_FORKS(sb->serial)))
			return error_say(err, EBUSY, "%s has forks", sb->name);
	} else if (keep_forks(sb, err) < 0) {
		return err->code;
	}
	sandbox_destroy(sb);
	return 0;
}

static bool is_forks(const char *text)
{
	return strcmp(text, "keep") == 0 || strcmp(text, "refuse") == 0 ||
	       strcmp(text, "remove") == 0;
}

static void remove_one(struct request *r)
{
	struct sandbox *sb = place_find(r->core, r->parameters[0]);
	const char *forks = request_query(r, "forks");
	struct error err;

	if (forks && !is_forks(forks))
		reply_say(r, EINVAL, "forks is keep, refuse or remove");
	else if (sb && remove_as(sb, forks ? forks : "keep", &err) < 0)
		reply_error(r, &err);
	else
		reply_empty(r, MHD_HTTP_NO_CONTENT);
}

const struct route sandbox_routes[] = {
    {"GET", "/v1/sandboxes", list, 0},
    {"POST", "/v1/sandboxes", create, ROUTE_JSON},
    {"GET", "/v1/sandboxes/{id}", get, ROUTE_SANDBOX},
    {"PATCH", "/v1/sandboxes/{id}", patch, ROUTE_SANDBOX | ROUTE_JSON},
    {"DELETE", "/v1/sandboxes/{id}", remove_one, 0},
    {"DELETE", "/v1/spaces/{id}", remove_one, 0},
    {0},
};
