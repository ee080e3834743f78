#include "util/siphash.h"

#include <endian.h>
#include <string.h>
#include <sys/auxv.h>

struct state {
	uint64_t a, b, c, d;
};

static uint64_t rotate(uint64_t v, unsigned bits)
{
	return v << bits | v >> (64 - bits);
}

static void rounds(struct state *s, int count)
{
	while (count--) {
		s->a += s->b;
		s->b = rotate(s->b, 13) ^ s->a;
		s->a = rotate(s->a, 32);
		s->c += s->d;
		s->d = rotate(s->d, 16) ^ s->c;
		s->a += s->d;
		s->d = rotate(s->d, 21) ^ s->a;
		s->c += s->b;
		s->b = rotate(s->b, 17) ^ s->c;
		s->c = rotate(s->c, 32);
	}
}

static void take(struct state *s, uint64_t word)
{
	s->d ^= word;
	rounds(s, 2);
	s->a ^= word;
}

uint64_t siphash(const uint64_t key[2], const void *data, size_t len)
{
	const uint8_t *at = data;
	struct state s = {
	    .a = key[0] ^ UINT64_C(0x736f6d6570736575),
	    .b = key[1] ^ UINT64_C(0x646f72616e646f6d),
	    .c = key[0] ^ UINT64_C(0x6c7967656e657261),
	    .d = key[1] ^ UINT64_C(0x7465646279746573),
	};
	uint64_t word = 0;

	for (size_t left = len; left >= 8; left -= 8, at += 8) {
		memcpy(&word, at, 8);
		take(&s, le64toh(word));
	}
	word = 0;
	if (len % 8)
		memcpy(&word, at, len % 8);
	take(&s, le64toh(word) | (uint64_t)len << 56);
	s.c ^= 0xff;
	rounds(&s, 4);
	return s.a ^ s.b ^ s.c ^ s.d;
}

/* The kernel gives each process 16 random bytes. */
uint64_t siphash_secret(uint64_t start, const void *data, size_t len)
{
	uint64_t key[2];

	memcpy(key, (const void *)(uintptr_t)getauxval(AT_RANDOM), sizeof(key));
	key[0] ^= start;
	return siphash(key, data, len);
}
