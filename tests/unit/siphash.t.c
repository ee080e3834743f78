/* The hash of names against the vectors of its authors. */
#include "util/siphash.h"

#include "tests/unit/tap.h"

/* Of 00 01 02 ..., by the key 00 01 ... 0f: by length. */
static const struct {
	size_t len;
	uint64_t hash;
} vectors[] = {
    {0, UINT64_C(0x726fdb47dd0e0e31)},	{1, UINT64_C(0x74f839c593dc67fd)},
    {7, UINT64_C(0xab0200f58b01d137)},	{8, UINT64_C(0x93f5f5799a932462)},
    {15, UINT64_C(0xa129ca6149be45e5)},
};

int main(void)
{
	const uint64_t key[2] = {UINT64_C(0x0706050403020100),
				 UINT64_C(0x0f0e0d0c0b0a0908)};
	uint8_t data[16];

	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)i;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(*vectors); i++)
		ok(siphash(key, data, vectors[i].len) == vectors[i].hash, "%zu bytes",
		   vectors[i].len);
	ok(siphash_secret(1, "name", 4) == siphash_secret(1, "name", 4),
	   "by the secret key it is the same each time");
	ok(siphash_secret(1, "name", 4) != siphash_secret(2, "name", 4),
	   "but not in another place");
	return done_testing();
}
