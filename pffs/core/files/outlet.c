#include "pffs/core/files/outlet.h"

#include <errno.h>
#include <string.h>

void outlet_end(struct outlet *outlet, const struct error *err)
{
	outlet->end = true;
	if (err)
		outlet->err = *err;
	outlet->came(outlet->ctx);
}

/* What was made before something went wrong is taken first. */
ssize_t outlet_take(struct outlet *outlet, void *to, size_t max)
{
	bool was_full = outlet_is_full(outlet);
	size_t n = outlet->bytes.len < max ? outlet->bytes.len : max;

	if (!n)
		return !outlet->end ? 0 : outlet->err.code ? outlet->err.code : -ENODATA;
	memcpy(to, buf_peek(&outlet->bytes), n);
	buf_consume(&outlet->bytes, n);
	if (was_full && !outlet_is_full(outlet) && !outlet->end)
		outlet->wanted(outlet);
	return (ssize_t)n;
}
