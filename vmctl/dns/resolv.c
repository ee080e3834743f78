#include "vmctl/dns/resolv.h"

#include "util/cleanup.h"
#include "vmctl/names/names.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RESOLV_CONF "/etc/resolv.conf"
#define LOOK_S	    1

/*
 * An address, of IPv6 with a zone where it needs one.
 *
 * #syscalls:resolv socket(0==AF_UNIX) ioctl(1==SIOCGIFINDEX)
 */
static void add(struct upstream_list *list, const char *text)
{
	const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
				       .ai_socktype = SOCK_DGRAM};
	struct upstream *upstream = &list->list[list->count];
	struct addrinfo *found;

	if (list->count == UPSTREAM_MAX || getaddrinfo(text, "53", &hints, &found))
		return;
	memcpy(&upstream->address, found->ai_addr, found->ai_addrlen);
	upstream->len = found->ai_addrlen;
	list->count++;
	freeaddrinfo(found);
}

static void read_file(struct upstream_list *list, FILE *file)
{
	char line[512], address[128];

	while (fgets(line, sizeof(line), file))
		if (sscanf(line, " nameserver %127s", address) == 1)
			add(list, address);
	if (!list->count) /* resolv.conf(5): that of the local machine */
		add(list, "127.0.0.1");
}

static bool is_as_seen(const struct stat *seen, const struct stat *st)
{
	return st->st_dev == seen->st_dev && st->st_ino == seen->st_ino &&
	       st->st_size == seen->st_size && st->st_mtim.tv_sec == seen->st_mtim.tv_sec &&
	       st->st_mtim.tv_nsec == seen->st_mtim.tv_nsec;
}

/*
 * Return: whether there are new ones.
 *
 * #syscalls:resolv openat(2==O_RDONLY|O_CLOEXEC) newfstatat(3==AT_EMPTY_PATH) read close
 */
static bool look(struct stat *seen, struct upstream_list *list)
{
	cleanup_fclose FILE *file = fopen(RESOLV_CONF, "re");
	struct stat st;

	if (!file || fstat(fileno(file), &st) < 0 || is_as_seen(seen, &st))
		return false;
	*seen = st;
	memset(list, 0, sizeof(*list));
	read_file(list, file);
	return true;
}

/*
 * ppoll(2), since poll(2) would go on as another call after the process was stopped.
 *
 * #syscalls:resolv ppoll
 */
__attribute__((noreturn)) static void run(int out)
{
	const struct timespec pause = {.tv_sec = LOOK_S};
	struct pollfd reader = {.fd = out}; /* POLLERR: it is gone */
	struct upstream_list list;
	struct stat seen = {0};

	do {
		if (look(&seen, &list) && write(out, &list, sizeof(list)) < 0)
			break;
	} while (ppoll(&reader, 1, &pause, NULL) == 0);
	_exit(0);
}

/* A reader would keep it from seeing that there is none. */
static int keep_only(int out)
{
	if (dup3(out, NAMES_CHANNEL_FD, O_CLOEXEC) < 0 ||
	    close_range(NAMES_CHANNEL_FD + 1, ~0u, 0) < 0)
		return -errno;
	return 0;
}

int resolv_start(struct error *err)
{
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0 || (pid = fork()) < 0)
		return error_set(err, errno, "cannot watch " RESOLV_CONF);
	if (pid == 0) {
		struct error why;

		if (keep_only(ends[1]) == 0 &&
		    names_jail("vmctl dns", JAIL_ROOT_HOST, JAIL_CALLS_RESOLV, &why) == 0)
			run(NAMES_CHANNEL_FD);
		fputs("vmctl dns: cannot watch " RESOLV_CONF "\n", stderr);
		_exit(1);
	}
	close(ends[1]);
	return ends[0];
}
