#include "pffs/cli/keys.h"

#define ESCAPE	  0x1d /* ^] */
#define END_OF_IN 0x04 /* ^D */

static bool take_key(struct keys *keys, char key)
{
	static const char escape = ESCAPE;

	if (keys->person && key == ESCAPE && !keys->escaped) {
		keys->escaped = true;
		return false;
	}
	if (keys->escaped && key == 'd')
		return true;
	if (keys->escaped && key != ESCAPE)
		buf_append(&keys->typed, &escape, 1);
	keys->escaped = false;
	buf_append(&keys->typed, &key, 1);
	return false;
}

bool keys_take(struct keys *keys, const char *typed, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (take_key(keys, typed[i]))
			return true;
	return false;
}

void keys_end(struct keys *keys)
{
	static const char end = END_OF_IN;

	if (!keys->typed.len)
		buf_append(&keys->typed, &end, 1);
}

void keys_fini(struct keys *keys)
{
	buf_fini(&keys->typed);
}
