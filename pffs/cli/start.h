/*
 * A pffs for who needs one and has none.
 */
#pragma once

#include "pffs/cli/client.h"

/**
 * start_client() - client_open(); when no pffs runs, and none is named, it starts one in
 * the background, at its Unix socket alone, and says so on standard error.
 * @cancel: a descriptor that is readable when the user wants no more, or -1.
 *
 * Return: as client_open(); -EINTR: @cancel.
 */
struct client *start_client(const char *api, const char *sandbox, int cancel,
			    struct error *err);
