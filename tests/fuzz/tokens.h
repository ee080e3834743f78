/*
 * Text that an input spells: bytes below 0x80 are themselves, others stand for words.
 */
#pragma once

#include "util/buf.h"
#include "wire/cursor.h"

#include <string.h>

#define TOKENS_FROM 0x80u
#define TOKENS_MAX  128u

/** tokens_spell() - append the text that the next @len bytes of @in spell, and a NUL,
 * which is not counted. @words: up to TOKENS_MAX. */
static inline void tokens_spell(struct buf *out, struct cursor *in, size_t len,
				const char *const *words, size_t count)
{
	for (; len && cursor_left(in); len--) {
		uint8_t byte = cursor_get_u8(in);
		const char *word =
		    byte < TOKENS_FROM ? (char[]){(char)byte, '\0'} : words[byte % count];

		buf_append(out, word, byte ? strlen(word) : 1);
	}
	buf_append(out, "", 1);
	out->len--;
}
