/*
 * For tests of the guest's file server: one that works on a folder of its own, and the
 * host's side of its socket.
 */
#pragma once

#include "guest/files/server.h"
#include "tests/unit/tap.h"
#include "util/cleanup.h"
#include "wire/files.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define PATIENCE_MSECS 20000

struct kit {
	char dir[64]; /* what the server works on */
	int dir_fd, fd, inotify;
	pid_t pid;
	struct buf in;
	size_t taken; /* bytes of `in` that the last reply points into */
	uint16_t epoch;
	uint32_t stream; /* of the last request */
};

static struct kit kit = {.epoch = 1};

static void kit_begin(void)
{
	struct files_config config = {0};
	int pair[2];

	strcpy(kit.dir, "/tmp/pffs-files.XXXXXX");
	if (!mkdtemp(kit.dir) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		abort();
	kit.dir_fd = open(kit.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	kit.inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	config.shared = mmap(NULL, sizeof(*config.shared), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	config.root = kit.dir_fd;
	config.inotify = kit.inotify;
	config.fd = pair[1];
	kit.fd = pair[0];
	fflush(NULL);
	kit.pid = fork();
	if (kit.pid == 0) {
		close(pair[0]);
		files_serve(&config);
	}
	close(pair[1]);
	if (fchdir(kit.dir_fd) < 0)
		abort();
}

/* Return: how the server ended, as wait(2) has it. */
static int kit_end(void)
{
	int status = -1;

	close(kit.fd);
	waitpid(kit.pid, &status, 0);
	if (chdir("/") == 0 && fork() == 0)
		execlp("rm", "rm", "-rf", kit.dir, NULL);
	wait(NULL);
	buf_fini(&kit.in);
	kit.taken = 0;
	return status;
}

/** post() - send a request. Return: its stream. */
__attribute__((unused)) static uint32_t post(const struct files_request *request)
{
	struct buf out = {0};
	size_t at = 0;

	if (files_put_request(&out, kit.epoch, ++kit.stream, request) < 0)
		abort();
	while (at < out.len) {
		ssize_t n = send(kit.fd, buf_peek(&out) + at, out.len - at, MSG_NOSIGNAL);

		if (n < 0)
			break;
		at += (size_t)n;
	}
	buf_fini(&out);
	return kit.stream;
}

__attribute__((unused)) static void post_cancel(uint32_t stream)
{
	struct buf out = {0};

	agent_put(&out, kit.epoch, stream, AGENT_FILES_CANCEL, NULL, 0);
	if (write(kit.fd, buf_peek(&out), out.len) < 0)
		abort();
	buf_fini(&out);
}

/** fetch() - the next reply, within @msecs. Return: its stream, or 0 when there is none. */
__attribute__((unused)) static uint32_t fetch(struct files_reply *reply, int msecs)
{
	struct pollfd p = {.fd = kit.fd, .events = POLLIN};
	struct agent_frame frame;
	struct error err;

	buf_consume(&kit.in, kit.taken);
	kit.taken = 0;
	*reply = (struct files_reply){.error = -1};
	while (agent_next(&kit.in, &frame, &err) == 0)
		if (poll(&p, 1, msecs) <= 0 || buf_fill(&kit.in, kit.fd, 1 << 20) <= 0)
			return 0;
	kit.taken = agent_frame_size(&frame);
	return files_get_reply(&frame, reply, &err) == 0 ? frame.stream : 0;
}

/** ask() - send @request and wait. Return: the reply, valid until the next. */
__attribute__((unused)) static struct files_reply ask(struct files_request request)
{
	struct files_reply reply;

	if (fetch(&reply, post(&request) ? PATIENCE_MSECS : 0) != kit.stream)
		diag("the reply is another's, or there is none");
	return reply;
}

#define ASK(...) ask((struct files_request){__VA_ARGS__})

/** make_file() - a file in the server's folder with @text. */
__attribute__((unused)) static void make_file(const char *name, const char *text)
{
	cleanup_close int fd = openat(kit.dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		abort();
}
