/* The link codec: round trips, every truncation, and peers that lie. */
#include "wire/link.h"

#include "tests/unit/tap.h"

#include <errno.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const uint8_t nonce[LINK_NONCE] = "0123456789abcde";

static void a_frame_comes_back(void)
{
	struct buf b = {0};
	struct link_frame f;

	is_int(link_put(&b, 7, LINK_DATA, "payload", 7), 0, "a frame is written");
	is_int(link_put(&b, 8, LINK_TICK, NULL, 0), 0, "and an empty one after it");
	is_int(link_next(&b, &f, NULL), 1, "the first is read");
	is_int(f.channel, 7, "channel");
	is_int(f.type, LINK_DATA, "type");
	is_int(f.len, 7, "length");
	is_mem(f.payload, "payload", 7, "payload");
	buf_consume(&b, link_frame_size(&f));
	is_int(link_next(&b, &f, NULL), 1, "the second is read");
	is_int(f.channel, 8, "channel");
	is_int(f.type, LINK_TICK, "type, the last one");
	is_int(f.len, 0, "length");
	buf_consume(&b, link_frame_size(&f));
	is_int(b.len, 0, "nothing is left over");
	is_int(link_next(&b, &f, NULL), 0, "an empty buffer has no frame");
	buf_fini(&b);
	is_int(link_next(&b, &f, NULL), 0, "nor has one that never held a byte");
}

static void half_a_frame_waits(void)
{
	struct buf whole = {0};
	struct link_frame f;

	link_put(&whole, 3, LINK_CONTROL, "{\"op\":\"stat\"}", 13);
	for (size_t len = 0; len < whole.len; len++) {
		struct buf part = {0};

		buf_append(&part, buf_peek(&whole), len);
		is_int(link_next(&part, &f, NULL), 0, "%zu of %zu bytes: more are needed",
		       len, whole.len);
		buf_fini(&part);
	}
	buf_fini(&whole);
}

static void the_largest_payload_fits(void)
{
	struct buf b = {0};
	struct link_frame f;
	static uint8_t big[LINK_PAYLOAD_MAX + 1];

	is_int(link_put(&b, 1, LINK_DATA, big, LINK_PAYLOAD_MAX), 0,
	       "the largest is written");
	is_int(link_next(&b, &f, NULL), 1, "and read");
	is_int(f.len, LINK_PAYLOAD_MAX, "whole");
	buf_fini(&b);
	is_int(link_put(&b, 1, LINK_DATA, big, LINK_PAYLOAD_MAX + 1), -EMSGSIZE,
	       "one byte more is refused");
	is_int(b.len, 0, "and nothing was written");
	buf_fini(&b);
}

static void hostile_headers_are_no_frames(void)
{
	static const struct {
		const char *what;
		uint8_t header[LINK_HEADER];
	} cases[] = {
	    {"a payload of LINK_PAYLOAD_MAX + 1", {1, 0, 6, 0, 0, 0, 0, 0, 3}},
	    {"a payload of 4 GiB", {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 3}},
	    {"type 0", {0, 0, 0, 0, 0, 0, 0, 0, 0}},
	    {"a type after the last", {0, 0, 0, 0, 0, 0, 0, 0, LINK_TICK + 1}},
	    {"type 255", {0, 0, 0, 0, 0, 0, 0, 0, 255}},
	    {"padding byte 1", {0, 0, 0, 0, 0, 0, 0, 0, 3, 1}},
	    {"padding byte 2", {0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 1}},
	    {"padding byte 3", {0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 1}},
	    {"HTTP", "GET / HTTP/1"},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct buf b = {0};
		struct link_frame f;
		struct error err = {0};

		buf_append(&b, cases[i].header, LINK_HEADER);
		is_int(link_next(&b, &f, &err), -EPROTO, "%s", cases[i].what);
		ok(err.text[0], "and a sentence about it");
		buf_fini(&b);
	}
}

static void hello_comes_back(void)
{
	struct buf b = {0};
	struct link_frame f;
	struct link_hello hello;

	is_int(link_put_hello(&b, nonce), 0, "a hello is written");
	is_int(link_next(&b, &f, NULL), 1, "and is a frame");
	is_int(f.type, LINK_HELLO, "of its type");
	is_int(f.channel, 0, "on the control channel");
	is_int(link_get_hello(&f, &hello, NULL), 0, "that decodes");
	is_int(hello.version, LINK_VERSION, "to our version");
	is_mem(hello.nonce, nonce, LINK_NONCE, "and the nonce");

	for (uint32_t len = 0, whole = f.len; len < whole; len++) {
		f.len = len;
		is_int(link_get_hello(&f, &hello, NULL), -EPROTO, "a hello cut at byte %u",
		       len);
	}
	buf_fini(&b);
}

static void a_false_hello_is_refused(void)
{
	struct buf b = {0};
	struct link_frame f;
	struct link_hello hello;
	struct error err;
	uint8_t bytes[64];

	link_put_hello(&b, nonce);
	link_next(&b, &f, NULL);
	memcpy(bytes, f.payload, f.len);
	f.payload = bytes;

	bytes[f.len] = 0;
	f.len++;
	is_int(link_get_hello(&f, &hello, &err), -EPROTO, "a byte too many");
	f.len--;
	f.channel = 1;
	is_int(link_get_hello(&f, &hello, &err), -EPROTO, "a hello on a VM's channel");
	f.channel = 0;
	f.type = LINK_DATA;
	is_int(link_get_hello(&f, &hello, &err), -EPROTO, "another type");
	f.type = LINK_HELLO;
	bytes[0] ^= 1;
	is_int(link_get_hello(&f, &hello, &err), -EPROTO, "another magic word");
	bytes[0] ^= 1;
	bytes[8]++;
	is_int(link_get_hello(&f, &hello, &err), -EPROTO, "another version");
	ok(strstr(err.text, "version 2"), "whose number is in the sentence");
	bytes[8]--;
	is_int(link_get_hello(&f, &hello, &err), 0, "and the true one is taken");
	buf_fini(&b);
}

static void credit_stays_in_the_window(void)
{
	static const uint32_t good[] = {0, 1, LINK_WINDOW};
	static const uint32_t bad[] = {LINK_WINDOW + 1, 0x80000000, UINT32_MAX};
	struct buf b = {0};
	struct link_frame f;
	uint32_t bytes;

	for (size_t i = 0; i < COUNT(good); i++) {
		link_put_credit(&b, 5, good[i]);
		link_next(&b, &f, NULL);
		is_int(f.type, LINK_CREDIT, "a credit frame");
		is_int(f.channel, 5, "of its channel");
		is_int(link_get_credit(&f, &bytes, NULL), 0, "a credit of %u is taken",
		       good[i]);
		is_int(bytes, good[i], "and is the same");
		buf_consume(&b, link_frame_size(&f));
	}
	for (size_t i = 0; i < COUNT(bad); i++) {
		link_put_credit(&b, 5, bad[i]);
		link_next(&b, &f, NULL);
		is_int(link_get_credit(&f, &bytes, NULL), -EPROTO, "a credit of %u is not",
		       bad[i]);
		buf_consume(&b, link_frame_size(&f));
	}
	for (size_t len = 0; len < 6; len++) {
		if (len == 4)
			continue;
		link_put(&b, 5, LINK_CREDIT, "\0\0\0\0\0", len);
		link_next(&b, &f, NULL);
		is_int(link_get_credit(&f, &bytes, NULL), -EPROTO, "nor one of %zu bytes",
		       len);
		buf_consume(&b, link_frame_size(&f));
	}
	buf_fini(&b);
}

int main(void)
{
	a_frame_comes_back();
	half_a_frame_waits();
	the_largest_payload_fits();
	hostile_headers_are_no_frames();
	hello_comes_back();
	a_false_hello_is_refused();
	credit_stays_in_the_window();
	return done_testing();
}
