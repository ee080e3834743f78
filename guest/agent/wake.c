/*
 * Theory of operation
 *
 * The name and the id change at every wake, and are not something the sandbox
 * changed: so /etc/hostname, /etc/hosts and /etc/machine-id are files on a tmpfs,
 * bound over the image's, and leave no trace in the overlay's upper layer. So is
 * /etc/resolv.conf, which is the same in all of them.
 */
#include "guest/agent/wake.h"

#include "guest/agent/log.h"
#include "guest/agent/network.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/random.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <time.h>

#define ID_PREFIX "sbx_" /* before the 32 digits that are the machine id */

static const char *identity_dir;

static void write_text(const char *path, const char *text)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || io_write_all(fd, text, strlen(text)) < 0)
		log_say("cannot write %s", path);
}

static void write_identity(const char *name, const char *text)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", identity_dir, name);
	write_text(path, text);
}

static void name_machine(const char *hostname, const char *id)
{
	char text[512];

	if (sethostname(hostname, strlen(hostname)) < 0)
		log_say("cannot set the host name: %s", strerror(errno));
	snprintf(text, sizeof(text), "%s\n", hostname);
	write_identity("hostname", text);
	snprintf(text, sizeof(text),
		 "127.0.0.1\tlocalhost\n"
		 "127.0.1.1\t%s\n"
		 "::1\tlocalhost ip6-localhost ip6-loopback\n",
		 hostname);
	write_identity("hosts", text);
	if (strncmp(id, ID_PREFIX, strlen(ID_PREFIX)) == 0)
		id += strlen(ID_PREFIX);
	snprintf(text, sizeof(text), "%s\n", id);
	write_identity("machine-id", text);
}

void wake_init(const char *dir)
{
	static const char *const names[] = {"hostname", "hosts", "machine-id",
					    "resolv.conf"};

	identity_dir = dir;
	name_machine("sandbox", "");
	write_identity("resolv.conf", "nameserver " NETWORK_NAMESERVER "\n");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char from[PATH_MAX], to[64];

		snprintf(from, sizeof(from), "%s/%s", dir, names[i]);
		snprintf(to, sizeof(to), "/etc/%s", names[i]);
		if (mount(from, to, NULL, MS_BIND, NULL) < 0)
			log_say("cannot bind %s: %s", to, strerror(errno));
	}
}

/* random(4): the input counts as entropy, and the generator takes it at once. */
static void add_entropy(const uint8_t entropy[AGENT_ENTROPY])
{
	cleanup_close int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
	union {
		struct rand_pool_info info;
		uint8_t room[sizeof(struct rand_pool_info) + AGENT_ENTROPY];
	} pool = {.info.buf_size = AGENT_ENTROPY};

	pool.info.entropy_count = AGENT_ENTROPY * 8; /* in bits */
	memcpy(pool.info.buf, entropy, AGENT_ENTROPY);
	if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool) < 0 || ioctl(fd, RNDRESEEDCRNG) < 0)
		log_say("cannot add entropy: %s", strerror(errno));
}

static void set_clock(uint64_t realtime_ns)
{
	const struct timespec now = {
	    .tv_sec = (time_t)(realtime_ns / 1000000000u),
	    .tv_nsec = (long)(realtime_ns % 1000000000u),
	};

	if (clock_settime(CLOCK_REALTIME, &now) < 0)
		log_say("cannot set the clock: %s", strerror(errno));
}

void wake_apply(const struct agent_wake *wake)
{
	if (!identity_dir)
		return; /* not PID 1: the machine is not ours */
	network_cut();
	add_entropy(wake->entropy);
	set_clock(wake->realtime_ns);
	name_machine(wake->hostname, wake->id);
}
