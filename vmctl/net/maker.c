#include "vmctl/net/maker.h"

#include "util/cleanup.h"
#include "util/io.h"
#include "vmctl/net/netns.h"
#include "vmctl/net/peer.h"
#include "vmctl/net/slot.h"
#include "vmctl/net/tun.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define ORDER_MAX 64 /* bytes */

/* Return: 0 or -errno; @tap, if it is one, is closed. */
static int answer(int sock, json_t *message, int tap)
{
	cleanup_close int fd = tap;
	cleanup_free char *text = json_dumps(message, JSON_COMPACT);

	json_decref(message);
	if (!text)
		return -ENOMEM;
	return io_send_fd(sock, text, strlen(text), fd, 0);
}

static int make(int sock, unsigned number, int hub_fd, struct rt *hub)
{
	struct slot_made made;
	struct error err;

	if (slot_make(number, hub_fd, hub, &made, &err) == 0)
		return answer(sock, json_pack("{s:i}", "slot", (int)number), made.tap);
	return answer(sock, json_pack("{s:i, s:s}", "slot", (int)number, "error", err.text),
		      -1);
}

/* Return: the number of the slot that is wanted, or 0: there is nobody any more. */
static unsigned hear(int sock)
{
	char text[ORDER_MAX];
	ssize_t n;
	json_t *message;
	json_int_t number;

	do
		n = recv(sock, text, sizeof(text), 0);
	while (n < 0 && errno == EINTR);
	message = n > 0 ? json_loadb(text, (size_t)n, 0, NULL) : NULL;
	number = json_integer_value(json_object_get(message, "slot"));
	json_decref(message);
	return number > 0 ? (unsigned)number : 0;
}

/* Above all it is not to keep the broker's socket, or the guard's. */
__attribute__((noreturn)) static void run(int sock)
{
	const int keep[] = {sock, tun_directory()};
	cleanup_rt struct rt rt = {0};
	struct error err;
	unsigned number;
	int hub;

	io_close_but(keep, sizeof(keep) / sizeof(keep[0]));
	prctl(PR_SET_NAME, "vmctl-slots");
	hub = netns_here(&err);
	if (hub >= 0 && rt_open(&rt, &err) == 0)
		while ((number = hear(sock)) && make(sock, number, hub, &rt) == 0)
			;
	_exit(EXIT_SUCCESS);
}

int maker_start(struct error *err)
{
	cleanup_close int theirs = -1;
	int pair[2], r = peer_pair(pair, err);
	pid_t pid;

	if (r < 0)
		return r;
	theirs = pair[1];
	pid = fork();
	if (pid == 0)
		run(theirs);
	if (pid > 0)
		return pair[0];
	close(pair[0]);
	return error_set(err, errno, "cannot start what makes slots");
}
