/*
 * The subcommands of pffs. Each gets the arguments from its own name on and
 * returns the exit status: 0, 1 for a failure it has explained, 2 for bad usage.
 */
#pragma once

int cmd_mount(int argc, char **argv);
int cmd_umount(int argc, char **argv);
int cmd_shell(int argc, char **argv);
int cmd_template(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
