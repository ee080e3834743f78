#include "config.h"

#include "pffs/cli/command.h"
#include "pffs/cli/commands.h"
#include "util/json_memory.h"

#include <stdio.h>
#include <string.h>

#define CALLED_MAX 32 /* pffs and the longest name of a command */

static const struct {
	const char *name;
	int (*fn)(int argc, char **argv);
	const char *help;
} commands[] = {
    {"run", cmd_run,
     "run FILE|-       run a file in a sandbox of its own, as if it ran here"},
    {"exec", cmd_exec, "exec NAME CODE   run code in a sandbox"},
    {"create", cmd_create, "create [NAME]    make a sandbox, which stays"},
    {"sh", cmd_shell, "sh NAME          be in a sandbox, at a terminal; also: pffs shell"},
    {"shell", cmd_shell, NULL},
    {"ls", cmd_ls, "ls               the sandboxes"},
    {"tree", cmd_tree, "tree             the sandboxes and their forks"},
    {"fork", cmd_fork, "fork NAME        fork a sandbox while it runs"},
    {"diff", cmd_diff, "diff NAME [FORK] what files differ"},
    {"merge", cmd_merge, "merge NAME FORK  a sandbox becomes what its fork has become"},
    {"cp", cmd_cp, "cp FROM TO       copy files into a sandbox, or out of one"},
    {"logs", cmd_logs, "logs NAME        what its newest run has put out"},
    {"events", cmd_events, "events           what has happened"},
    {"net", cmd_net, "net NAME         what may leave a sandbox, and what has"},
    {"top", cmd_top, "top              what sandboxes use, live"},
    {"rm", cmd_rm, "rm NAME...       remove sandboxes"},
    {"freeze", cmd_freeze, "freeze NAME...   put sandboxes on disk, memory and all"},
    {"resume", cmd_resume, "resume NAME...   let frozen ones go on"},
    {"mount", cmd_mount, "mount DIR        serve sandboxes as directories under DIR"},
    {"umount", cmd_umount, "umount DIR       end the mount and its sandboxes"},
    {"serve", cmd_serve, "serve            answer HTTP, without a mount"},
    {"stop", cmd_stop, "stop             end a pffs without a mount"},
    {"mcp", cmd_mcp, "mcp              tools for a model: the Model Context Protocol"},
    {"template", cmd_template, "template ...     list, add, freeze and remove templates"},
    {"doctor", cmd_doctor, "doctor           check this machine and say what to do"},
};

static void usage(FILE *out)
{
	fputs("usage: pffs COMMAND [OPTION...]\n\n", out);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (commands[i].help)
			fprintf(out, "  pffs %s\n", commands[i].help);
	fputs("  pffs help [COMMAND]   this, or the options of one, as `pffs COMMAND "
	      "--help`\n"
	      "  pffs version          which pffs this is\n",
	      out);
}

/* What a command says of its usage begins with its name: "pffs exec". */
static int call(int argc, char **argv)
{
	char called[CALLED_MAX];

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[0], commands[i].name) != 0)
			continue;
		snprintf(called, sizeof(called), "pffs %s", argv[0]);
		argv[0] = called;
		return commands[i].fn(argc, argv);
	}
	fprintf(stderr, "pffs: there is no command %s; see pffs help\n", argv[0]);
	return EXIT_USAGE;
}

static int help_of(char *name)
{
	char option[] = "--help";
	char *argv[] = {name, option, NULL};

	if (name && name[0] != '-')
		return call(2, argv);
	usage(stdout);
	return 0;
}

static bool is_one_of(const char *name, const char *const *names)
{
	for (; *names; names++)
		if (strcmp(name, *names) == 0)
			return true;
	return false;
}

int main(int argc, char **argv)
{
	static const char *const help[] = {"help", "--help", "-h", NULL};
	static const char *const version[] = {"version", "--version", NULL};

	json_memory_init("pffs");
	if (argc < 2) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (is_one_of(argv[1], help))
		return help_of(argc > 2 ? argv[2] : NULL);
	if (is_one_of(argv[1], version)) {
		puts("pffs " PACKAGE_VERSION);
		return 0;
	}
	return call(argc - 1, argv + 1);
}
