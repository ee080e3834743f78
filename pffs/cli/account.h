/*
 * Whose rights pffs has while it serves.
 *
 * Theory of operation: what root starts becomes the user `pffs`, or the one of --user,
 * without groups or capabilities, before it hears of a guest or a client. Where there is no
 * user `pffs` it takes a number that no user of this machine has: it owns nothing
 * there, which is what counts. Who starts it as another user has given it that user's
 * rights, and keeps his mount and his files; then there is nothing to be given up but the
 * power to gain more.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <sys/types.h>

struct account {
	uid_t uid;
	gid_t gid;
	char name[64]; /* or the number, if it has none */
	bool nameless;
};

/**
 * account_choose() - whose rights it will have.
 * @wanted: a user's name, or NULL.
 *
 * Return: 0 or -errno with @err filled.
 */
int account_choose(const char *wanted, struct account *account, struct error *err);

/**
 * account_own() - open directory @path, which is made when it is missing, so that the
 * account can use it, wherever it is: if it and its files are somebody else's, they are
 * given to the account. Before account_enter(). Return: a descriptor (O_PATH), or -errno
 * with @err filled.
 */
int account_own(const struct account *account, const char *path, struct error *err);

/** account_enter() - have its rights from now on, and no way to others.
 * Return: 0 or -errno with @err filled. */
int account_enter(const struct account *account, struct error *err);
