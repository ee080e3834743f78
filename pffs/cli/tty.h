/*
 * The terminal that the user sits at.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <termios.h>

struct tty {
	bool is; /* standard input and output are one */
	struct termios before;
};

/** tty_init() - look whether there is one, and how it is. */
void tty_init(struct tty *tty);

/** tty_raw() - every key is passed on, and nothing is done to what is shown. */
void tty_raw(const struct tty *tty);

/** tty_restore() - as it was. */
void tty_restore(const struct tty *tty);

/** tty_leave() - undo what a program in the midst of things may have switched on. */
void tty_leave(const struct tty *tty);

/** tty_size() - Return: false when it is not known. */
bool tty_size(const struct tty *tty, unsigned *rows, unsigned *cols);

/**
 * tty_forget_keys() - drop what was typed, soon after something was shown: a terminal
 * answers some sequences as if the user typed.
 */
void tty_forget_keys(const struct tty *tty);
