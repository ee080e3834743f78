#include "config.h"

#include "pffs/cli/commands.h"
#include "util/json_memory.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	int (*fn)(int argc, char **argv);
	const char *help;
} commands[] = {
    {"mount", cmd_mount, "mount DIR     serve sandboxes as directories under DIR"},
    {"umount", cmd_umount, "umount DIR    end the mount and its sandboxes"},
    {"shell", cmd_shell, "shell NAME    be in a sandbox, at a terminal"},
    {"template", cmd_template, "template ...  list, add, freeze and remove templates"},
    {"doctor", cmd_doctor, "doctor        check this machine and say what to do"},
};

static void usage(FILE *out)
{
	fputs("usage: pffs COMMAND [OPTION...]\n\n", out);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(out, "  pffs %s\n", commands[i].help);
	fputs("\n`pffs COMMAND --help` tells the options of one.\n", out);
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";

	json_memory_init("pffs");
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
		usage(stdout);
		return 0;
	}
	if (strcmp(name, "--version") == 0) {
		puts("pffs " PACKAGE_VERSION);
		return 0;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(name, commands[i].name) == 0)
			return commands[i].fn(argc - 1, argv + 1);
	if (*name)
		fprintf(stderr, "pffs: there is no command %s\n", name);
	usage(stderr);
	return 2;
}
