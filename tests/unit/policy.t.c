/* Lines of net/allow and net/secrets: how they are read, and what is looser than what. */
#include "wire/policy.h"
#include "tests/unit/tap.h"

#include <arpa/inet.h>
#include <errno.h>

static struct policy *of(const char *egress, const char *allow)
{
	struct policy *policy = policy_new();

	policy_egress_parse(egress, &policy->egress, NULL);
	if (policy_allow_text(policy, allow, strlen(allow), NULL) < 0)
		policy_egress_parse("broken", &policy->egress, NULL);
	return policy;
}

static void is_read(const char *text, const char *want)
{
	char got[POLICY_LINE_MAX] = "";
	struct policy_entry entry;
	struct error err = {0};

	if (policy_entry_parse(text, &entry, &err) == 0)
		policy_entry_print(&entry, got);
	is_str(got, want, "%s is read as %s", text, want);
	if (!*got)
		diag("%s", err.text);
}

static void test_canonical(void)
{
	is_read("example.com", "example.com");
	is_read("Example.COM.:443", "example.com:443");
	is_read("*.PyPI.org:443,80", "*.pypi.org:80,443");
	is_read("_srv.a-b.example", "_srv.a-b.example");
	is_read("host", "host");
	is_read("1.example", "1.example");
	/* What is printed was not taken: the dot at the end had hidden the digit. */
	is_read("a.0k.", "a.0k");
	is_read("a.0k", "a.0k");
	is_read("8.8.8.8", "8.8.8.8");
	is_read("8.8.8.8/32:53", "8.8.8.8:53");
	is_read("0.0.0.0/0", "0.0.0.0/0");
	is_read("203.0.113.0/24:8000-8010", "203.0.113.0/24:8000-8010");
	is_read("2001:DB8::/32", "2001:db8::/32");
	is_read("[2001:db8::/32]:443", "[2001:db8::/32]:443");
	is_read("[2001:db8::1]", "2001:db8::1");
	is_read("2001:db8:0:0::1/128", "2001:db8::1");
	is_read("::/0", "::/0");
	is_read("::ffff:8.8.8.8", "8.8.8.8");
	is_read("[::ffff:8.8.0.0/112]:53", "8.8.0.0/16:53");
	is_read("a.b:80,81,82-90,85-95,100", "a.b:80-95,100");
	is_read("a.b:1-65535", "a.b");
	is_read("a.b:1-9,10-65535", "a.b");
}

static void is_refused(const char *text, const char *says)
{
	struct policy_entry entry;
	struct error err = {0};
	int r = policy_entry_parse(text, &entry, &err);

	ok(r == -EINVAL && strstr(err.text, says), "%s is refused: %s", text, err.text);
}

static void test_refused(void)
{
	static const char *const names[] = {
	    "",		 "*",	       "*.",	    "a..b",    "-a.b",	       "a-.b",
	    ".a",	 "a b",	       "a*.b",	    "*.*.b",   "b\xc3\xbc.de", "http://a.b",
	    "256.1.1.1", "1.2.3",      "1.2.3.4.5", "0x7f.1",  "a/b",	       "1.2.3.4/33",
	    "::/129",	 "1.2.3.4/-1", "1.2.3.4/",  "1::2::3", "fe80::1%eth0", "1.2.3.04",
	};
	static const char *const ports[] = {
	    "a.b:",
	    "a.b:0",
	    "a.b:65536",
	    "a.b:80,",
	    "a.b:,80",
	    "a.b:9-8",
	    "a.b:80-",
	    "a.b:http",
	    "a.b:80 81",
	    "a.b:+80",
	    "a.b:1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31,33",
	};
	static const char *const brackets[] = {"[::1", "[1.2.3.4]:80", "[a.b]:80",
					       "[::5]80"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		is_refused(names[i], " is not ");
	for (size_t i = 0; i < sizeof(ports) / sizeof(*ports); i++)
		is_refused(ports[i], "is not ports like");
	for (size_t i = 0; i < sizeof(brackets) / sizeof(*brackets); i++)
		is_refused(brackets[i], "in brackets");
	is_refused("10.1.2.3/8", "did you mean 10.0.0.0/8?");
	is_refused("2001:db8::1/32", "did you mean 2001:db8::/32?");
	is_refused("::ffff:8.8.8.8/112", "did you mean 8.8.0.0/16?");
}

static void test_for_good(void)
{
	static const char *const closed[] = {"127.0.0.1",
					     "127.0.0.0/8",
					     "0.0.0.0",
					     "::1",
					     "::",
					     "198.18.0.1",
					     "198.19.0.0/16:80",
					     "fd70:6666:7300::/64",
					     "::ffff:127.0.0.1",
					     "::fffe:0:0/95",
					     "[::1]:80"};

	for (size_t i = 0; i < sizeof(closed) / sizeof(*closed); i++)
		is_refused(closed[i], "closed for good");
}

static void test_bounds(void)
{
	char label[64], line[POLICY_LINE_MAX + 8];
	struct policy_entry entry;

	memset(label, 'a', 63);
	label[63] = '\0';
	snprintf(line, sizeof(line), "%s.%s.%s.%.61s", label, label, label, label);
	is_int(policy_entry_parse(line, &entry, NULL), 0, "a name of 253 bytes");
	snprintf(line, sizeof(line), "%s.%s.%s.%.62s", label, label, label, label);
	is_int(policy_entry_parse(line, &entry, NULL), -EINVAL, "and not one of 254");
	snprintf(line, sizeof(line), "%sa.b", label);
	is_int(policy_entry_parse(line, &entry, NULL), -EINVAL, "nor a label of 64");
	memset(line, 'a', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	is_int(policy_entry_parse(line, &entry, NULL), -EINVAL, "nor a line of 1,031");
}

static void test_lines(void)
{
	struct policy *policy =
	    of("allow", "# all of it\n\n a.b:80 # web\r\n\ta.b:80\nc.d");
	struct error err = {0};
	char line[32];
	int r = 0;

	is_int((intmax_t)policy->entry_count, 2,
	       "comments, space and doubles are no entries");
	is_int(policy_allow_line(policy, "a\0b", 3, &err), -EINVAL, "a NUL is refused");
	for (int i = 0; i < 2000 && r == 0; i++) {
		snprintf(line, sizeof(line), "n%d.example", i);
		r = policy_allow_line(policy, line, strlen(line), &err);
	}
	is_int(r, -EFBIG, "there is a largest number of entries: %s", err.text);
	is_int((intmax_t)policy->entry_count, POLICY_ENTRIES_MAX, "which is kept");
	policy_clear_allow(policy);
	is_int((intmax_t)policy->entry_text, 0, "and forgotten");
	policy_unref(policy);
}

static bool within(const char *egress, const char *allow, const char *outer_egress,
		   const char *outer_allow)
{
	struct policy *inner = of(egress, allow), *outer = of(outer_egress, outer_allow);
	bool is = policy_within(inner, outer, NULL) == 0;

	policy_unref(inner);
	policy_unref(outer);
	return is;
}

static void test_modes(void)
{
	ok(within("off", "10.0.0.0/8", "off", ""), "off is within off, whatever it lists");
	ok(within("off", "", "allow", ""), "off is within allow");
	ok(within("allow", "a.b", "on", ""), "allow is within on");
	ok(within("on", "", "on", ""), "on is within on");
	ok(!within("on", "", "allow", "0.0.0.0/0\n::/0"), "on is not within allow");
	ok(!within("allow", "", "off", ""), "not even an empty list is within off");
	ok(within("allow", "9.9.9.9", "on", ""), "an open address is within on");
	ok(!within("allow", "10.0.0.1", "on", ""), "a closed one is not");
	ok(!within("on", "10.0.0.1", "on", ""), "nor to open it");
	ok(!within("on", "0.0.0.0/0", "on", ""), "nor by a range that has it");
	ok(within("on", "10.0.0.1", "on", "10.0.0.0/8"), "unless the parent had it open");
	ok(!within("on", "10.0.0.1", "on", "10.0.0.0/8:80"), "at all ports");
}

static void test_entries(void)
{
	ok(within("allow", "a.b:80", "allow", "a.b"), "fewer ports");
	ok(within("allow", "a.b:80,443", "allow", "a.b:443\na.b:79-81"),
	   "ports of more than one entry");
	ok(!within("allow", "a.b", "allow", "a.b:80"), "more ports are looser");
	ok(!within("allow", "a.b:80-82", "allow", "a.b:80\na.b:82"), "a port between too");
	ok(within("allow", "x.a.b", "allow", "*.a.b"), "a name below a wildcard");
	ok(within("allow", "*.x.a.b", "allow", "*.a.b"), "a wildcard below one");
	ok(!within("allow", "a.b", "allow", "*.a.b"),
	   "a wildcard does not have its own name");
	ok(!within("allow", "xa.b", "allow", "*.a.b"), "nor what only ends like it");
	ok(!within("allow", "*.a.b", "allow", "a.b"), "a name has no wildcard");
	ok(within("allow", "10.1.0.0/16", "allow", "10.0.0.0/8"), "a range within one");
	ok(!within("allow", "10.0.0.0/8", "allow", "10.1.0.0/16"), "and not around it");
	ok(!within("allow", "10.0.0.1", "allow", "::/0"), "IPv6 has no IPv4");
	ok(!within("allow", "a.b", "allow", "0.0.0.0/0\n::/0"), "a range has no name");
}

static void test_names(void)
{
	struct policy *policy = of("allow", "a.b:80\n*.c.d\n10.0.0.0/8");
	struct policy *on = of("on", ""), *off = of("off", "a.b");

	ok(policy_allows_name(policy, "a.b") && policy_allows_name(policy, "x.y.c.d"),
	   "names that are covered");
	ok(!policy_allows_name(policy, "c.d") && !policy_allows_name(policy, "xc.d") &&
	       !policy_allows_name(policy, "x.a.b") && !policy_allows_name(policy, ""),
	   "and those that are not");
	ok(policy_allows_name(on, "a.b") && !policy_allows_name(off, "a.b"), "on and off");
	policy_unref(policy);
	policy_unref(on);
	policy_unref(off);
}

static void test_ranges(void)
{
	struct in_addr four;
	struct in6_addr six;
	struct policy_range range, outer;

	inet_pton(AF_INET, "10.1.2.3", &four);
	inet_pton(AF_INET6, "::ffff:10.1.2.3", &six);
	policy_range_parse("10.0.0.0/8", &outer, NULL);
	range = policy_range_of(&four, false);
	ok(policy_range_has(&outer, &range), "an address in a range");
	range = policy_range_of(&six, true);
	ok(policy_range_has(&outer, &range), "also when it is written as IPv6");
	for (const struct policy_closed *at = policy_closed; at->text; at++)
		is_int(policy_range_parse(at->text, &range, NULL), 0, "%s is a range",
		       at->text);
}

static int secret(struct policy *policy, const char *line, struct error *err)
{
	return policy_secret_line(policy, line, strlen(line), err);
}

static void test_secrets(void)
{
	static const char *const bad[] = {
	    "hidden",
	    "a.b",
	    "a.b hidden",
	    "a.b X:",
	    "a b: hidden\x7f",
	    "a.b X Y: hidden",
	    "a.b Host: hidden",
	    "a.b : hidden",
	    "*.a.b X: hidden",
	    "10.0.0.1 X: hidden",
	    "a.b X: hidden\xc3\xbc",
	    "a.b X: hi\rdden",
	    "hid\"den X: y",
	};
	struct policy *policy = policy_new();
	struct error err = {0};

	is_int(secret(policy, " A.b  Authorization:  Bearer #1 \r", &err), 0, "a secret");
	is_str(policy->secrets[0].domain, "a.b", "its domain");
	is_str(policy->secrets[0].header, "Authorization", "its header");
	is_str(policy->secrets[0].value, "Bearer #1", "its value");
	is_int(secret(policy, "a.b authorization: other", &err), 0, "another value");
	is_int((intmax_t)policy->secret_count, 1, "is in place of the first");
	is_str(policy->secrets[0].value, "other", "as written");
	is_int(secret(policy, "# comment", &err), 0, "a comment is none");
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		is_int(secret(policy, bad[i], &err), -EINVAL, "refused: %s", err.text);
		ok(!strstr(err.text, "hid"), "what was written is not told");
	}
	ok(policy_has_secret(policy, "a.b") && !policy_has_secret(policy, "x.a.b"),
	   "it is of that name alone");
	policy_unref(policy);
}

static void test_secret_bounds(void)
{
	struct policy *policy = policy_new();
	char line[POLICY_SECRET_LINE_MAX + 64] = "a.b X: ";
	int r = 0;

	memset(line + 7, 'x', sizeof(line) - 8);
	is_int(secret(policy, line, NULL), -EINVAL, "a line has a largest length");
	for (int i = 0; i < 100 && r == 0; i++) {
		snprintf(line, sizeof(line), "n%d.b X: y", i);
		r = secret(policy, line, NULL);
	}
	is_int(r, -EFBIG, "there is a largest number of them");
	is_int((intmax_t)policy->secret_count, POLICY_SECRETS_MAX, "which is kept");
	policy_unref(policy);
}

static void test_json(void)
{
	struct policy *policy = of("allow", "a.b:80\n10.0.0.0/8"), *back;
	json_t *told, *again;
	char *text;

	secret(policy, "a.b X: y\"\\", NULL);
	told = policy_json(policy, true);
	text = json_dumps(told, JSON_COMPACT | JSON_SORT_KEYS);
	is_str(text,
	       "{\"allow\":[\"a.b:80\",\"10.0.0.0/8\"],\"egress\":\"allow\",\"secrets\":"
	       "[{\"domain\":\"a.b\",\"header\":\"X\",\"value\":\"y\\\"\\\\\"}]}",
	       "as the link has it");
	back = policy_from_json(told, NULL);
	again = policy_json(back, true);
	ok(json_equal(told, again), "and back");
	json_decref(again);
	again = policy_json(back, false);
	ok(!json_object_get(json_array_get(json_object_get(again, "secrets"), 0), "value"),
	   "values are told only where they are asked for");
	policy_unref(back);
	back = policy_from_json(again, NULL);
	is_str(back ? back->secrets[0].value : NULL, "", "and may be missing");
	policy_unref(back);
	policy_unref(policy);
	json_decref(told);
	json_decref(again);
	free(text);
}

static void test_bad_json(void)
{
	static const char *const bad[] = {
	    "{}",
	    "[]",
	    "{\"egress\":1}",
	    "{\"egress\":\"open\"}",
	    "{\"egress\":\"on\",\"allow\":\"a.b\"}",
	    "{\"egress\":\"on\",\"allow\":[1]}",
	    "{\"egress\":\"on\",\"allow\":[\"a b\"]}",
	    "{\"egress\":\"on\",\"allow\":[\"a.b\\u0000c\"]}",
	    "{\"egress\":\"on\",\"secrets\":[{\"domain\":\"a.b\"}]}",
	    "{\"egress\":\"on\",\"secrets\":[{\"domain\":1,\"header\":\"X\"}]}",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		json_t *object = json_loads(bad[i], JSON_ALLOW_NUL, NULL);
		struct error err = {0};
		struct policy *policy = policy_from_json(object, &err);

		ok(object && !policy && err.code == -EINVAL, "%s is refused: %s", bad[i],
		   err.text);
		policy_unref(policy);
		json_decref(object);
	}
}

static void test_largest_json(void)
{
	struct policy *policy = of("allow", "");
	char line[POLICY_SECRET_LINE_MAX];
	json_t *told;
	int r = 0;

	for (int i = 0; r == 0; i++) {
		snprintf(line, sizeof(line), "n%d.%.*s.example", i, 41,
			 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
		r = policy_allow_line(policy, line, strlen(line), NULL);
	}
	is_int(r, -EFBIG, "all that net/allow may have");
	for (r = 0; r == 0;) {
		int used = snprintf(line, sizeof(line), "n%zu.b X: ", policy->secret_count);

		memset(line + used, '\\', 480);
		line[used + 480] = '\0';
		r = secret(policy, line, NULL);
	}
	is_int(r, -EFBIG, "and net/secrets");
	told = policy_json(policy, true);
	ok(json_dumpb(told, NULL, 0, 0) <= POLICY_JSON_MAX,
	   "is no larger than is promised");
	json_decref(told);
	policy_unref(policy);
}

static void test_copy(void)
{
	struct policy *policy = of("allow", "a.b\nc.d\ne.f"), *copy;

	secret(policy, "a.b X: y", NULL);
	copy = policy_copy(policy);
	ok(policy_ref(policy) == policy, "a policy is shared");
	policy_unref(policy);
	is_int(policy_allow_line(copy, "g.h", 3, NULL), 0, "a copy is changed");
	is_int((intmax_t)policy->entry_count, 3, "and the other is not");
	policy_unref(policy);
	is_str(copy->secrets[0].value, "y", "the copy lives on");
	policy_unref(copy);
}

int main(void)
{
	test_canonical();
	test_refused();
	test_for_good();
	test_bounds();
	test_lines();
	test_modes();
	test_entries();
	test_names();
	test_ranges();
	test_secrets();
	test_secret_bounds();
	test_json();
	test_bad_json();
	test_largest_json();
	test_copy();
	return done_testing();
}
