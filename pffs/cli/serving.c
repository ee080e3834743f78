/*
 * What `pffs mount` and `pffs serve` have in common: the options of the daemon, and how it
 * goes to the background and says how that went.
 */
#include "pffs/cli/serving.h"

#include "pffs/cli/command.h"
#include "pffs/cli/paths.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define SENTENCE_MAX 1024

const char serving_help[] =
    "  --http ADDRESS      answer HTTP at HOST:PORT, [ADDRESS]:PORT; can be given more "
    "than\n"
    "                      once; at other addresses than this machine's own for keys only\n"
    "  --keys FILE         of API keys, one a line; also in PFFS_API_KEYS, with commas\n"
    "  --socket PATH       vmctl's socket (PFFS_VMCTL_SOCKET, else /run/pffs/vmctl.sock)\n"
    "  --images DIR        where the images are (PFFS_IMAGES, else /var/cache/pffs)\n"
    "  --state DIR         where frozen sandboxes are, and what is needed to go on with "
    "the\n"
    "                      others when pffs was killed (PFFS_STATE, else /var/lib/pffs)\n"
    "  --engine ENGINE     for a vmctl of its own: kvm, emulated or auto (auto)\n"
    "  --uplink KIND       the way of sandboxes into the network, for a vmctl of its own: "
    "kernel,\n"
    "                      user, none or auto (auto)\n"
    "  --dns ADDRESS       a resolver for sandboxes; can be given more than once (the "
    "host's)\n"
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
    "  --user NAME         whose rights pffs has when root starts it (pffs)\n"
    "  --foreground        stay in the foreground, log to standard error\n"
    "\n"
    "Exit status: 0, 1 when it failed, 2 for bad usage.\n";

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

static int parse_uplink(const char *text, const char **uplink)
{
	static const char *const kinds[] = {"auto", "kernel", "user", "none"};

	*uplink = text;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(text, kinds[i]) == 0)
			return 0;
	return -EINVAL;
}

static int take_config(struct serving *o, const char *given)
{
	if (o->config_count == CONFIG_GIVEN_MAX)
		return -EINVAL;
	o->config[o->config_count++] = given;
	return 0;
}

static int take_address(struct serving *o, const char *address)
{
	struct server_options *http = &o->daemon.http;

	if (strcmp(address, "none") == 0) {
		o->no_http = true;
		return 0;
	}
	if (http->address_count == SERVER_ADDRESSES)
		return -EINVAL;
	http->addresses[http->address_count++] = address;
	return 0;
}

/* When it is known what machines there will be. */
static int check_config(struct serving *o)
{
	const uint32_t sizes[RESOURCE_COUNT] = {
	    [RESOURCE_MEMORY_MIB] = o->daemon.memory_mib,
	    [RESOURCE_VCPUS] = o->daemon.vcpus,
	    [RESOURCE_DISK_MIB] = o->daemon.disk_mib,
	};
	struct error err;

	for (unsigned i = 0; i < o->config_count; i++)
		if (config_default(&o->daemon.config, sizes, o->config[i], &err) < 0) {
			fprintf(stderr, "pffs %s: --config: %s\n", o->command, err.text);
			return err.code;
		}
	return 0;
}

static int take_option(struct serving *o, int option)
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
	case 'w':
		return parse_uplink(optarg, &o->daemon.uplink);
	case 'r':
		return net_host_add_dns(&o->daemon.net, optarg, NULL);
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
	case 'a':
		return take_address(o, optarg);
	case 'b':
		o->daemon.http.keys_file = optarg;
		return 0;
	case 'u':
		o->daemon.user = optarg;
		return 0;
	case 'f':
		o->foreground = true;
		return 0;
	default:
		return o->take ? o->take(o, option) : -EINVAL;
	}
}

int serving_parse(int argc, char **argv, struct serving *o)
{
	int option;

	while ((option = getopt_long(argc, argv, "h", o->options, NULL)) >= 0) {
		if (option == 'h')
			return 1;
		if (take_option(o, option) < 0) {
			if (option == '?')
				usage_error(argv[0], NULL);
			else
				usage_error(argv[0], "%s is no value for that option",
					    optarg);
			return -EINVAL;
		}
	}
	return check_config(o);
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

static _Noreturn void background(const struct daemon_options *options, int fd)
{
	const char *log = options->log;
	struct error err;
	int r;

	setsid();
	if (redirect_to_log(log) < 0) {
		dprintf(fd, "-cannot write the log %s\n", log);
		_exit(1);
	}
	r = daemon_run(options, say_ready, &fd, &err);
	if (r < 0) { /* without an error the log says nothing that anybody would look for */
		fprintf(stderr, "pffs: %s\n", err.text);
		dprintf(fd, "-%s\n", err.text);
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

static int go_background(struct daemon_options *options)
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
		options->log = log;
		background(options, fds[1]);
	}
	close(fds[1]);
	if (pid < 0) {
		fprintf(stderr, "pffs: cannot go to the background: %s\n", strerror(errno));
		return 1;
	}
	return await(fds[0], log);
}

int serving_explain(const struct error *err)
{
	fprintf(stderr, "pffs: %s\n", err->text);
	return 1;
}

int serving_run(struct serving *o)
{
	cleanup_free char *socket = NULL, *state = NULL;
	struct error err;

	if (!o->daemon.socket)
		o->daemon.socket = socket = paths_socket(&err);
	if (!o->daemon.socket)
		return serving_explain(&err);
	if (!o->daemon.state)
		o->daemon.state = state = paths_state();
	if (!o->foreground)
		return go_background(&o->daemon);
	return daemon_run(&o->daemon, print_ready, NULL, &err) < 0 ? serving_explain(&err)
								   : 0;
}
