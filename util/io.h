/*
 * Small I/O helpers that every program of the tree needs.
 */
#pragma once

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** io_write_all() - write @len bytes to a blocking @fd. Return: 0 or -errno. */
int io_write_all(int fd, const void *data, size_t len);

/** io_write_all_wait() - the same for an @fd that may be O_NONBLOCK, such as a terminal, of
 * which all who have it open share that flag: it is waited for. */
int io_write_all_wait(int fd, const void *data, size_t len);

/** io_pwrite_all() - write @len bytes at @offset of a file. Return: 0 or -errno. */
int io_pwrite_all(int fd, const void *data, size_t len, uint64_t offset);

/** io_pread_all() - read @len bytes at @offset of a file. Return: 0, -errno, or
 * -ENODATA when it ends before. */
int io_pread_all(int fd, void *data, size_t len, uint64_t offset);

/**
 * io_read_file() - read a whole file into memory.
 * @max: refuse (-EFBIG) a file larger than this many bytes.
 * @len: set to the number of bytes, which are followed by a NUL.
 *
 * Return: a buffer to free(), or NULL with @err filled.
 */
char *io_read_file(const char *path, size_t max, size_t *len, struct error *err);

/**
 * io_lock() - take an exclusive flock(2) of @fd.
 *
 * One who was killed, or is ending, a moment ago may not have let go of it yet: that is
 * waited for, for some two seconds.
 *
 * Return: 0, -EWOULDBLOCK when another one has it, or another -errno.
 */
int io_lock(int fd);

/** io_close_all() - close those of @count descriptors that are any: all are -1 then. */
void io_close_all(int *fds, size_t count);

/**
 * io_close_but() - close all descriptors behind the standard ones but those of @count in
 * @keep, of which some may be -1. Return: 0 or -errno.
 */
int io_close_but(const int *keep, size_t count);

struct msghdr;

/**
 * io_add_fds() - have @msg take @count descriptors along.
 * @room: zeros, of CMSG_SPACE() of that many and aligned as a struct cmsghdr; @msg's from
 *	  now on.
 */
void io_add_fds(struct msghdr *msg, void *room, const int *fds, size_t count);

/**
 * io_take_fds() - the descriptors that came with @msg, which are the caller's now.
 * @most: the room in @fds. Who sent more is not understood: all of these are closed.
 *
 * Return: how many there are. What is behind them in @fds stays as it was.
 */
size_t io_take_fds(struct msghdr *msg, int *fds, size_t most);

/**
 * io_send_fd() - send a message, with a descriptor unless @fd is -1.
 * @flags: of sendmsg(2), MSG_NOSIGNAL apart.
 *
 * Return: 0 or -errno.
 */
int io_send_fd(int socket, const void *data, size_t len, int fd, int flags);

/**
 * io_receive_fd() - receive a message, and the descriptor that came with it. What
 * interrupts that, a process that was stopped and goes on, say, does not end it.
 * @fd: set to it, which is the caller's then; -1: there is none.
 *
 * Return: bytes, 0 at the end, or -errno.
 */
ssize_t io_receive_fd(int socket, void *data, size_t room, int *fd);

/** io_random_name() - @prefix and 32 hexadecimal digits that nobody guesses, as far as
 * there is @room. Return: 0 or -errno. */
int io_random_name(char *name, size_t room, const char *prefix);

/** io_raise_descriptors() - have as many open as the hard limit allows, if it may be. */
void io_raise_descriptors(void);

/** io_set_nonblock() - set or clear O_NONBLOCK. Return: 0 or -errno. */
int io_set_nonblock(int fd, bool on);

/**
 * io_listen_unix() - listen on a new Unix stream socket at @path, mode 0600.
 * A socket that a dead process left there is replaced; a live one is not
 * (-EADDRINUSE).
 *
 * Return: a non-blocking close-on-exec descriptor, or -errno with @err filled.
 */
int io_listen_unix(const char *path, struct error *err);

/** io_connect_unix() - connect to a Unix stream socket. Return: fd or -errno. */
int io_connect_unix(const char *path, struct error *err);

/** io_monotonic_ns() - CLOCK_MONOTONIC in nanoseconds. */
uint64_t io_monotonic_ns(void);

/** io_realtime_ns() - CLOCK_REALTIME in nanoseconds. */
uint64_t io_realtime_ns(void);
