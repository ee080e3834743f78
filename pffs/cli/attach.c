/*
 * Theory of operation
 *
 * Reading and typing are two open files, and the exit code a third, which are of this
 * terminal also when another one has its name: who reads can then seek, and begins with the
 * oldest that is kept. So one who comes back is shown what was missed, after what was
 * there before, which puts a full screen together again. If the oldest has gone, the
 * program is made to draw it all, by another size for a moment.
 *
 * ^] and d leaves, ^] twice types one. Input that is no terminal ends as by ^D, again and
 * again: a program that has just started may lose the first, or take it for its own end.
 */
#include "pffs/cli/attach.h"

#include "pffs/cli/keys.h"
#include "pffs/cli/tty.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>

#define CHUNK	      65536
#define REDRAW_NS     50000000
#define END_MSECS     500
#define TEXT_MAX      16
#define EXIT_BY_FORCE 128  /* and more: a signal ended it as it was */
#define GOES_ON	      1000 /* no enum attach_end yet */

struct attached {
	const char *dir;
	struct tty tty;
	int screen, keys, exits, signals;
	struct keys typed;
	bool in_ended;
	bool again; /* what was shown before is still coming */
	bool lost;  /* and some of that is not kept any more */
	off_t past; /* how many bytes of it are to come, at most */
	int status;
};

/* A file of the terminal. Return: a descriptor or -errno. */
static int open_file(const struct attached *a, const char *name, int flags)
{
	cleanup_free char *path = NULL;
	int fd;

	if (asprintf(&path, "%s/%s", a->dir, name) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static void write_size(const struct attached *a, unsigned rows, unsigned cols)
{
	cleanup_close int fd = open_file(a, "size", O_WRONLY);
	char text[32];
	int len = snprintf(text, sizeof(text), "%u %u\n", rows, cols);

	if (fd >= 0 && io_write_all(fd, text, (size_t)len) < 0)
		return; /* it may have ended */
}

static void pass_size(const struct attached *a)
{
	unsigned rows, cols;

	if (tty_size(&a->tty, &rows, &cols))
		write_size(a, rows, cols);
}

static void redraw(const struct attached *a)
{
	unsigned rows, cols;

	if (!tty_size(&a->tty, &rows, &cols))
		return;
	write_size(a, rows + 1, cols);
	nanosleep(&(struct timespec){.tv_nsec = REDRAW_NS}, NULL);
	write_size(a, rows, cols);
}

/* Who comes back is at the present when all this was shown, however much comes after it. */
static void look_back(struct attached *a)
{
	off_t start = lseek(a->screen, 0, SEEK_DATA);
	struct stat st;

	a->lost = start > 0;
	if (start >= 0 && fstat(a->screen, &st) == 0)
		a->past = st.st_size - start;
}

static int open_all(struct attached *a, struct error *err)
{
	sigset_t set;

	a->screen = open_file(a, "data", O_RDONLY | O_NONBLOCK);
	a->keys = open_file(a, "data", O_WRONLY | O_NONBLOCK);
	if (a->screen < 0 || a->keys < 0)
		return error_set(err, a->screen < 0 ? -a->screen : -a->keys,
				 "cannot open %s/data", a->dir);
	a->exits = open_file(a, "exit", O_RDONLY | O_NONBLOCK);
	if (a->exits < 0)
		return error_set(err, -a->exits, "cannot open %s/exit", a->dir);
	look_back(a);
	sigemptyset(&set);
	sigaddset(&set, SIGWINCH);
	sigaddset(&set, SIGCONT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGQUIT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	a->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return a->signals < 0 ? error_set(err, errno, "cannot wait for signals") : 0;
}

static void close_all(struct attached *a)
{
	if (a->screen >= 0)
		close(a->screen);
	if (a->keys >= 0)
		close(a->keys);
	if (a->exits >= 0)
		close(a->exits);
	if (a->signals >= 0)
		close(a->signals);
	keys_fini(&a->typed);
}

static int read_status(struct attached *a)
{
	char text[TEXT_MAX] = "";

	if (read(a->exits, text, sizeof(text) - 1) <= 0)
		return -EIO;
	a->status = (int)strtol(text, NULL, 10);
	return ATTACH_EXITED;
}

/* All that was shown before is here. */
static void caught_up(struct attached *a)
{
	a->again = false;
	tty_forget_keys(&a->tty);
	if (a->lost)
		redraw(a);
}

static int show(struct attached *a)
{
	static char chunk[CHUNK];
	ssize_t n = read(a->screen, chunk, sizeof(chunk));

	if (n == 0)
		return read_status(a);
	if (n < 0 && errno != EAGAIN)
		return errno == EINTR ? GOES_ON : -errno;
	if (n > 0 && io_write_all_wait(STDOUT_FILENO, chunk, (size_t)n) < 0)
		return ATTACH_LEFT;
	a->past -= n < 0 ? a->past : n;
	if (a->again && a->past <= 0)
		caught_up(a);
	return GOES_ON;
}

/* Send what was typed. What is not taken waits. */
static int flush_keys(struct attached *a)
{
	struct buf *typed = &a->typed.typed;
	ssize_t n;

	while (typed->len) {
		size_t len = typed->len < CHUNK ? typed->len : CHUNK;

		n = write(a->keys, buf_peek(typed), len);
		if (n < 0 && errno == EIO)
			buf_fini(typed); /* it has ended, as we will see */
		else if (n < 0)
			return errno == EAGAIN || errno == EINTR ? GOES_ON : -errno;
		else
			buf_consume(typed, (size_t)n);
	}
	return GOES_ON;
}

static int type_end(struct attached *a)
{
	keys_end(&a->typed);
	return flush_keys(a);
}

static int take_keys(struct attached *a)
{
	static char chunk[CHUNK];
	ssize_t n = read(STDIN_FILENO, chunk, sizeof(chunk));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return GOES_ON;
	if (n <= 0 && a->tty.is)
		return ATTACH_LEFT;
	if (n <= 0) {
		a->in_ended = true;
		return type_end(a);
	}
	return keys_take(&a->typed, chunk, (size_t)n) ? ATTACH_LEFT : flush_keys(a);
}

static int take_signal(struct attached *a)
{
	struct signalfd_siginfo info;

	while (read(a->signals, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCONT)
			tty_raw(&a->tty);
		if (info.ssi_signo != SIGCONT && info.ssi_signo != SIGWINCH) {
			a->status = (int)info.ssi_signo;
			return ATTACH_SIGNALED;
		}
		pass_size(a);
	}
	return GOES_ON;
}

/* One turn. Return: GOES_ON, enum attach_end or -errno. */
static int turn(struct attached *a)
{
	bool wait = a->in_ended || a->typed.typed.len || a->again;
	struct pollfd fds[] = {
	    {.fd = a->screen, .events = POLLIN},
	    {.fd = wait ? -1 : STDIN_FILENO, .events = POLLIN},
	    {.fd = a->typed.typed.len ? a->keys : -1, .events = POLLOUT},
	    {.fd = a->signals, .events = POLLIN},
	};
	int r = GOES_ON, ready = poll(fds, 4, a->again ? 0 : a->in_ended ? END_MSECS : -1);

	if (ready < 0)
		return errno == EINTR ? GOES_ON : -errno;
	if (ready == 0 && a->in_ended)
		return type_end(a);
	if (fds[3].revents)
		r = take_signal(a);
	if (r == GOES_ON && (fds[0].revents || a->again))
		r = show(a);
	if (r == GOES_ON && fds[1].revents)
		r = take_keys(a);
	if (r == GOES_ON && fds[2].revents)
		r = flush_keys(a);
	return r;
}

int attach(const char *dir, bool again, int *status, struct error *err)
{
	struct attached a = {.dir = dir,
			     .again = again,
			     .screen = -1,
			     .keys = -1,
			     .exits = -1,
			     .signals = -1};
	int r = 0;

	tty_init(&a.tty);
	a.typed.person = a.tty.is;
	pass_size(&a);
	r = open_all(&a, err);
	if (r == 0) {
		tty_raw(&a.tty);
		do
			r = turn(&a);
		while (r == GOES_ON);
		if (r != ATTACH_EXITED || a.status >= EXIT_BY_FORCE)
			tty_leave(&a.tty);
		tty_restore(&a.tty);
		if (r < 0)
			error_set(err, -r, "the terminal %s is lost", dir);
	}
	*status = a.status;
	close_all(&a);
	return r;
}
