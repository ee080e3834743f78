#include "pffs/fs/targets.h"

#include "pffs/core/diff/target.h"

#include <errno.h>
#include <string.h>

static const struct {
	const char *suffix;
	enum kind kind;
} forms[] = {
    {"", KIND_DIFF_LIST},
    {".json", KIND_DIFF_JSON},
    {".patch", KIND_DIFF_PATCH},
};

#define FORMS (sizeof(forms) / sizeof(forms[0]))

static bool sees(const void *ctx, const struct sandbox *sb)
{
	return node_may_see(ctx, sb);
}

static struct sandbox *named(const struct node *dir, const char *name)
{
	return target_named(dir->sb, name, sees, dir->fs);
}

int target_child(const struct node *dir, const char *name, struct node *child)
{
	char stem[SANDBOX_NAME_MAX + 1];

	for (size_t i = 0; i < FORMS; i++) {
		size_t len = strlen(name), cut = strlen(forms[i].suffix);

		if (len <= cut || len - cut > SANDBOX_NAME_MAX ||
		    strcmp(name + len - cut, forms[i].suffix) != 0)
			continue;
		memcpy(stem, name, len - cut);
		stem[len - cut] = '\0';
		child->kind = forms[i].kind;
		child->target = named(dir, stem);
		if (child->target && child->target->serial <= NODE_PART_MAX)
			return 0;
	}
	return -ENOENT;
}

void target_list(const struct node *dir,
		 void (*emit)(void *ctx, const char *name, const struct node *node),
		 void *ctx)
{
	struct node child = *dir;
	char name[TARGET_NAME_MAX + 1];

	list_for_each (child.target, &dir->fs->core->sandboxes, struct sandbox, link) {
		if (child.target->making || child.target == dir->sb ||
		    child.target->serial > NODE_PART_MAX ||
		    named(dir, child.target->name) != child.target)
			continue;
		for (size_t i = 0; i < FORMS; i++) {
			child.kind = forms[i].kind;
			snprintf(name, sizeof(name), "%s%s", child.target->name,
				 forms[i].suffix);
			emit(ctx, name, &child);
		}
	}
}

struct sandbox *target_parent(const struct fs *fs, const struct sandbox *sb)
{
	struct sandbox *parent =
	    *sb->parent_id ? sandbox_by_id(sb->core, sb->parent_id) : NULL;

	return parent && node_may_see(fs, parent) ? parent : NULL;
}
