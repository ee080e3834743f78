/*
 * vmctl: the virtual machine monitor of pffs and its broker.
 */
#include "config.h"
#include "util/json_memory.h"
#include "vmctl/ctl.h"
#include "vmctl/host.h"
#include "vmctl/init.h"
#include "vmctl/keep.h"
#include "vmctl/net/net.h"
#include "vmctl/probe.h"
#include "vmctl/serve.h"
#include "vmctl/usage.h"
#include "vmctl/vm.h"

#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: vmctl COMMAND [OPTION]...\n"
    "Run virtual machines for pffs.\n"
    "\n"
    "  serve         run virtual machines for the clients of a socket\n"
    "  probe         measure what KVM can do here and say which engine fits\n"
    "  list          show the virtual machines of a running server\n"
    "  stat [VM]     show facts about a server, or about one virtual machine\n"
    "  log VM        show what a virtual machine's kernel said\n"
    "  kill VM [SIG] signal a virtual machine's process\n"
    "\n"
    "  --help        show this, or a command's options\n"
    "  --version     show the version\n";

static const struct {
	const char *name;
	int (*main)(int argc, char **argv);
} commands[] = {
    {"serve", serve_main},    {"probe", probe_main}, {"list", ctl_list_main},
    {"stat", ctl_stat_main},  {"log", ctl_log_main}, {"kill", ctl_kill_main},
    {"vm", vm_main},	      /* what the broker starts for each VM */
    {"init", init_main},      /* what a family of VMs begins with */
    {"keep", keep_main},      /* what holds all VMs while there is no broker */
    {"net", net_exec},	      /* what has the network of all VMs */
    {"host", host_init_main}, /* PID 1 of the emulated host */
};

int main(int argc, char **argv)
{
	json_memory_init("vmctl");
	if (argc < 2)
		return usage_exit(usage, false);
	if (strcmp(argv[1], "--version") == 0) {
		puts("vmctl " PACKAGE_VERSION);
		return 0;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(commands[i].name, argv[1]) == 0)
			return commands[i].main(argc - 1, argv + 1);
	return usage_exit(usage, strcmp(argv[1], "--help") == 0);
}
