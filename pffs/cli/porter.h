/*
 * What stays of `pffs mount --only`: it waits for the end, and makes the sockets of ports
 * in the mount (pffs/core/net/porter.h), with the rights and in the namespaces of its user.
 */
#pragma once

#include <stdbool.h>

/**
 * porter_run() - be the porter, until pffs or the mount has gone, or a signal comes.
 * @control: where orders come and connections go.
 * @signals: signalfd(2) of those that end it, or -1.
 * @dir:     the mount.
 *
 * Return: whether it was a signal.
 */
bool porter_run(int control, int signals, const char *dir);
