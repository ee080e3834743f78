/*
 * pffs mcp: the command.
 *
 * At the end of standard input the session ends. Calls that go on may end first as long
 * as somebody reads their answers, for a while: who pipes messages in wants them.
 */
#include "pffs/mcp/mcp.h"

#include "pffs/cli/command.h"
#include "pffs/cli/commands.h"
#include "pffs/mcp/mcp_session.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#define LEFT_NS	   600000000000ull /* calls may go on after the end of input */
#define STOP_NS	   1000000000ull   /* and when they are cancelled */
#define EXIT_AFTER 10		   /* seconds, whatever does not answer then */

static const char help[] =
    "usage: pffs mcp [OPTION...]\n"
    "\n"
    "Serve sandboxes as tools of the Model Context Protocol, on standard input and "
    "output.\n"
    "An agent's program starts it: see docs/mcp.md. Without --sandbox the session has a\n"
    "sandbox of its own. What a session made goes when it ends.\n"
    "\n"
    "  --sandbox NAME     work in this sandbox; made if it is not there, and it stays\n"
    "  --template NAME    what sandboxes are made of\n"
    "  --keep             leave all sandboxes when the session ends\n"
    "  --allow-files DIR  tools may read and write the files in DIR\n"
    "  --api PATH         the socket of the pffs to ask\n";

static int signal_fd = -1;

/* Handlers, not a mask and not SIG_IGN: those would be inherited by what is started. */
static void on_signal(int number)
{
	int kept = errno;

	if (number != SIGPIPE)
		eventfd_write(signal_fd, 1);
	errno = kept;
}

static int hear_signals(void)
{
	static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE};
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

	signal_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (signal_fd < 0)
		return -errno;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigaction(numbers[i], &action, NULL);
	return 0;
}

/* Standard output is for messages alone: whatever else is written there goes to standard
 * error. Return: where messages go, or -errno. */
static int take_stdout(void)
{
	int out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

	if (out < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		return -errno;
	return out;
}

/* Return: 0 at the end of input, -EINTR by a signal, -EPIPE when nobody reads, -errno. */
static int hear(struct mcp *mcp)
{
	struct pollfd fds[] = {{.fd = mcp->rpc.in, .events = POLLIN},
			       {.fd = signal_fd, .events = POLLIN}};
	int r = 1;

	while (r > 0) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return -errno;
		if (fds[1].revents)
			return -EINTR;
		if (mcp->rpc.gone)
			return -EPIPE;
		if (fds[0].revents)
			r = rpc_read(&mcp->rpc, mcp_hear, mcp);
	}
	return r;
}

/* Wait for calls to end, as long as somebody wants to hear of it. */
static void let_end(struct mcp *mcp, uint64_t for_ns, bool heard)
{
	struct pollfd fds[] = {{.fd = mcp->calls.ended_fd, .events = POLLIN},
			       {.fd = heard ? mcp->rpc.out : -1, .events = 0},
			       {.fd = heard ? signal_fd : -1, .events = POLLIN}};
	uint64_t until = io_monotonic_ns() + for_ns, now;
	eventfd_t ended;

	while (calls_count(&mcp->calls)) {
		now = io_monotonic_ns();
		if (now >= until || (heard && mcp->rpc.gone))
			return;
		if (poll(fds, 3, (int)((until - now) / 1000000) + 1) < 0 && errno != EINTR)
			return;
		if (fds[1].revents || fds[2].revents)
			return;
		if (fds[0].revents)
			eventfd_read(mcp->calls.ended_fd, &ended);
	}
}

static int serve(const struct session_options *options)
{
	struct session session;
	struct mcp mcp = {.session = &session};
	struct error err = {0};
	int out = take_stdout(), r = out < 0 ? out : hear_signals();

	if (r < 0 || calls_init(&mcp.calls, &err) < 0) {
		fprintf(stderr, "pffs: cannot begin: %s\n",
			strerror(r < 0 ? -r : -err.code));
		return 1;
	}
	json_object_seed(0); /* before there are threads */
	session_init(&session, options);
	rpc_init(&mcp.rpc, STDIN_FILENO, out);
	r = hear(&mcp);
	if (r == 0)
		let_end(&mcp, LEFT_NS, true);
	/* By SIGALRM, so also when pffs does not answer. */
	signal(SIGALRM, SIG_DFL);
	alarm(EXIT_AFTER);
	calls_cancel(&mcp.calls, NULL);
	let_end(&mcp, STOP_NS, false);
	session_end(&session);
	/* Threads of calls that hang use what this function has. */
	_exit(r == 0 || r == -EINTR || r == -EPIPE ? 0 : 1);
}

static int parse_options(int argc, char **argv, struct session_options *options)
{
	enum { SANDBOX = 1, TEMPLATE, KEEP, FILES, API, HELP };
	static const struct option known[] = {
	    {"sandbox", required_argument, NULL, SANDBOX},
	    {"template", required_argument, NULL, TEMPLATE},
	    {"keep", no_argument, NULL, KEEP},
	    {"allow-files", required_argument, NULL, FILES},
	    {"api", required_argument, NULL, API},
	    {"help", no_argument, NULL, HELP},
	    {0}};
	int option;

	while ((option = getopt_long(argc, argv, "+", known, NULL)) != -1)
		switch (option) {
		case SANDBOX:
			options->sandbox = optarg;
			break;
		case TEMPLATE:
			options->template = optarg;
			break;
		case KEEP:
			options->keep = true;
			break;
		case FILES:
			options->files = optarg;
			break;
		case API:
			options->api = optarg;
			break;
		case HELP:
			fputs(help, stdout);
			return 0;
		default:
			return usage_error(argv[0], NULL);
		}
	if (optind != argc)
		return usage_error(argv[0], "%s is too much", argv[optind]);
	return -1;
}

int cmd_mcp(int argc, char **argv)
{
	struct session_options options = {0};
	int status = parse_options(argc, argv, &options);
	struct stat st;

	if (status >= 0)
		return status;
	if (options.files && (stat(options.files, &st) < 0 || !S_ISDIR(st.st_mode))) {
		fprintf(stderr, "pffs: %s is no directory\n", options.files);
		return 2;
	}
	return serve(&options);
}
