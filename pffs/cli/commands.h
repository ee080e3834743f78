/*
 * The subcommands of pffs. Each gets the arguments from its own name on and
 * returns the exit status: command.h.
 */
#pragma once

int cmd_run(int argc, char **argv);
int cmd_exec(int argc, char **argv);
int cmd_create(int argc, char **argv);
int cmd_shell(int argc, char **argv);
int cmd_ls(int argc, char **argv);
int cmd_tree(int argc, char **argv);
int cmd_fork(int argc, char **argv);
int cmd_diff(int argc, char **argv);
int cmd_merge(int argc, char **argv);
int cmd_cp(int argc, char **argv);
int cmd_logs(int argc, char **argv);
int cmd_events(int argc, char **argv);
int cmd_net(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_rm(int argc, char **argv);
int cmd_freeze(int argc, char **argv);
int cmd_resume(int argc, char **argv);
int cmd_stop(int argc, char **argv);
int cmd_mount(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_umount(int argc, char **argv);
int cmd_template(int argc, char **argv);
int cmd_mcp(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
