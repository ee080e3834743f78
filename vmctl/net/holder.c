#include "vmctl/net/holder.h"

#include "util/io.h"
#include "vmctl/jail.h"
#include "vmctl/net/net_parts.h"
#include "vmctl/net/tun.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* Who we are to be. 0: who we are already. */
static uid_t choose_user(void)
{
	struct error err;

	if (geteuid() != 0)
		return 0;
	if (!jail_has_user(JAIL_ID_NET))
		error_say(&err, EPERM, "there is no other user here");
	else if (!helpers_for_all())
		error_say(&err, EACCES, "vmctl-names is not for others to execute");
	else if (tun_share(&err) == 0)
		return JAIL_ID_NET;
	fprintf(stderr, "vmctl: the process of the sandboxes' network stays root: %s\n",
		err.text);
	return 0;
}

static int unshare_hub(uid_t user, struct error *err)
{
	uid_t uid;
	gid_t gid;
	int r;

	if (user && jail_become(user, err) < 0)
		return err->code;
	uid = geteuid();
	gid = getegid();
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return error_set(err, errno,
				 "cannot make a user namespace for the sandboxes' network");
	r = jail_map_self(uid, gid, true);
	return r < 0 ? error_set(err, -r, "cannot set up a user namespace") : 0;
}

/* Nothing else is kept by it, above all not the broker's socket. */
__attribute__((noreturn)) static void hold(uid_t user, int told)
{
	struct pollfd end = {.fd = told}; /* POLLERR: the other end is closed */
	struct error why = {.code = 0};

	io_close_but(&told, 1);
	unshare_hub(user, &why);
	if (write(told, &why, sizeof(why)) == sizeof(why))
		poll(&end, 1, -1);
	_exit(EXIT_FAILURE);
}

static int open_ns(const struct holder *holder, const char *kind)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)holder->pid, kind);
	return open(path, O_RDONLY | O_CLOEXEC);
}

int holder_start(struct holder *holder, struct error *err)
{
	const uid_t user = choose_user();
	struct error why = {.code = 0};
	int pair[2];

	*holder = (struct holder){.pid = -1, .user = -1, .netns = -1, .end = -1};
	if (pipe2(pair, O_CLOEXEC) < 0)
		return error_set(err, errno, "cannot start");
	holder->end = pair[0];
	holder->pid = fork();
	if (holder->pid == 0)
		hold(user, pair[1]);
	close(pair[1]);
	if (holder->pid < 0)
		return error_set(err, errno, "cannot start");
	if (read(holder->end, &why, sizeof(why)) != sizeof(why))
		error_say(&why, EIO, "a process of the sandboxes' network has ended");
	holder->user = open_ns(holder, "user");
	holder->netns = open_ns(holder, "net");
	if (why.code == 0 && (holder->user < 0 || holder->netns < 0))
		error_set(&why, errno, "cannot open the sandboxes' network");
	if (why.code == 0)
		return 0;
	*err = why;
	return why.code;
}

int holder_join(const struct holder *holder, struct error *err)
{
	/* Before we lose the right to; who has none has no groups that matter to the host.
	 */
	if (geteuid() == 0 && setgroups(0, NULL) < 0)
		return error_set(err, errno, "cannot leave the groups of root");
	if (setns(holder->user, CLONE_NEWUSER) < 0 ||
	    setns(holder->netns, CLONE_NEWNET) < 0)
		return error_set(err, errno, "cannot enter the sandboxes' network");
	if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return error_set(err, errno, "cannot be root of the sandboxes' network");
	return 0;
}

void holder_end(struct holder *holder)
{
	if (holder->pid > 0) {
		kill(holder->pid, SIGKILL);
		waitpid(holder->pid, NULL, 0);
	}
	io_close_all(&holder->user, 1);
	io_close_all(&holder->netns, 1);
	io_close_all(&holder->end, 1);
	holder->pid = -1;
}
