/*
 * Loading of kernel modules, for the two small systems whose init
 * is ours: the guest and the emulated host.
 */
#pragma once

#include "util/error.h"

/**
 * modules_load() - load the kernel modules that a file lists.
 * @list: a text file with one module file a line, in load order (dependencies
 *        first). A relative name is relative to the folder of @list; empty
 *        lines and lines that start with '#' are skipped.
 *
 * A module that is there already, or built in, is no error. Modules that the
 * kernel refuses do not keep the later ones from being tried; the first refusal
 * is what is reported. Needs CAP_SYS_MODULE.
 *
 * Return: 0, or -errno with @err naming the module.
 */
int modules_load(const char *list, struct error *err);

/**
 * modules_load_fd() - load the kernel module in an open file.
 * @name: of the file, for sentences.
 *
 * Return: 0, or -errno with @err filled; a module that is there already is no error.
 */
int modules_load_fd(int fd, const char *name, struct error *err);
