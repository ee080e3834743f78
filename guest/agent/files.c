/*
 * Theory of operation
 *
 * The server is started before the machine is first forked, so that forks have one. When
 * it dies, which `kill -9 -1` in a run is enough for, what it had to answer is answered
 * with EIO, the host is told that everything may have changed, and the next request
 * starts another. One that was stopped by a signal is made to go on after a while: runs
 * would wait for it as well.
 *
 * The host sends FILES_IN_FLIGHT requests at most before it has replies, so `out` is
 * bounded; replies are taken from the socket while the port has room, a piece of one at
 * a time, so that output of runs has its turns. A reply that nobody waits for is
 * dropped: it answers what was asked before this machine was forked.
 */
#include "guest/agent/files.h"

#include "guest/agent/agent.h"
#include "guest/agent/dirty.h"
#include "guest/agent/log.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define PIECE	      (64u << 10) /* bytes taken from the server at a time */
#define IN_ROOM	      (AGENT_HEADER + AGENT_PAYLOAD_MAX + PIECE)
#define SOCKET_ROOM   (512 << 10)
#define KEPT	      7	 /* descriptors that the server is given */
#define FREE_FD	      16 /* above those that the server is given */
#define STOPPED_MSECS 5000

static void files_event(struct loop_source *source, uint32_t revents);

static struct port *port_of(const struct files *files)
{
	return &files->agent->port;
}

struct files_pending *files_pending(struct files *files, uint32_t stream)
{
	for (size_t i = 0; i < FILES_IN_FLIGHT; i++)
		if (files->pending[i].stream == stream)
			return &files->pending[i];
	return NULL;
}

static void send_error(struct files *files, uint32_t stream, int errnum)
{
	uint8_t room[FILES_REPLY_HEAD];
	uint8_t *end = room + sizeof(room);
	const struct files_reply reply = {.error = errnum, .watch = -1};
	size_t len = files_put_reply_head(end, 0, stream, &reply) - AGENT_HEADER;

	port_send(port_of(files), stream, AGENT_FILES_REPLY, end - len, len);
}

static void take_reply(struct files *files, const struct agent_frame *frame)
{
	struct files_pending *pending = NULL;
	struct files_reply reply;

	/* One of an epoch before may have the number of a request of this one. */
	if (frame->stream && frame->type == AGENT_FILES_REPLY &&
	    frame->epoch == port_of(files)->epoch)
		pending = files_pending(files, frame->stream);
	if (frame->stream)
		files_answered(files, frame->stream);
	if (!pending)
		return;
	pending->stream = 0;
	if (files_get_reply(frame, &reply, NULL) < 0) {
		send_error(files, frame->stream, EIO);
		return;
	}
	port_send(port_of(files), frame->stream, AGENT_FILES_REPLY, frame->payload,
		  frame->len);
	files_tell_again(files, reply.watch, pending->reports);
	files_tell_again(files, reply.watch2, pending->reports);
}

/* Return: 0 or -EPROTO. */
static int take_replies(struct files *files)
{
	struct agent_frame frame;
	int r;

	while ((r = agent_next(&files->in, &frame, NULL)) > 0) {
		if (!changes_frame(files, &frame))
			take_reply(files, &frame);
		if (files->in.len < agent_frame_size(&frame))
			return 0; /* the server was lost meanwhile */
		buf_consume(&files->in, agent_frame_size(&frame));
	}
	return r;
}

static void hang_up(struct files *files)
{
	loop_del(&files->agent->loop, &files->source);
	if (files->fd >= 0)
		close(files->fd);
	files->fd = -1;
}

/* The server has died, or does not keep to the protocol. */
static void server_lost(struct files *files)
{
	hang_up(files);
	if (files->pid > 0)
		kill(files->pid, SIGKILL);
	buf_consume(&files->in, files->in.len);
	buf_fini(&files->out);
	for (size_t i = 0; i < FILES_IN_FLIGHT; i++) {
		if (files->pending[i].stream)
			send_error(files, files->pending[i].stream, EIO);
		files->pending[i].stream = 0;
	}
	files_tell_all(files);
	changes_lost(files);
}

/* Keep the socket on the loop as it is now of use. A hang-up cannot be masked, so while
 * the port has no room the socket is off the loop. */
static void watch_socket(struct files *files)
{
	struct loop *loop = &files->agent->loop;
	uint32_t events = files->out.len ? EPOLLIN | EPOLLOUT : EPOLLIN;

	if (files->fd < 0)
		return;
	if (!port_has_room(port_of(files)))
		loop_del(loop, &files->source);
	else if (files->source.fd >= 0)
		loop_mod(loop, &files->source, events);
	else if (loop_add(loop, &files->source, files->fd, events, files_event) < 0)
		server_lost(files);
}

/* Return: false when nothing more comes from the server. */
static bool read_replies(struct files *files)
{
	ssize_t n = buf_fill(&files->in, files->fd, PIECE);

	if (n == -EAGAIN || n == -ENOMEM)
		return true;
	return n > 0 && take_replies(files) == 0;
}

static int flush(struct files *files)
{
	int r = buf_flush(&files->out, files->fd);

	if (!files->out.len)
		buf_fini(&files->out); /* it may have been large */
	return r;
}

static void files_event(struct loop_source *source, uint32_t revents)
{
	struct files *files = container_of(source, struct files, source);
	bool good = true;

	if (revents & EPOLLOUT)
		good = flush(files) == 0;
	if (good && revents & (EPOLLIN | EPOLLHUP | EPOLLERR) &&
	    port_has_room(port_of(files)))
		good = read_replies(files);
	if (good)
		watch_socket(files);
	else
		server_lost(files);
}

void files_resume(struct files *files)
{
	watch_socket(files);
}

/* In the child: it keeps these descriptors and nothing else of the agent's. */
static void __attribute__((noreturn)) child(const struct files *files, int socket_fd)
{
	const int keep[KEPT] = {socket_fd,	     files->root,
				files->inotify.fd,   files->layers.upper,
				files->layers.lower, files->dirty.inodes,
				files->dirty.state};
	int high[KEPT];

	for (int i = 0; i < KEPT; i++) {
		high[i] = fcntl(keep[i], F_DUPFD_CLOEXEC, FREE_FD);
		if (high[i] < 0 && keep[i] >= 0)
			_exit(1);
	}
	syscall(SYS_close_range, STDERR_FILENO + 1, STDERR_FILENO + KEPT, 0);
	for (int i = 0; i < KEPT; i++)
		if (high[i] >= 0)
			dup2(high[i], STDERR_FILENO + 1 + i);
	syscall(SYS_close_range, STDERR_FILENO + 1 + KEPT, ~0u, 0);
	files_serve(&(struct files_config){
	    .fd = STDERR_FILENO + 1,
	    .root = STDERR_FILENO + 2,
	    .inotify = STDERR_FILENO + 3,
	    .layers = {high[3] < 0 ? -1 : STDERR_FILENO + 4,
		       high[4] < 0 ? -1 : STDERR_FILENO + 5},
	    .dirty = {high[5] < 0 ? -1 : STDERR_FILENO + 6,
		      high[6] < 0 ? -1 : STDERR_FILENO + 7},
	    .shared = files->shared,
	});
}

/* Return: 0 or -errno. */
static int start_server(struct files *files)
{
	const int room = SOCKET_ROOM;
	cleanup_close int ours = -1, theirs = -1;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	ours = pair[0];
	theirs = pair[1];
	for (int i = 0; i < 2; i++)
		setsockopt(pair[i], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
	io_set_nonblock(ours, true);
	files->pid = fork();
	if (files->pid == 0)
		child(files, theirs);
	if (files->pid < 0)
		return -errno;
	files->fd = steal_fd(&ours);
	watch_socket(files);
	return 0;
}

/* Write @frame, in this machine's epoch; what the socket does not take goes to `out`.
 * Return: 0 or -errno. */
static int write_frame(struct files *files, const struct agent_frame *frame)
{
	uint8_t header[AGENT_HEADER];
	const struct iovec iov[2] = {
	    {header, sizeof(header)},
	    {(void *)(uintptr_t)frame->payload, frame->len},
	};
	ssize_t n;
	int r;

	agent_put_header(header, port_of(files)->epoch, frame->stream, frame->type,
			 frame->len);
	n = files->out.len ? 0 : writev(files->fd, iov, 2);
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return -errno;
	for (size_t i = 0, done = n > 0 ? (size_t)n : 0; i < 2; i++) {
		size_t part = done < iov[i].iov_len ? done : iov[i].iov_len;

		r = buf_append(&files->out, (const uint8_t *)iov[i].iov_base + part,
			       iov[i].iov_len - part);
		if (r < 0)
			return r;
		done -= part;
	}
	return 0;
}

static int pass(struct files *files, const struct agent_frame *frame)
{
	int r = write_frame(files, frame);

	watch_socket(files);
	return r;
}

bool files_has_server(struct files *files)
{
	return files->root >= 0 && (files->fd >= 0 || start_server(files) == 0);
}

void files_pass(struct files *files, const struct agent_frame *frame)
{
	files->used = true;
	if (pass(files, frame) < 0)
		shutdown(files->fd, SHUT_RDWR); /* so that the loop finds it lost */
}

static void request(struct files *files, const struct agent_frame *frame)
{
	struct files_pending *pending = files_pending(files, 0);
	int r = pending ? 0 : -EBUSY;

	if (files->root < 0)
		r = -EIO;
	if (r == 0 && files->fd < 0)
		r = start_server(files);
	if (r < 0) {
		send_error(files, frame->stream, -r);
		return;
	}
	*pending = (struct files_pending){frame->stream, files->reports};
	files_pass(files, frame);
}

void files_frame(struct files *files, const struct agent_frame *frame)
{
	if (frame->type == AGENT_FILES && frame->stream)
		request(files, frame);
	else if (frame->type == AGENT_FILES_CANCEL && files->fd >= 0 &&
		 pass(files, frame) < 0)
		server_lost(files);
}

/* A fork that nobody uses should not wake its server to tell it of what it has not. */
void files_wake(struct files *files)
{
	static const struct agent_frame wake = {.type = AGENT_WAKE};

	for (size_t i = 0; i < FILES_IN_FLIGHT; i++)
		files->pending[i].stream = 0;
	if (files->used && files->fd >= 0 && pass(files, &wake) < 0)
		server_lost(files);
	files->used = false;
}

void files_awake(struct files *files)
{
	const uint8_t notes_changes = files->dirty.inodes >= 0;

	port_send(port_of(files), 0, AGENT_AWAKE, &notes_changes, 1);
}

static void let_go_on(struct loop_timer *timer)
{
	struct files *files = container_of(timer, struct files, stopped);

	if (files->pid > 0)
		kill(files->pid, SIGCONT);
}

void files_look(struct files *files)
{
	siginfo_t info = {0};

	if (files->pid > 0 &&
	    waitid(P_PID, (id_t)files->pid, &info, WSTOPPED | WNOHANG) == 0 &&
	    info.si_pid == files->pid)
		loop_timer_set(&files->agent->loop, &files->stopped, STOPPED_MSECS);
}

bool files_reaped(struct files *files, pid_t pid)
{
	if (pid != files->pid)
		return false;
	files->pid = 0;
	server_lost(files);
	return true;
}

static int make_shared(struct files *files)
{
	void *at = mmap(NULL, sizeof(*files->shared), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return -errno;
	files->shared = at;
	files->shared->links_told = files->links->cpus > 0;
	files->shared->loops = loops_in("/proc/partitions");
	return 0;
}

static int prepare(struct files *files)
{
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	int r = fd < 0 ? -errno : make_shared(files);

	if (r == 0 && !buf_reserve(&files->in, IN_ROOM))
		r = -ENOMEM;
	if (r == 0)
		r = loop_add(&files->agent->loop, &files->inotify, fd, EPOLLIN,
			     files_inotify_event);
	return r < 0 ? r : start_server(files);
}

void files_init(struct files *files, struct agent *agent, int root,
		const struct layers *layers)
{
	int r;

	*files = (struct files){
	    .agent = agent,
	    .root = root,
	    .layers = *layers,
	    .dirty = dirty_init(layers->upper),
	    .fd = -1,
	    .links = &agent->links,
	};
	files->source = files->inotify = LOOP_SOURCE_NONE;
	loop_timer_init(&files->stopped, let_go_on);
	r = root < 0 ? 0 : prepare(files);
	if (r < 0) {
		log_say("there is no file service: %s", strerror(-r));
		files->root = -1;
	}
}
