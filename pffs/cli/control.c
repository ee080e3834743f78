#include "pffs/cli/control.h"

#include "pffs/core/net/porter.h"
#include "pffs/core/sandbox.h"
#include "pffs/fs/node.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#define VISITS_MAX   256
#define ASK_LIMIT_MS 60000u /* until who has connected must have mounted, and asked */
#define FUSE_DEV     makedev(10, 229)
#define SENTENCE_MAX 512

/* A connection, and the mount that it is for. */
struct visit {
	struct link link; /* on control->visits */
	struct control *control;
	struct loop_source peer;
	struct loop_timer limit;
	struct ucred who;
	struct loop_timer end; /* when the mount has gone */
	struct fs fs;	       /* fs.session is NULL until it is served */
	struct porter porter;  /* whoever is at the other end from then on */
};

static socklen_t make_address(struct sockaddr_un *address, const char *name)
{
	size_t len = strlen(name);

	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(address->sun_path + 1, name, len);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len);
}

static void hang_up(struct visit *v)
{
	int fd = v->peer.fd;

	loop_timer_cancel(&v->limit);
	porter_fini(&v->porter);
	loop_del(v->control->core->loop, &v->peer);
	if (fd >= 0)
		close(fd);
}

static void forget(struct visit *v)
{
	hang_up(v);
	loop_timer_cancel(&v->end);
	list_del(&v->link);
	v->control->visit_count--;
	free(v);
}

/* What answers to the mount are still under way need its session. */
static void end_visit(struct loop_timer *timer)
{
	struct visit *v = container_of(timer, struct visit, end);

	if (v->fs.owed)
		return;
	fs_close_all(&v->fs);
	fs_unmount(&v->fs);
	forget(v);
}

/* The mount has gone. Who tells that may be in the middle of something that what is open in
 * it would change. */
static void mount_gone(struct fs *fs)
{
	struct visit *v = container_of(fs, struct visit, fs);

	loop_timer_set(v->control->core->loop, &v->end, 0);
}

static bool shows(const struct porter *porter, const struct sandbox *sb)
{
	return node_may_see(&container_of(porter, const struct visit, porter)->fs, sb);
}

/* Only the kernel may be at the other end, because it is believed who asks. */
static bool is_fuse(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == FUSE_DEV;
}

static int serve(struct visit *v, int fd, const char *id, struct error *err)
{
	struct sandbox *sb = sandbox_by_id(v->control->core, id);
	struct fs_options options = {
	    .fuse_fd = fd, .only = sb, .uid = v->who.uid, .gid = v->who.gid};

	if (!is_fuse(fd))
		return error_say(err, EINVAL, "this is no mount");
	if (!sb)
		return error_say(err, ENOENT, "there is no such sandbox any more");
	if (v->who.uid != sb->uid && v->who.uid != v->control->core->options.uid &&
	    v->who.uid != 0)
		return error_say(err, EACCES, "%s belongs to another user", sb->name);
	v->fs.ended = mount_gone;
	v->fs.porter = &v->porter;
	porter_init(&v->porter, v->control->core, v->peer.fd, shows);
	return fs_mount(&v->fs, v->control->core, &options, err);
}

static void answer(struct visit *v, const struct error *err)
{
	char sentence[SENTENCE_MAX];

	snprintf(sentence, sizeof(sentence), "%c%s", err ? '-' : '+', err ? err->text : "");
	send(v->peer.fd, sentence, strlen(sentence), MSG_NOSIGNAL);
}

static void peer_ready(struct loop_source *source, uint32_t revents)
{
	struct visit *v = container_of(source, struct visit, peer);
	char id[SANDBOX_ID_LEN + 1];
	cleanup_close int fd = -1;
	struct error err;
	ssize_t n;

	(void)revents;
	if (v->fs.session) {
		if (!porter_hear(&v->porter))
			hang_up(v); /* the mount stays */
		return;
	}
	loop_timer_cancel(&v->limit);
	n = io_receive_fd(source->fd, id, SANDBOX_ID_LEN, &fd);
	id[n > 0 ? n : 0] = '\0';
	if (serve(v, fd, id, &err) < 0) {
		answer(v, &err);
		forget(v);
		return;
	}
	fd = -1; /* the session's */
	answer(v, NULL);
}

static void asks_nothing(struct loop_timer *timer)
{
	forget(container_of(timer, struct visit, limit));
}

static bool may_visit(const struct control *control, int fd, struct ucred *who)
{
	socklen_t len = sizeof(*who);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, who, &len) < 0 ||
	    control->visit_count >= VISITS_MAX)
		return false;
	return control->shared || who->uid == 0 || who->uid == control->core->options.uid;
}

static void somebody_came(struct loop_source *source, uint32_t revents)
{
	struct control *control = container_of(source, struct control, listener);
	struct loop *loop = control->core->loop;
	cleanup_close int fd =
	    accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred who;
	struct visit *v;

	(void)revents;
	if (fd < 0 || !may_visit(control, fd, &who))
		return;
	v = calloc(1, sizeof(*v));
	if (!v)
		return;
	v->control = control;
	v->who = who;
	v->peer = LOOP_SOURCE_NONE;
	if (loop_add(loop, &v->peer, fd, EPOLLIN, peer_ready) < 0) {
		free(v);
		return;
	}
	fd = -1;
	loop_timer_init(&v->limit, asks_nothing);
	loop_timer_init(&v->end, end_visit);
	loop_timer_set(loop, &v->limit, ASK_LIMIT_MS);
	list_add_before(&control->visits, &v->link);
	control->visit_count++;
}

int control_init(struct control *control, struct core *core, bool shared, struct error *err)
{
	cleanup_close int fd =
	    socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address;
	socklen_t len;

	*control =
	    (struct control){.core = core, .shared = shared, .listener = LOOP_SOURCE_NONE};
	list_init(&control->visits);
	if (fd < 0 || io_random_name(control->name, sizeof(control->name), "pffs-") < 0)
		return error_set(err, errno, "cannot make the control socket");
	len = make_address(&address, control->name);
	if (bind(fd, (struct sockaddr *)&address, len) < 0 || listen(fd, SOMAXCONN) < 0 ||
	    loop_add(core->loop, &control->listener, fd, EPOLLIN, somebody_came) < 0)
		return error_set(err, errno, "cannot listen at the control socket");
	fd = -1;
	return 0;
}

void control_fini(struct control *control)
{
	int fd = control->listener.fd;
	struct visit *v;

	if (!control->core)
		return;
	loop_del(control->core->loop, &control->listener);
	if (fd >= 0)
		close(fd);
	list_for_each (v, &control->visits, struct visit, link) {
		fs_unmount(&v->fs);
		forget(v);
	}
}

int control_connect(const char *name, struct error *err)
{
	cleanup_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un address;
	socklen_t len;

	if (strlen(name) != CONTROL_NAME_LEN)
		return error_say(err, EINVAL, "this mount is of another version of pffs");
	len = make_address(&address, name);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, len) < 0)
		return error_set(err, errno, "cannot reach the pffs of this mount");
	return steal_fd(&fd);
}
