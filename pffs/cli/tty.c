#include "pffs/cli/tty.h"

#include "util/io.h"

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

void tty_leave(const struct tty *tty)
{
	if (tty->is && io_write_all_wait(STDOUT_FILENO, leave, strlen(leave)) == 0)
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
