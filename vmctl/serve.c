#include "vmctl/serve.h"

#include "util/cleanup.h"
#include "util/io.h"
#include "vmctl/broker.h"
#include "vmctl/client.h"
#include "vmctl/host.h"
#include "vmctl/host_line.h"
#include "vmctl/images.h"
#include "vmctl/jail.h"
#include "vmctl/probe.h"
#include "vmctl/spawn.h"
#include "vmctl/usage.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LISTEN_TRIES  20
#define LISTEN_TRY_US 50000

static const char usage[] =
    "usage: vmctl serve [OPTION]...\n"
    "Run virtual machines for the clients of a socket, until SIGTERM.\n"
    "\n"
    "  --socket PATH          listen here (" SOCKET_DEFAULT ")\n"
    "  --images DIR           kernel, initramfs and templates (" IMAGES_DEFAULT ")\n"
    "  --state DIR            keep frozen machines here; without it none can be frozen\n"
    "  --engine ENGINE        kvm, emulated, or auto: what `vmctl probe` says (auto)\n"
    "  --uplink KIND          the way out of VMs: kernel, user, none, or auto (auto)\n"
    "  --host-memory-mib N    memory of the emulated host\n"
    "  --help                 show this\n";

/* The ports and the line of a relay, as the emulated host has them. */
static int take_ports(struct broker *broker, struct line *line, int count,
		      struct error *err)
{
	int r = 0;

	for (int i = 0; i < count && r == 0; i++) {
		io_set_nonblock(SPAWN_FIRST_FD + i, true);
		r = client_add(broker, SPAWN_FIRST_FD + i, true, err);
	}
	io_set_nonblock(SPAWN_FIRST_FD + count, true);
	return r < 0 ? r : line_init(line, broker, SPAWN_FIRST_FD + count, err);
}

static int serve_kvm(const struct serve_options *options, int listen_fd, struct error *err)
{
	struct broker_config config = {
	    .images = options->images,
	    .state = options->state,
	    .engine = "kvm",
	    .vm_program = options->vm_program,
	    .deadline_ms = options->deadline_ms,
	    .uplink = options->uplink,
	};
	cleanup_free char *keeper = NULL;
	struct broker broker;
	struct line line = {.source = LOOP_SOURCE_NONE};
	int r;

	if (!options->ports && asprintf(&keeper, "%s.keep", options->socket) < 0)
		return error_set(err, ENOMEM, "cannot start");
	config.keeper = keeper;
	r = broker_init(&broker, &config, err);
	if (r == 0 && options->ports)
		r = take_ports(&broker, &line, options->ports, err);
	if (r == 0)
		r = broker_listen(&broker, listen_fd, err);
	if (r == 0)
		r = broker_run(&broker, err);
	line_fini(&line);
	broker_fini(&broker);
	return r;
}

/* The directory that @path is in; in @room, if need be. */
static const char *parent_of(const char *path, char room[108])
{
	char *slash;

	snprintf(room, 108, "%s", path);
	slash = strrchr(room, '/');
	if (!slash)
		return ".";
	slash[slash == room] = '\0';
	return room;
}

/* The default socket's directory is on a file system that is empty at boot. */
static void make_parent(const char *path)
{
	char room[108];

	mkdir(parent_of(path, room), 0755);
}

static int choose_engine(struct serve_options *options, struct error *err)
{
	struct probe probe;

	if (strcmp(options->engine, "kvm") == 0 || strcmp(options->engine, "emulated") == 0)
		return 0;
	if (strcmp(options->engine, "auto") != 0)
		return error_say(err, EINVAL, "there is no engine %s", options->engine);
	probe_run(&probe);
	options->engine = probe.engine;
	if (strcmp(probe.engine, "kvm") != 0)
		fprintf(stderr, "vmctl: emulating a host, which is slow: %s. %s\n",
			probe.why, probe.advice);
	return 0;
}

/*
 * One at a time: of two that start at once each could find the name free, and the later
 * one take it from the other, which nobody could reach then. Who has the directory locked
 * for seconds is no vmctl, and stops none; what is wrong with it is said by who listens.
 */
static int listen_alone(const char *path, struct error *err)
{
	char room[108];
	cleanup_close int dir =
	    open(parent_of(path, room), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir >= 0)
		io_lock(dir);
	return io_listen_unix(path, err);
}

/* Of one that was killed, a child that it was about to execute may have the socket yet. */
static int listen_patiently(const char *path, struct error *err)
{
	int fd = listen_alone(path, err);

	for (int i = 0; i < LISTEN_TRIES && fd == -EADDRINUSE; i++) {
		usleep(LISTEN_TRY_US);
		fd = listen_alone(path, err);
	}
	return fd;
}

/* Nobody takes the name of a socket that somebody listens at, but it can be removed. */
static bool is_same(const char *path, const struct stat *seen)
{
	struct stat st;

	return stat(path, &st) == 0 && st.st_dev == seen->st_dev &&
	       st.st_ino == seen->st_ino;
}

static int serve(struct serve_options *options, struct error *err)
{
	int r = choose_engine(options, err);
	cleanup_close int fd = -1;
	struct stat ours;

	if (r < 0)
		return r;
	jail_no_new_privileges();
	make_parent(options->socket);
	fd = listen_patiently(options->socket, err);
	if (fd < 0)
		return fd;
	if (stat(options->socket, &ours) < 0)
		return error_set(err, errno, "cannot find the socket %s", options->socket);
	if (strcmp(options->engine, "kvm") == 0)
		r = serve_kvm(options, fd, err);
	else
		r = host_serve(options, fd, err);
	/* While we still listen: then it is ours, and who waits for it finds nothing of
	 * ours in use. */
	if (is_same(options->socket, &ours))
		unlink(options->socket);
	return r;
}

static bool parse_uplink(const char *text)
{
	static const char *const kinds[] = {"kernel", "user", "none", "auto"};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(kinds[i], text) == 0)
			return true;
	return false;
}

static bool parse_memory(const char *text, int *mib)
{
	char *end;
	long value = strtol(text, &end, 10);

	*mib = (int)value;
	return *text && !*end && value >= 1024 && value <= 1 << 20;
}

const char *serve_socket_path(const char *given)
{
	const char *env = getenv("PFFS_VMCTL_SOCKET");

	if (given)
		return given;
	return env && *env ? env : SOCKET_DEFAULT;
}

int serve_main(int argc, char **argv)
{
	static const struct option longs[] = {
	    {"socket", required_argument, NULL, 's'},
	    {"images", required_argument, NULL, 'i'},
	    {"state", required_argument, NULL, 't'},
	    {"engine", required_argument, NULL, 'e'},
	    {"uplink", required_argument, NULL, 'u'},
	    {"host-memory-mib", required_argument, NULL, 'm'},
	    {"vm-program", required_argument, NULL, 'p'},  /* for tests */
	    {"ports", required_argument, NULL, 'n'},	   /* for tests */
	    {"deadline-ms", required_argument, NULL, 'd'}, /* for tests */
	    {"help", no_argument, NULL, 'h'},
	    {0},
	};
	struct serve_options options = {.engine = "auto", .vm_program = "/proc/self/exe"};
	struct error err;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 's')
			options.socket = optarg;
		else if (c == 'i')
			options.images = optarg;
		else if (c == 't')
			options.state = optarg;
		else if (c == 'e')
			options.engine = optarg;
		else if (c == 'u' && parse_uplink(optarg))
			options.uplink = optarg;
		else if (c == 'p')
			options.vm_program = optarg;
		else if (c == 'n')
			options.ports = (int)strtol(optarg, NULL, 10);
		else if (c == 'd')
			options.deadline_ms = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'm' && parse_memory(optarg, &options.host_memory_mib))
			continue;
		else
			return usage_exit(usage, c == 'h');
	}
	if (optind != argc)
		return usage_exit(usage, false);
	options.socket = serve_socket_path(options.socket);
	options.images = images_dir(options.images);
	if (serve(&options, &err) == 0)
		return EXIT_SUCCESS;
	fprintf(stderr, "vmctl: %s\n", err.text);
	return EXIT_FAILURE;
}
