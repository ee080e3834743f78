/*
 * pffs mount: check the directory, go to the background, say how it went.
 *
 * The process that the user started waits on a pipe for the daemon's one
 * sentence: "+" and the good news, or "-" and what went wrong.
 */
#include "pffs/cli/commands.h"
#include "pffs/cli/daemon.h"
#include "pffs/cli/mounts.h"
#include "pffs/cli/only.h"
#include "pffs/cli/paths.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define SENTENCE_MAX	 1024
#define CONFIG_GIVEN_MAX 64

static const char help[] =
    "usage: pffs mount DIR [OPTION...]\n"
    "\n"
    "Serves sandboxes as directories under DIR, which is made when it is missing.\n"
    "Starts a vmctl when none listens at its socket.\n"
    "\n"
    "       pffs mount --only SANDBOX DIR [--allow-other] [--foreground]\n"
    "\n"
    "Mounts one sandbox of a pffs that runs, and nothing else of it: for a container.\n"
    "SANDBOX is the path of its directory, or its name when there is one mount.\n"
    "\n"
    "  --socket PATH       vmctl's socket (PFFS_VMCTL_SOCKET, else /run/pffs/vmctl.sock)\n"
    "  --images DIR        where the images are (PFFS_IMAGES, else /var/cache/pffs)\n"
    "  --state DIR         where frozen sandboxes are, and what is needed to go on with "
    "the\n"
    "                      others when pffs was killed (PFFS_STATE, else /var/lib/pffs)\n"
    "  --engine ENGINE     for a vmctl of its own: kvm, emulated or auto (auto)\n"
    "  --memory-mib N      memory of each sandbox, 128 or more (512)\n"
    "  --vcpus N           virtual CPUs of each sandbox, 1 to 8 (1)\n"
    "  --disk-mib N        disk of each sandbox, 64 to 65536 (4096)\n"
    "  --config KEY=VALUE  what config/KEY of a sandbox has at first, unless it is a fork "
    "of\n"
    "                      another one; can be given for each KEY\n"
    "  --max-sandboxes N   how many sandboxes may have a machine at a time\n"
    "  --max-memory-mib N  how much memory these may have together\n"
    "  --at-cap POLICY     what a sandbox too many does: refuse, or freeze the one that\n"
    "                      has been idle for the longest time (refuse)\n"
    "  --allow-other       let other users in, by the modes of the directories\n"
    "  --foreground        stay in the foreground, log to standard error\n";

struct mount_options {
	struct daemon_options daemon;
	const char *only;
	const char *config[CONFIG_GIVEN_MAX]; /* KEY=VALUE */
	unsigned config_count;
	bool foreground;
};

static int parse_unsigned(const char *text, unsigned min, unsigned max, unsigned *value)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (text[0] < '0' || text[0] > '9' || *end || n < min || n > max)
		return -EINVAL;
	*value = (unsigned)n;
	return 0;
}

static int parse_policy(const char *text, bool *freeze)
{
	*freeze = strcmp(text, "freeze") == 0;
	return *freeze || strcmp(text, "refuse") == 0 ? 0 : -EINVAL;
}

static int take_config(struct mount_options *o, const char *given)
{
	if (o->config_count == CONFIG_GIVEN_MAX)
		return -EINVAL;
	o->config[o->config_count++] = given;
	return 0;
}

/* When it is known what machines there will be. */
static int check_config(struct mount_options *o)
{
	const uint32_t sizes[RESOURCE_COUNT] = {
	    [RESOURCE_MEMORY_MIB] = o->daemon.memory_mib,
	    [RESOURCE_VCPUS] = o->daemon.vcpus,
	    [RESOURCE_DISK_MIB] = o->daemon.disk_mib,
	};
	struct error err;

	for (unsigned i = 0; i < o->config_count; i++)
		if (config_default(&o->daemon.config, sizes, o->config[i], &err) < 0) {
			fprintf(stderr, "pffs mount: --config: %s\n", err.text);
			return err.code;
		}
	return 0;
}

static int take_option(struct mount_options *o, int option)
{
	switch (option) {
	case 's':
		o->daemon.socket = optarg;
		return 0;
	case 'i':
		o->daemon.images = optarg;
		return 0;
	case 't':
		o->daemon.state = optarg;
		return 0;
	case 'e':
		o->daemon.engine = optarg;
		return 0;
	case 'm':
		return parse_unsigned(optarg, 128, 1u << 20, &o->daemon.memory_mib);
	case 'c':
		return parse_unsigned(optarg, 1, 8, &o->daemon.vcpus);
	case 'd':
		return parse_unsigned(optarg, 64, 64u << 10, &o->daemon.disk_mib);
	case 'k':
		return take_config(o, optarg);
	case 'x':
		return parse_unsigned(optarg, 1, 1u << 20, &o->daemon.caps.sandboxes);
	case 'y':
		return parse_unsigned(optarg, 1, 1u << 30, &o->daemon.caps.memory_mib);
	case 'z':
		return parse_policy(optarg, &o->daemon.caps.freeze);
	case 'n':
		o->only = optarg;
		return 0;
	case 'o':
		o->daemon.allow_other = true;
		return 0;
	case 'f':
		o->foreground = true;
		return 0;
	default:
		return -EINVAL;
	}
}

/* Return: 0, 1 when help was asked for, -EINVAL. */
static int parse(int argc, char **argv, struct mount_options *o)
{
	static const struct option options[] = {
	    {"socket", required_argument, NULL, 's'},
	    {"images", required_argument, NULL, 'i'},
	    {"state", required_argument, NULL, 't'},
	    {"engine", required_argument, NULL, 'e'},
	    {"memory-mib", required_argument, NULL, 'm'},
	    {"vcpus", required_argument, NULL, 'c'},
	    {"disk-mib", required_argument, NULL, 'd'},
	    {"config", required_argument, NULL, 'k'},
	    {"max-sandboxes", required_argument, NULL, 'x'},
	    {"max-memory-mib", required_argument, NULL, 'y'},
	    {"at-cap", required_argument, NULL, 'z'},
	    {"only", required_argument, NULL, 'n'},
	    {"allow-other", no_argument, NULL, 'o'},
	    {"foreground", no_argument, NULL, 'f'},
	    {"help", no_argument, NULL, 'h'},
	    {0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		if (option == 'h')
			return 1;
		if (take_option(o, option) < 0) {
			if (option != '?')
				fprintf(stderr, "pffs mount: bad value %s\n", optarg);
			return -EINVAL;
		}
	}
	if (optind + 1 != argc)
		return -EINVAL;
	o->daemon.mountpoint = argv[optind];
	return check_config(o);
}

/* An earlier daemon that died left a mount that answers nothing: take it away. */
static int prepare_directory(const char *dir, struct error *err)
{
	struct stat st;

	if (stat(dir, &st) < 0 && errno == ENOTCONN)
		mounts_unmount(dir, MNT_DETACH);
	if (stat(dir, &st) < 0 && (errno != ENOENT || mkdir(dir, 0755) < 0))
		return error_set(err, errno, "cannot mount at %s", dir);
	if (stat(dir, &st) == 0 && !S_ISDIR(st.st_mode))
		return error_say(err, ENOTDIR, "%s is not a directory", dir);
	return 0;
}

static int refuse_second_mount(const char *dir, struct error *err)
{
	if (mounts_at(dir))
		return error_say(err, EBUSY, "%s is mounted already: pffs umount %s", dir,
				 dir);
	return 0;
}

static void say_ready(void *ctx, const char *sentence)
{
	const int *fd = ctx;

	dprintf(*fd, "+%s\n", sentence);
	close(*fd);
}

static void print_ready(void *ctx, const char *sentence)
{
	(void)ctx;
	fprintf(stderr, "pffs: %s\n", sentence);
}

static int redirect_to_log(const char *log)
{
	cleanup_close int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	cleanup_close int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (fd < 0 || null < 0 || dup2(null, 0) < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
		return -errno;
	return 0;
}

static _Noreturn void background(const struct daemon_options *options, const char *log,
				 int fd)
{
	struct error err;
	int r;

	setsid();
	if (redirect_to_log(log) < 0) {
		dprintf(fd, "-cannot write the log %s\n", log);
		_exit(1);
	}
	r = daemon_run(options, say_ready, &fd, &err);
	if (r < 0) {
		fprintf(stderr, "pffs: %s\n", err.text);
		dprintf(fd, "-%s\n", err.text);
	} else {
		unlink(log); /* it says nothing that anybody would look for */
	}
	_exit(r < 0);
}

/* The last lines of the log say what vmctl itself had to say. */
static void print_log_end(const char *log)
{
	size_t len;
	cleanup_free char *text = io_read_file(log, 1u << 20, &len, NULL);
	const char *from;

	if (!text || !len)
		return;
	from = text + len - 1;
	for (int lines = 0; from > text; from--)
		if (from[-1] == '\n' && ++lines == 5)
			break;
	fprintf(stderr, "%s(from %s)\n", from, log);
}

static int await(int fd, const char *log)
{
	char sentence[SENTENCE_MAX];
	size_t used = 0;
	ssize_t n;

	while (used < sizeof(sentence) - 1 &&
	       (n = read(fd, sentence + used, sizeof(sentence) - 1 - used)) > 0)
		used += (size_t)n;
	sentence[used] = '\0';
	if (sentence[0] == '+') {
		fprintf(stderr, "pffs: %s", sentence + 1);
		return 0;
	}
	if (used)
		fprintf(stderr, "pffs: %s", sentence + 1);
	print_log_end(log);
	return 1;
}

static int go_background(const struct daemon_options *options)
{
	struct error err;
	cleanup_free char *dir = paths_runtime_dir(&err);
	cleanup_free char *log = NULL;
	int fds[2];
	pid_t pid;

	if (!dir || asprintf(&log, "%s/pffs-%d.log", dir, getpid()) < 0 ||
	    pipe2(fds, O_CLOEXEC) < 0) {
		fprintf(stderr, "pffs: cannot go to the background\n");
		return 1;
	}
	pid = fork();
	if (pid == 0) {
		close(fds[0]);
		background(options, log, fds[1]);
	}
	close(fds[1]);
	if (pid < 0) {
		fprintf(stderr, "pffs: cannot go to the background: %s\n", strerror(errno));
		return 1;
	}
	return await(fds[0], log);
}

static int explain(const struct error *err)
{
	fprintf(stderr, "pffs: %s\n", err->text);
	return 1;
}

static int go_only(const struct mount_options *o, const char *dir)
{
	const struct only_options options = {.sandbox = o->only,
					     .dir = dir,
					     .allow_other = o->daemon.allow_other,
					     .foreground = o->foreground};
	struct error err;

	return only_mount(&options, &err) < 0 ? explain(&err) : 0;
}

static int go(struct mount_options *o)
{
	const char *given = o->daemon.mountpoint;
	cleanup_free char *dir = NULL, *socket = NULL, *state = NULL;
	struct error err;
	int r = prepare_directory(given, &err);

	if (r < 0)
		return explain(&err);
	o->daemon.mountpoint = dir = realpath(given, NULL);
	if (!dir) {
		error_set(&err, errno, "cannot resolve %s", given);
		return explain(&err);
	}
	if (refuse_second_mount(dir, &err) < 0)
		return explain(&err);
	if (o->only)
		return go_only(o, dir);
	if (!o->daemon.socket)
		o->daemon.socket = socket = paths_socket(&err);
	if (!o->daemon.socket)
		return explain(&err);
	if (!o->daemon.state)
		o->daemon.state = state = paths_state();
	if (!o->foreground)
		return go_background(&o->daemon);
	return daemon_run(&o->daemon, print_ready, NULL, &err) < 0 ? explain(&err) : 0;
}

int cmd_mount(int argc, char **argv)
{
	struct mount_options o = {.daemon = {.images = paths_images(),
					     .engine = "auto",
					     .memory_mib = 512,
					     .vcpus = 1,
					     .disk_mib = 4096}};
	int r = parse(argc, argv, &o);

	if (r != 0) {
		fputs(help, r < 0 ? stderr : stdout);
		return r < 0 ? 2 : 0;
	}
	return go(&o);
}
