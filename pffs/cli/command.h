/*
 * What the commands that ask a pffs have in common: options, errors, exit statuses.
 *
 * A command returns 0, 1 when it failed and has said why, 2 for bad usage. Those that run
 * code return the code's own exit code, and 125 when it did not come to that.
 */
#pragma once

#include "pffs/cli/client.h"

#include <getopt.h>
#include <stdbool.h>

#define EXIT_USAGE 2
#define EXIT_PFFS  125 /* of a command that runs code: it failed itself */

struct command {
	/* Set by the command. */
	const char *help;
	const struct option *options;			       /* its own, or NULL */
	int (*take)(void *ctx, int option, const char *value); /* -EINVAL: a bad value */
	void *ctx;
	bool in_order;	 /* an operand ends the options */
	int least, most; /* operands; @most -1: any number */
	int failure;	 /* status of a failure, 0: 1 */

	/* What the user said. */
	const char *name; /* pffs exec */
	const char *api;
	bool json;
	char **operands;
	int count;

	struct client *client;
	int status;
};

/**
 * command_parse() - read the arguments, --api, --json and --help among them.
 * Return: whether to go on; otherwise @status is what to return.
 */
bool command_parse(struct command *command, int argc, char **argv);

/**
 * usage_error() - say on standard error what is wrong with a command line.
 * @name:   of the command: its argv[0], such as "pffs exec".
 * @reason: as for printf(); NULL: getopt has said it.
 *
 * Return: EXIT_USAGE.
 */
__attribute__((format(printf, 2, 3))) int usage_error(const char *name, const char *reason,
						      ...);

/**
 * command_begin() - command_parse(), and find the pffs to ask. command_end() closes it.
 * Return: as command_parse().
 */
bool command_begin(struct command *command, int argc, char **argv);
void command_end(struct command *command);

/** command_fail() - say why. Return: the status of a failure, which becomes @status. */
int command_fail(struct command *command, const struct error *err);

/** command_ask() - client_call(), said when it fails. Return: 0, or the status. */
__attribute__((format(printf, 5, 6))) int command_ask(struct command *command,
						      const char *method,
						      const json_t *body, json_t **answer,
						      const char *path, ...);

/** command_print_json() - a document, for programs. Return: 0, or the status. */
int command_print_json(struct command *command, const json_t *value);

/** command_flush() - what was printed has to have gone out. Return: 0, or the status. */
int command_flush(struct command *command);

/** command_to_stdout() - the @take of a transfer whose bytes go to standard output. */
int command_to_stdout(void *ctx, const void *data, size_t len);

/**
 * command_transfer() - one transfer, with @what at a terminal when it takes long. It is
 * not said when it fails. Return: 0 or -errno with @transfer's err filled.
 */
int command_transfer(struct command *command, struct transfer *transfer, const char *what);
