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
#define FOLDER_BUCKETS 256
#define THREADS_MAX    16
#define PLACES	       2 /* that a request names, at most */
#define WINDOWS_MAX    (PLACES * THREADS_MAX)
#define CHANGED_MAX    256

/* A watch while a window is open on its directory (watch.c). */
struct opened {
	int watch; /* 0: free */
	unsigned int count;
};

struct server {
	int fd, root, inotify;
	struct files_shared *shared;
	struct changes changes;
	struct dirty dirty;
	pthread_mutex_t turn;	 /* who has it reads the next request */
	pthread_mutex_t writing; /* who has it writes a reply */
	atomic_int waiting, threads;
	pthread_mutex_t lock; /* of what follows */
	uint16_t epoch;
	struct handle *handles[HANDLE_BUCKETS];
	unsigned int handle_count;
	struct folder *folders[FOLDER_BUCKETS];
	struct link calls;	  /* one for each thread */
	struct link waits;	  /* for locks */
	struct link holders;	  /* of POSIX locks */
	pthread_mutex_t watching; /* of what follows */
	struct opened opened[WINDOWS_MAX];
	unsigned int windows; /* that are open */
	/* How often a directory was changed with a window, by the watch's number: for who
	 * lists it (settle.c). */
	atomic_uint changed[CHANGED_MAX];
};

/* A directory that handles were opened in. */
struct folder {
	struct folder *next;
	unsigned int users;
	int fd; /* by O_PATH */
	uint64_t dev, ino;
};

/* A name in an open directory. */
struct place {
	int dir; /* -1: there is none */
	bool own;
	const char *name; /* in the request, or the handle's */
	int watch;	  /* the directory's, as the reply has it; below 1: none */
	struct opened *opened;
	struct files_note *note;
};

/* An open file or directory. It stays while someone works with it, closed or not. */
struct handle {
	struct handle *next;
	uint32_t id;
	int users;
	int fd;
	bool writable;
	struct folder *folder; /* where it was opened, and the name; or NULL */
	char *name;
	pthread_mutex_t position; /* of a directory */
	unsigned int changed;	  /* the server's count when its list was begun */
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
	int fd;	      /* the file that the request is about, perhaps by O_PATH; or -1 */
	bool path_fd; /* and it is this call's own */
	int file;     /* what attributes are told of; the same but for FILES_COPY */
	bool tells;   /* it is a change that does not use up the watch */
	struct place places[PLACES]; /* of the names in the request */
	unsigned int changed;	     /* the server's count when a list was begun */
	uint8_t *frame; /* the request: AGENT_HEADER + AGENT_PAYLOAD_MAX bytes of room */
	uint8_t *data;	/* of the reply: FILES_IO_MAX bytes of room */
};

/* What an operation returns besides 0 and -errno: the reply comes later. */
#define CALL_GOES_ON 1

/** server_reply() - send a reply without data. */
void server_reply(uint16_t epoch, uint32_t stream, const struct files_reply *reply);

/** call_begin() - a request that was read into @call. */
void call_begin(struct call *call);

/** call_serve() - do what call->req asks for. Return: 0, -errno or CALL_GOES_ON. */
int call_serve(struct call *call);

/**
 * call_settle() - complete the answer in call->reply.
 * Replies with a watch are in the order of their calls to this.
 */
void call_settle(struct call *call);

/** call_end() - let go of all that it took. */
void call_end(struct call *call);

/** call_fail() - the answer is an error. */
void call_fail(struct call *call, int error);

/** call_attr() - the attributes of @fd are the reply's. Return: 0 or -errno. */
int call_attr(struct call *call, int fd);

/* What completes the answer, by what the operation does to the names. Return: 0 or
 * -errno. */
int settle_file(struct call *call);   /* it changed the file */
int settle_open(struct call *call);   /* or made it */
int settle_self(struct call *call);   /* it is about the file alone */
int settle_list(struct call *call);   /* it read the directory */
int settle_name(struct call *call);   /* it found or made something of this name */
int settle_gone(struct call *call);   /* it removed the name */
int settle_linked(struct call *call); /* it made another name */
int settle_moved(struct call *call);

/** settle_watches() - those of the call's places are the reply's; they were changed. */
void settle_watches(struct call *call);

/** changes_so_far() - for a list that begins, of a directory that is watched. */
unsigned int changes_so_far(struct server *server, int watch);

/** attr_of() - attributes of @name in @dir, or of @dir itself for "". Return: 0 or -errno.
 */
int attr_of(int dir, const char *name, struct files_attr *attr);

/* A number for a name in /proc/self/fd, the server's working directory: there a file
 * that is open by O_PATH alone has a path, whatever becomes of its names. */
struct fd_name {
	char text[12];
};
struct fd_name fd_name(int fd);

/** walk_from() - open @path below @dir, through no symbolic link. Return: fd or -errno. */
int walk_from(int dir, const char *path, int flags);

/** walk() - open @path from the root, through no symbolic link. Return: fd or -errno. */
int walk(const struct server *server, const char *path, int flags);

/**
 * walk_parent() - open (by O_PATH) the directory that holds the last name of @path.
 * @name: set to that name, in @path.
 * Return: fd or -errno; -EBUSY for the root.
 */
int walk_parent(const struct server *server, const char *path, const char **name);

/** is_empty() - has an open directory, none of which was read yet, no names? */
bool is_empty(int dir);

/**
 * new_file() - make a regular file as @req wants it.
 * Return: fd, open for reading and writing, or -errno; -EEXIST when there is one.
 */
int new_file(int dir, const char *name, const struct files_request *req);

void watches_init(struct server *server);

/** watch_directory() - Return: the watch's number, or -1, when it is no directory, too. */
int watch_directory(struct server *server, int fd);

/**
 * windows_open() - what is done to the call's names is no change that is told.
 * @events: that the operation may cause.
 */
void windows_open(struct call *call, uint32_t events);

/** windows_close() - and from now on it is. The reply is read behind this. */
void windows_close(struct call *call);

/** watches_drop() - forget all. */
void watches_drop(struct server *server);

/**
 * handle_add() - an open file for the reply; @fd is taken over, also by a failure.
 * It is the call's handle, too. If it is @writable it remembers the call's place.
 * Return: 0, -ENFILE, -ENOMEM, or -EBADF when the call's epoch has ended.
 */
int handle_add(struct call *call, int fd, bool writable);

/** handle_get() - Return: the handle, for handle_put(), or NULL. */
struct handle *handle_get(struct server *server, uint32_t id);
void handle_put(struct server *server, struct handle *handle);

/** handle_close() - no request finds it any more. Its file is closed when the last is
 * done that has found it before, which may be now. */
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
int op_since(struct call *call);
int op_mark(struct call *call);
int op_getlk(struct call *call);
int op_setlk(struct call *call);
int op_flock(struct call *call);
