#include "vmctl/net/uplink.h"

#include "util/cleanup.h"
#include "util/io.h"
#include "vmctl/net/address.h"
#include "vmctl/net/guard.h"
#include "vmctl/net/host_table.h"
#include "vmctl/net/netns.h"
#include "vmctl/spawn.h"

#include <errno.h>
#include <net/if.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROUTES_MAX   (1u << 20)
#define PASTA_TRIES  200
#define PASTA_TRY_US 50000
#define HOST_MAC     "02:70:66:66:75:01"
#define UP_MAC	     "02:70:66:66:75:02"

static const char *const names[] = {"auto", "kernel", "user", "none"};

int uplink_parse(const char *text, enum uplink_kind *kind, struct error *err)
{
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(names[i], text) == 0) {
			*kind = (enum uplink_kind)i;
			return 0;
		}
	}
	return error_say(err, EINVAL,
			 "there is no uplink %.20s: kernel, user, none or auto", text);
}

const char *uplink_name(enum uplink_kind kind)
{
	return names[kind];
}

/* The addresses of both ends, with the prefix if @prefix. */
struct ends {
	char host4[NET_ADDRESS_TEXT], up4[NET_ADDRESS_TEXT];
	char host6[NET_ADDRESS_TEXT], up6[NET_ADDRESS_TEXT];
};

static struct ends ends_of(unsigned number, bool prefix)
{
	struct ends ends;
	unsigned at = 0x8000 + number * 4; /* 198.18.128.0 and on */

	snprintf(ends.host4, sizeof(ends.host4), "198.18.%u.%u%s", at >> 8, (at & 255) + 1,
		 prefix ? "/30" : "");
	snprintf(ends.up4, sizeof(ends.up4), "198.18.%u.%u%s", at >> 8, (at & 255) + 2,
		 prefix ? "/30" : "");
	snprintf(ends.host6, sizeof(ends.host6), "fd70:6666:7300:%x::1%s", at,
		 prefix ? "/64" : "");
	snprintf(ends.up6, sizeof(ends.up6), "fd70:6666:7300:%x::2%s", at,
		 prefix ? "/64" : "");
	return ends;
}

/* A pair of links whose name nobody has. */
static int make_links(struct uplink *uplink, struct rt *rt, int netns, struct error *err)
{
	int r = -EEXIST;

	for (unsigned i = 0; i < HOST_TABLES_MAX && r == -EEXIST; i++) {
		uplink->number = i;
		snprintf(uplink->name, sizeof(uplink->name), "pffs%u", i);
		r = rt_veth(rt, uplink->name, HOST_MAC, NET_UPLINK, UP_MAC, netns, err);
	}
	if (r < 0)
		uplink->name[0] = '\0';
	else
		uplink->index = (int)if_nametoindex(uplink->name);
	return r;
}

static bool is_set(const char *path)
{
	size_t len;
	cleanup_free char *text = io_read_file(path, 16, &len, NULL);

	return text && text[0] == '1';
}

/* Linux asks who has an address, for a packet that it passes on, by the link-local address
 * of the interface: one that has none would never find the other end. */
static int give_six(struct rt *rt, const char *name, const char *own, const char *other,
		    const char *mac, struct error *err)
{
	int r = rt_address(rt, name, own, err);

	return r < 0 ? r : rt_neighbour(rt, name, other, mac, err);
}

static int guard_table(const struct uplink *uplink, struct error *err)
{
	struct ends ends = ends_of(uplink->number, false);
	struct host_table table;

	strcpy(table.link, uplink->name);
	table.index = uplink->index;
	strcpy(table.up4, ends.up4);
	strcpy(table.up6, ends.up6);
	return host_table_guard(&table, err);
}

static int open_kernel(struct uplink *uplink, int netns, struct error *err)
{
	cleanup_rt struct rt rt = {0};
	struct ends ends, other;
	int r = rt_open(&rt, err);

	if (r == 0)
		r = make_links(uplink, &rt, netns, err);
	if (r < 0)
		return r;
	ends = ends_of(uplink->number, true);
	other = ends_of(uplink->number, false);
	r = rt_up(&rt, uplink->name, err);
	if (r == 0)
		r = rt_address(&rt, uplink->name, ends.host4, err);
	if (r == 0)
		r = uplink->guard = guard_table(uplink, err);
	if (r > 0)
		r = 0;
	if (r == 0 && !is_set("/proc/sys/net/ipv4/ip_forward"))
		r = netns_set("ipv4/ip_forward", "1", err);
	/* A host that passes IPv6 on does not listen to routers any more, by which it may
	 * have its own address: so that is left as it is. */
	uplink->six = is_set("/proc/sys/net/ipv6/conf/all/forwarding") &&
		      give_six(&rt, uplink->name, ends.host6, other.up6, UP_MAC, NULL) == 0;
	return r;
}

/* UID:GID of who the process @pid is. */
static int print_owner(const char *pid, char *text, size_t room)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%s", pid);
	if (stat(path, &st) < 0)
		return -1;
	snprintf(text, room, "%u:%u", st.st_uid, st.st_gid);
	return 0;
}

/* pasta, attached to the hub as who owns that. It forwards no port, and lets nobody to the
 * host's loopback. It stays when the holder ends, which newer ones would take for the end
 * of the network.
 */
static int start_pasta(const void *data, struct error *err)
{
	struct ends ends = ends_of(0, false);
	char user[32];
	const char *argv[] = {
	    "pasta",	   "--foreground", "--quiet",	  "--stderr",
	    "-I",	   NET_UPLINK,	   "-M",	  HOST_MAC,
	    "-a",	   ends.up4,	   "-n",	  "30",
	    "-g",	   ends.host4,	   "-a",	  ends.up6,
	    "-g",	   ends.host6,	   "--no-map-gw", "-t",
	    "none",	   "-u",	   "none",	  "-T",
	    "none",	   "-U",	   "none",	  "--no-dhcp",
	    "--no-dhcpv6", "--no-ndp",	   "--no-ra",	  "--no-netns-quit",
	    "--runas",	   user,	   data,	  NULL};
	pid_t child;
	int fd;

	if (print_owner(data, user, sizeof(user)) < 0)
		return error_set(err, errno, "cannot look at the sandboxes' network");
	child = spawn("pasta", argv, &(struct spawn_options){.with_parent = true}, err);
	fd = child < 0 ? -1 : pidfd_open(child, 0);
	if (child < 0)
		return error_say(err, -child, "pasta is not there: apt-get install passt");
	return fd < 0 ? error_set(err, errno, "cannot watch pasta") : fd;
}

static int on_pasta_ended(const void *data, int fd)
{
	(void)data;
	(void)fd;
	fputs("vmctl: pasta, the sandboxes' uplink, has ended\n", stderr);
	return -ESRCH;
}

static void kill_pasta(const void *data, int fd)
{
	(void)data;
	pidfd_send_signal(fd, SIGKILL, NULL, 0);
}

/* Without a way by IPv6 of its own pasta carries none. */
static bool has_six(void)
{
	size_t len;
	cleanup_free char *text =
	    io_read_file("/proc/thread-self/net/ipv6_route", ROUTES_MAX, &len, NULL);
	static const char everywhere[] = "00000000000000000000000000000000 00 ";

	for (char *line = text; line && *line;) {
		char *end = strchr(line, '\n');
		const char *name;

		if (end)
			*end = '\0';
		name = strrchr(line, ' ');
		if (name && strcmp(name + 1, "lo") != 0 &&
		    strncmp(line, everywhere, sizeof(everywhere) - 1) == 0)
			return true;
		line = end ? end + 1 : NULL;
	}
	return false;
}

static int open_user(struct uplink *uplink, pid_t hub, struct error *err)
{
	char pid[16];
	const struct guard_work work = {
	    .begin = start_pasta, .turn = on_pasta_ended, .end = kill_pasta, .data = pid};

	snprintf(pid, sizeof(pid), "%d", (int)hub);
	uplink->six = has_six();
	uplink->guard = guard_start(&work, err);
	return uplink->guard < 0 ? uplink->guard : 0;
}

static void set_none(struct uplink *uplink, const char *why)
{
	if (uplink->guard >= 0)
		close(uplink->guard); /* it ends, and pasta with it */
	if (uplink->name[0])
		host_table_end(uplink->name, uplink->index);
	*uplink = (struct uplink){.kind = UPLINK_NONE, .guard = -1};
	snprintf(uplink->why, sizeof(uplink->why), "%.250s", why);
}

static void set(struct uplink *uplink, enum uplink_kind kind, const char *why)
{
	uplink->kind = kind;
	snprintf(uplink->why, sizeof(uplink->why), "%s", why);
}

void uplink_open(struct uplink *uplink, enum uplink_kind want, pid_t hub, int netns)
{
	struct error err = {.text = ""};

	*uplink = (struct uplink){.kind = UPLINK_NONE, .guard = -1};
	if (access("/dev/net/tun", R_OK | W_OK) < 0) {
		set_none(uplink,
			 "/dev/net/tun cannot be opened, which every sandbox needs: "
			 "let this user read and write it");
		return;
	}
	if (want == UPLINK_NONE)
		set_none(uplink, "it was asked for");
	if (want == UPLINK_KERNEL || (want == UPLINK_AUTO && geteuid() == 0)) {
		host_table_clean();
		if (open_kernel(uplink, netns, &err) == 0)
			set(uplink, UPLINK_KERNEL, "vmctl may make links on this machine");
		else
			set_none(uplink, err.text);
	}
	if (uplink->kind != UPLINK_NONE || want == UPLINK_NONE || want == UPLINK_KERNEL)
		return;
	if (open_user(uplink, hub, &err) == 0)
		set(uplink, UPLINK_USER,
		    "vmctl may make no links on this machine, so pasta carries what "
		    "leaves");
	else
		set_none(uplink, err.text);
}

/* pasta makes its link in its own time. */
static int wait_for_link(struct rt *hub, struct error *err)
{
	int r = -ENODEV;

	for (int i = 0; i < PASTA_TRIES && r < 0; i++) {
		r = rt_index(hub, NET_UPLINK, err);
		if (r < 0)
			usleep(PASTA_TRY_US);
	}
	return r < 0 ? error_say(err, ETIMEDOUT, "pasta has not made its link") : 0;
}

int uplink_join(struct uplink *uplink, struct rt *hub, struct error *err)
{
	struct ends own = ends_of(uplink->number, true);
	struct ends other = ends_of(uplink->number, false);
	int r;

	if (uplink->kind == UPLINK_USER && wait_for_link(hub, err) < 0)
		set_none(uplink, err->text);
	if (uplink->kind == UPLINK_NONE)
		return 0;
	r = rt_up(hub, NET_UPLINK, err);
	if (r == 0)
		r = rt_address(hub, NET_UPLINK, own.up4, err);
	if (r == 0)
		r = rt_route(hub, "default4", other.host4, NET_UPLINK, err);
	if (r == 0 && uplink->six)
		r = give_six(hub, NET_UPLINK, own.up6, other.host6, HOST_MAC, err);
	if (r == 0 && uplink->six)
		r = rt_route(hub, "default6", other.host6, NET_UPLINK, err);
	return r;
}

/* As QEMU is told by host_qemu.c. Nobody advertises there what we would have to believe. */
int uplink_host(struct error *err)
{
	cleanup_rt struct rt rt = {0};
	int r = rt_open(&rt, err);

	netns_quiet();
	if (r == 0)
		r = rt_up(&rt, "lo", err);
	if (r == 0)
		r = rt_up(&rt, "eth0", err);
	if (r == 0)
		r = rt_address(&rt, "eth0", "198.18.255.15/24", err);
	if (r == 0)
		r = rt_route(&rt, "default4", "198.18.255.2", "eth0", err);
	if (r == 0)
		r = rt_address(&rt, "eth0", "fd70:6666:7300:ff::15/64", err);
	if (r == 0)
		r = rt_route(&rt, "default6", "fd70:6666:7300:ff::2", "eth0", err);
	return r < 0 ? r : netns_forward(err);
}

void uplink_print(const struct uplink *uplink, char text[UPLINK_TEXT])
{
	if (uplink->name[0])
		snprintf(text, UPLINK_TEXT, "%s/%d", uplink->name, uplink->index);
	else
		text[0] = '\0';
}

void uplink_clean(const char *text)
{
	const char *slash = strchr(text, '/');
	char name[16];

	if (!slash || slash - text >= (ptrdiff_t)sizeof(name))
		return;
	snprintf(name, sizeof(name), "%.*s", (int)(slash - text), text);
	host_table_end(name, (int)strtol(slash + 1, NULL, 10));
}
