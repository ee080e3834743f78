#include "vmctl/init.h"

#include "vmctl/jail.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

#define REAP_WAITS 60

static void on_child(int signal)
{
	(void)signal; /* it only makes ppoll(2) return */
}

/* Each that ends meanwhile is to be seen as long as the first; but not for ever, nor when
 * nobody looks any more. */
static void reap(struct pollfd *alive, const sigset_t *none)
{
	const struct timespec late = {.tv_sec = INIT_REAP_MS / 1000};

	for (int i = 0; i < REAP_WAITS && ppoll(alive, 1, &late, none) < 0; i++)
		;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

/* #syscalls:init ppoll wait4 rt_sigprocmask rt_sigaction rt_sigreturn exit_group */
static int serve(void)
{
	const struct sigaction act = {.sa_handler = on_child};
	struct pollfd alive = {.fd = INIT_ALIVE_FD, .events = POLLIN};
	sigset_t children, none;

	sigemptyset(&none);
	sigemptyset(&children);
	sigaddset(&children, SIGCHLD);
	sigprocmask(SIG_BLOCK, &children, NULL);
	sigaction(SIGCHLD, &act, NULL);
	while (ppoll(&alive, 1, NULL, &none) < 0)
		reap(&alive, &none);
	return EXIT_SUCCESS;
}

int init_main(int argc, char **argv)
{
	struct jail jail = {
	    .name = "a family of VMs",
	    .namespaces =
		CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS,
	    .root = JAIL_ROOT_EMPTY,
	    .calls = JAIL_CALLS_INIT,
	};
	struct error err;

	if (argc != 2)
		return EXIT_FAILURE;
	jail.uid = (uid_t)strtoul(argv[1], NULL, 10);
	if (jail_enter(&jail, &err) == 0)
		return serve();
	fprintf(stderr, "vmctl: %s\n", err.text);
	return EXIT_FAILURE;
}
