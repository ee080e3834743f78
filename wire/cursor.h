/*
 * One bounded cursor that encodes and decodes everything that crosses a trust
 * boundary. Overflow is sticky: after the first access that does not fit, every
 * later one does nothing and reads as zero, so that a decoder checks once, at
 * its end. All integers are little-endian.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cursor {
	uint8_t *p, *end;
	bool overflow;
};

/** cursor_over() - a cursor to read the @len bytes at @data. */
struct cursor cursor_over(const void *data, size_t len);

/** cursor_into() - a cursor to write up to @len bytes at @data. */
struct cursor cursor_into(void *data, size_t len);

void cursor_put_u8(struct cursor *c, uint8_t v);
void cursor_put_u16(struct cursor *c, uint16_t v);
void cursor_put_u32(struct cursor *c, uint32_t v);
void cursor_put_u64(struct cursor *c, uint64_t v);
void cursor_put_raw(struct cursor *c, const void *data, size_t len);

uint8_t cursor_get_u8(struct cursor *c);
uint16_t cursor_get_u16(struct cursor *c);
uint32_t cursor_get_u32(struct cursor *c);
uint64_t cursor_get_u64(struct cursor *c);

/** cursor_get_raw() - @len bytes in place, or NULL on overflow. */
const void *cursor_get_raw(struct cursor *c, size_t len);

/** cursor_left() - bytes between the cursor and its end. */
size_t cursor_left(const struct cursor *c);

/**
 * cursor_put_bytes() - a byte string: its length as u32, then the bytes.
 */
void cursor_put_bytes(struct cursor *c, const void *data, size_t len);

/**
 * cursor_get_string() - a byte string into a C string.
 * @to:   receives the bytes and a NUL.
 * @room: size of @to. A longer string, or one with a NUL in it, is an overflow.
 */
void cursor_get_string(struct cursor *c, char *to, size_t room);

/** cursor_done() - everything fit and (when decoding) nothing is left over. */
bool cursor_done(const struct cursor *c);
