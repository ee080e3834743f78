/*
 * The subcommands that talk to a running `vmctl serve`.
 */
#pragma once

int ctl_list_main(int argc, char **argv);
int ctl_stat_main(int argc, char **argv);
int ctl_log_main(int argc, char **argv);
int ctl_kill_main(int argc, char **argv);
