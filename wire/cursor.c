#include "wire/cursor.h"

#include <string.h>

struct cursor cursor_into(void *data, size_t len)
{
	uint8_t *p = data;

	return (struct cursor){.p = p, .end = p ? p + len : p};
}

struct cursor cursor_over(const void *data, size_t len)
{
	return cursor_into((void *)(uintptr_t)data, len);
}

size_t cursor_left(const struct cursor *c)
{
	return (size_t)(c->end - c->p);
}

/* Claim @len bytes: where they are, or NULL after an overflow. */
static uint8_t *take(struct cursor *c, size_t len)
{
	uint8_t *at = c->p;

	if (c->overflow || len > cursor_left(c)) {
		c->overflow = true;
		return NULL;
	}
	if (len)
		c->p += len;
	return at;
}

static void put_le(struct cursor *c, uint64_t v, size_t bytes)
{
	uint8_t *at = take(c, bytes);

	for (size_t i = 0; at && i < bytes; i++)
		at[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t get_le(struct cursor *c, size_t bytes)
{
	const uint8_t *at = take(c, bytes);
	uint64_t v = 0;

	for (size_t i = 0; at && i < bytes; i++)
		v |= (uint64_t)at[i] << (8 * i);
	return v;
}

void cursor_put_u8(struct cursor *c, uint8_t v)
{
	put_le(c, v, 1);
}

void cursor_put_u16(struct cursor *c, uint16_t v)
{
	put_le(c, v, 2);
}

void cursor_put_u32(struct cursor *c, uint32_t v)
{
	put_le(c, v, 4);
}

void cursor_put_u64(struct cursor *c, uint64_t v)
{
	put_le(c, v, 8);
}

void cursor_put_raw(struct cursor *c, const void *data, size_t len)
{
	uint8_t *at = take(c, len);

	if (at && len)
		memcpy(at, data, len);
}

uint8_t cursor_get_u8(struct cursor *c)
{
	return (uint8_t)get_le(c, 1);
}

uint16_t cursor_get_u16(struct cursor *c)
{
	return (uint16_t)get_le(c, 2);
}

uint32_t cursor_get_u32(struct cursor *c)
{
	return (uint32_t)get_le(c, 4);
}

uint64_t cursor_get_u64(struct cursor *c)
{
	return get_le(c, 8);
}

const void *cursor_get_raw(struct cursor *c, size_t len)
{
	return take(c, len);
}

void cursor_put_bytes(struct cursor *c, const void *data, size_t len)
{
	cursor_put_u32(c, len > UINT32_MAX ? UINT32_MAX : (uint32_t)len);
	cursor_put_raw(c, data, len);
}

void cursor_get_string(struct cursor *c, char *to, size_t room)
{
	uint32_t len = cursor_get_u32(c);
	const void *at = cursor_get_raw(c, len);

	to[0] = '\0';
	if (!at)
		return;
	if (len >= room || memchr(at, '\0', len)) {
		c->overflow = true;
		return;
	}
	memcpy(to, at, len);
	to[len] = '\0';
}

bool cursor_done(const struct cursor *c)
{
	return !c->overflow && c->p == c->end;
}
