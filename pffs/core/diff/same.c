#include "pffs/core/diff/same.h"

#include <sys/stat.h>

/* How long forks may have the clock of their parent: it was a tenth of a second where
 * machines were slow. */
#define FORK_NS 100000000

bool same_attributes(const struct tree_state *a, const struct tree_state *b)
{
	return a->mode == b->mode && a->uid == b->uid && a->gid == b->gid;
}

bool same_untouched(const struct tree_state *a, const struct tree_state *b, int64_t doubt)
{
	if (a->size != b->size || a->mtime_ns != b->mtime_ns || a->ino != b->ino)
		return false;
	return !a->ino || (a->ctime_ns == b->ctime_ns && a->ctime_ns < doubt);
}

int64_t same_doubt(const struct tree *a, const struct tree *b)
{
	struct tree_pairs pairs = {.from = a, .to = b};
	int64_t newest = INT64_MIN;
	struct tree_pair pair;

	while (tree_pair_next(&pairs, &pair))
		if (S_ISREG(pair.from->mode) && pair.to->ino &&
		    pair.to->ctime_ns > newest &&
		    same_untouched(pair.from, pair.to, INT64_MAX))
			newest = pair.to->ctime_ns;
	return newest == INT64_MIN ? INT64_MAX : newest - FORK_NS;
}
