#include "pffs/core/diff/target.h"

struct sandbox *target_named(const struct sandbox *sb, const char *name,
			     target_sees_fn *sees, const void *ctx)
{
	const folder_t folders[] = {FOLDER_FORKS(sb->serial), sb->folder, FOLDER_ROOT};
	struct sandbox *found;

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		found = sandbox_find(sb->core, folders[i], name);
		if (found && (!sees || sees(ctx, found)))
			return found;
	}
	found = sandbox_by_id(sb->core, name);
	return found && (!sees || sees(ctx, found)) ? found : NULL;
}
