/* The bounded cursor: round trips, the end of the buffer, sticky overflow. */
#include "wire/cursor.h"

#include "tests/unit/tap.h"

static void integers_are_little_endian(void)
{
	static const uint8_t want[] = {0x01, 0x23, 0x01, 0x67, 0x45, 0x23, 0x01, 0xef,
				       0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01};
	uint8_t bytes[sizeof(want)];
	struct cursor c = cursor_into(bytes, sizeof(bytes));

	cursor_put_u8(&c, 0x01);
	cursor_put_u16(&c, 0x0123);
	cursor_put_u32(&c, 0x01234567);
	cursor_put_u64(&c, 0x0123456789abcdef);
	ok(cursor_done(&c), "everything fits exactly");
	is_mem(bytes, want, sizeof(want), "the bytes are little-endian");

	c = cursor_over(bytes, sizeof(bytes));
	is_int(cursor_get_u8(&c), 0x01, "u8 comes back");
	is_int(cursor_get_u16(&c), 0x0123, "u16 comes back");
	is_int(cursor_get_u32(&c), 0x01234567, "u32 comes back");
	is_int(cursor_get_u64(&c), 0x0123456789abcdef, "u64 comes back");
	ok(cursor_done(&c), "nothing is left over");
}

static void overflow_is_sticky(void)
{
	uint8_t bytes[3] = {1, 2, 3};
	struct cursor c = cursor_over(bytes, sizeof(bytes));

	is_int(cursor_get_u32(&c), 0, "an integer that does not fit reads as 0");
	ok(c.overflow, "and is an overflow");
	is_int(cursor_get_u8(&c), 0, "so does what would have fitted after it");
	ok(!cursor_get_raw(&c, 1), "there are no raw bytes after an overflow");
	ok(!cursor_get_raw(&c, 0), "not even none of them");
	is_int(cursor_left(&c), 3, "and the cursor has not moved");
	ok(!cursor_done(&c), "so that the decoder's one check fails");

	c = cursor_into(bytes, sizeof(bytes));
	cursor_put_u64(&c, UINT64_MAX);
	cursor_put_u8(&c, 9);
	ok(c.overflow, "writing over the end is an overflow");
	is_int(bytes[0], 1, "nothing is written after it");
}

static void raw_bytes_stay_in_bounds(void)
{
	uint8_t bytes[4] = {1, 2, 3, 4};
	struct cursor c = cursor_over(bytes, sizeof(bytes));

	ok(cursor_get_raw(&c, 4) == bytes, "all the bytes are given in place");
	ok(cursor_get_raw(&c, 0) != NULL, "no bytes fit at the end");
	ok(!cursor_get_raw(&c, 1), "one byte does not");
	c = cursor_over(bytes, sizeof(bytes));
	ok(!cursor_get_raw(&c, SIZE_MAX), "a length of SIZE_MAX does not wrap around");
	c = cursor_into(bytes, sizeof(bytes));
	cursor_put_raw(&c, "abcde", 5);
	ok(c.overflow && bytes[0] == 1, "raw bytes are written whole or not at all");
	c = cursor_over(NULL, 0);
	is_int(cursor_left(&c), 0, "a cursor over nothing is empty");
	ok(cursor_done(&c), "and done");
	is_int(cursor_get_u8(&c), 0, "and reads as 0");
	ok(!cursor_done(&c), "which is an overflow");
}

static void strings_are_bounded(void)
{
	uint8_t bytes[32];
	char to[8] = "before";
	struct cursor c = cursor_into(bytes, sizeof(bytes));

	cursor_put_bytes(&c, "seven77", 7);
	cursor_put_bytes(&c, "", 0);
	c = cursor_over(bytes, 4 + 7 + 4);
	cursor_get_string(&c, to, sizeof(to));
	is_str(to, "seven77", "a string that just fits its room comes back");
	cursor_get_string(&c, to, sizeof(to));
	is_str(to, "", "an empty one too");
	ok(cursor_done(&c), "nothing is left over");

	c = cursor_over(bytes, 4 + 7);
	cursor_get_string(&c, to, 7);
	is_str(to, "", "a string longer than its room is not copied");
	ok(c.overflow, "and is an overflow");

	for (size_t len = 0; len < 4 + 7; len++) {
		c = cursor_over(bytes, len);
		cursor_get_string(&c, to, sizeof(to));
		ok(c.overflow && !to[0], "a string cut at byte %zu is an overflow", len);
	}
}

static void hostile_lengths_are_refused(void)
{
	static const uint32_t lengths[] = {5, 0x7fffffff, 0x80000000, 0xfffffffb,
					   0xffffffff};
	uint8_t bytes[8];
	char to[8];

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct cursor c = cursor_into(bytes, sizeof(bytes));

		cursor_put_u32(&c, lengths[i]);
		cursor_put_raw(&c, "abcd", 4);
		c = cursor_over(bytes, sizeof(bytes));
		cursor_get_string(&c, to, sizeof(to));
		ok(c.overflow && !to[0], "a claimed length of 0x%x over 4 bytes",
		   lengths[i]);
	}
}

static void nul_inside_a_string_is_refused(void)
{
	uint8_t bytes[8];
	char to[8];
	struct cursor c = cursor_into(bytes, sizeof(bytes));

	cursor_put_bytes(&c, "a\0bc", 4);
	c = cursor_over(bytes, sizeof(bytes));
	cursor_get_string(&c, to, sizeof(to));
	ok(c.overflow && !to[0], "a NUL inside a string is an overflow");
}

int main(void)
{
	integers_are_little_endian();
	overflow_is_sticky();
	raw_bytes_stay_in_bounds();
	strings_are_bounded();
	hostile_lengths_are_refused();
	nul_inside_a_string_is_refused();
	return done_testing();
}
