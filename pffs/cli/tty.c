#include "pffs/cli/tty.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_NS 100000000 /* that a terminal gets to answer what it was shown */

/* Plain attributes, cursor keys, keypad, the cursor, the first screen, no reports of the
 * mouse, no marks around what is pasted: names in xterm's ctlseqs. */
static const char leave[] = "\033[0m\033[?1l\033>\033[?25h\033[?1047l"
			    "\033[?1000l\033[?1002l\033[?1003l\033[?1006l\033[?2004l";

void tty_init(struct tty *tty)
{
	tty->is = isatty(STDOUT_FILENO) && tcgetattr(STDIN_FILENO, &tty->before) == 0;
}

void tty_raw(const struct tty *tty)
{
	struct termios raw = tty->before;

	if (!tty->is)
		return;
	cfmakeraw(&raw);
	tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
}

void tty_restore(const struct tty *tty)
{
	if (tty->is)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &tty->before);
}

int tty_show(const void *data, size_t len)
{
	struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
	const char *p = data;

	while (len) {
		ssize_t n = write(STDOUT_FILENO, p, len);

		if (n < 0 && errno == EAGAIN && (poll(&out, 1, -1) >= 0 || errno == EINTR))
			continue;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

void tty_leave(const struct tty *tty)
{
	if (tty->is && tty_show(leave, strlen(leave)) == 0)
		tcdrain(STDOUT_FILENO);
}

bool tty_size(const struct tty *tty, unsigned *rows, unsigned *cols)
{
	struct winsize size;

	if (!tty->is || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || !size.ws_row ||
	    !size.ws_col)
		return false;
	*rows = size.ws_row;
	*cols = size.ws_col;
	return true;
}

void tty_forget_keys(const struct tty *tty)
{
	if (!tty->is)
		return;
	tcdrain(STDOUT_FILENO);
	nanosleep(&(struct timespec){.tv_nsec = ANSWER_NS}, NULL);
	tcflush(STDIN_FILENO, TCIFLUSH);
}
