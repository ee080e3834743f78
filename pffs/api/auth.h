/*
 * Who may ask: keys, and what protects those who need none from web pages.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>

#define AUTH_KEY_MAX 256 /* bytes of a key */

struct auth {
	char (*keys)[AUTH_KEY_MAX]; /* filled up with zeros */
	size_t count;
};

/**
 * auth_init() - read the keys: those of the environment, and of @file if it is not NULL.
 * Return: 0 or -errno with @err filled.
 */
int auth_init(struct auth *auth, const char *file, struct error *err);
void auth_fini(struct auth *auth);

/**
 * auth_key_ok() - is what an Authorization header says one of the keys?
 * @header: or NULL. Takes the same time whatever it is.
 */
bool auth_key_ok(const struct auth *auth, const char *header);

/**
 * auth_page_ok() - may a request with these headers have come from somewhere else than a
 * web page of somebody else? A page says its Origin; one whose name was made to lead to
 * this machine has that name as Host. A browser says whose page it is, Sec-Fetch-Site.
 * @host, @origin, @site: the headers, or NULL.
 */
bool auth_page_ok(const char *host, const char *origin, const char *site);
