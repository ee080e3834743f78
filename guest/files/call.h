/*
 * One request on its way through the server, and what its operation works with.
 */
#pragma once

#include "guest/files/changes.h"
#include "guest/files/server.h"
#include "util/list.h"
#include "wire/files.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

#define HANDLE_BUCKETS 1024

struct server {
	int fd, root, inotify;
	struct files_shared *shared;
	struct changes changes;
	pthread_mutex_t turn;	 /* who has it reads the next request */
	pthread_mutex_t writing; /* who has it writes a reply */
	atomic_int waiting, threads;
	pthread_mutex_t lock; /* of what follows */
	uint16_t epoch;
	struct handle *handles[HANDLE_BUCKETS];
	unsigned int handle_count;
	struct link calls;   /* one for each thread */
	struct link waits;   /* for locks */
	struct link holders; /* of POSIX locks */
};

/* An open file or directory. It stays while someone works with it, closed or not. */
struct handle {
	struct handle *next;
	uint32_t id;
	int users;
	int fd;
	bool writable;
	pthread_mutex_t position; /* of a directory */
};

struct call {
	struct link link; /* on server->calls */
	struct server *server;
	uint32_t stream; /* changes under the server's lock */
	bool cancelled;	 /* under the same */
	uint16_t epoch;
	struct files_request req;
	struct files_reply reply;
	struct handle *handle, *handle2; /* as the request names them */
	int fd;		/* the file that the request is about, perhaps by O_PATH; or -1 */
	bool path_fd;	/* and it is this call's own */
	uint8_t *frame; /* the request: AGENT_HEADER + AGENT_PAYLOAD_MAX bytes of room */
	uint8_t *data;	/* of the reply: FILES_IO_MAX bytes of room */
};

/* What an operation returns besides 0 and -errno: the reply comes later. */
#define CALL_GOES_ON 1

/** server_reply() - send a reply without data. */
void server_reply(uint16_t epoch, uint32_t stream, const struct files_reply *reply);

/** call_serve() - do what call->req asks for; the answer is in call->reply. */
int call_serve(struct call *call);

/** call_attr() - the attributes of @fd are the reply's. Return: 0 or -errno. */
int call_attr(struct call *call, int fd);

/** attr_of() - attributes of @name in @dir, or of @dir itself for "". Return: 0 or -errno.
 */
int attr_of(int dir, const char *name, struct files_attr *attr);

/* A number for a name in /proc/self/fd, the server's working directory: there a file
 * that is open by O_PATH alone has a path, whatever becomes of its names. */
struct fd_name {
	char text[12];
};
struct fd_name fd_name(int fd);

/** walk() - open @path from the root, through no symbolic link. Return: fd or -errno. */
int walk(const struct server *server, const char *path, int flags);

/**
 * walk_parent() - open (by O_PATH) the directory that holds the last name of @path.
 * @name: set to that name, in @path.
 * Return: fd or -errno; -EBUSY for the root.
 */
int walk_parent(const struct server *server, const char *path, const char **name);

/**
 * new_file() - make a regular file as @req wants it.
 * Return: fd, open for reading and writing, or -errno; -EEXIST when there is one.
 */
int new_file(int dir, const char *name, const struct files_request *req);

/** watch_directory() - the watch is the reply's; none, when @fd is no directory. */
void watch_directory(struct call *call, int fd);

/** watches_drop() - forget all. */
void watches_drop(struct server *server);

/**
 * handle_add() - an open file for the reply; @fd is taken over, also by a failure.
 * Return: 0, -ENFILE, -ENOMEM, or -EBADF when the call's epoch has ended.
 */
int handle_add(struct call *call, int fd, bool writable);

/** handle_get() - Return: the handle, for handle_put(), or NULL. */
struct handle *handle_get(struct server *server, uint32_t id);
void handle_put(struct server *server, struct handle *handle);

/** handle_close() - no request finds it any more. */
void handle_close(struct server *server, struct handle *handle);

/** handles_drop() - close all, and begin @epoch. */
void handles_drop(struct server *server, uint16_t epoch);

/* The operations of enum files_op. Each returns 0, -errno or CALL_GOES_ON. */
int op_lookup(struct call *call);
int op_getattr(struct call *call);
int op_setattr(struct call *call);
int op_list(struct call *call);
int op_readlink(struct call *call);
int op_open(struct call *call);
int op_close(struct call *call);
int op_read(struct call *call);
int op_write(struct call *call);
int op_fsync(struct call *call);
int op_fallocate(struct call *call);
int op_seek(struct call *call);
int op_copy(struct call *call);
int op_mkdir(struct call *call);
int op_mknod(struct call *call);
int op_symlink(struct call *call);
int op_link(struct call *call);
int op_unlink(struct call *call);
int op_rmdir(struct call *call);
int op_rename(struct call *call);
int op_statfs(struct call *call);
int op_getxattr(struct call *call);
int op_setxattr(struct call *call);
int op_listxattr(struct call *call);
int op_removexattr(struct call *call);
int op_tree(struct call *call);
int op_getlk(struct call *call);
int op_setlk(struct call *call);
int op_flock(struct call *call);
