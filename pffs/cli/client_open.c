/*
 * Which pffs is meant, and which sandbox.
 */
#include "pffs/cli/client.h"

#include "pffs/cli/mounts.h"
#include "pffs/cli/paths.h"
#include "util/cleanup.h"
#include "util/io.h"

#include <curl/curl.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define HOST_MAX 65536
#define SUFFIX	 ".sock"

/* The mount that the working directory is in. */
static char *mount_here(void)
{
	cleanup_free char *here = getcwd(NULL, 0), *below = NULL;

	/* The mount itself is not below the mount, what is in it is. */
	if (!here || asprintf(&below, "%s/", here) < 0) {
		below = NULL;
		return NULL;
	}
	return mounts_holding(below);
}

/* The mount that @sandbox, taken as a path of this machine, leads into. @rest is set to
 * what is below it. Return: strings to free(), or NULL. */
static char *mount_of(const char *sandbox, char **rest)
{
	cleanup_free char *path = realpath(sandbox, NULL);
	cleanup_free char *mount = path ? mounts_holding(path) : NULL;

	*rest = NULL;
	if (!mount)
		return NULL;
	*rest = strdup(path + strlen(mount) + 1);
	return steal_pointer(&mount);
}

bool client_in_mount(const char *path)
{
	cleanup_free char *rest = NULL, *mount = mount_of(path, &rest);

	return mount;
}

char *client_reference(const char *sandbox)
{
	cleanup_free char *rest = NULL, *mount = mount_of(sandbox, &rest);
	cleanup_free char *name = strdup(rest ? rest : sandbox);

	if (!name)
		return NULL;
	for (size_t len = strlen(name); len > 1 && name[len - 1] == '/'; len--)
		name[len - 1] = '\0';
	return client_escape(name);
}

/* The line `api PATH` of a mount's `host`. */
static char *socket_of_mount(const char *mount, struct error *err)
{
	cleanup_free char *path = NULL, *text = NULL;
	const char *line;
	size_t len;

	if (asprintf(&path, "%s/host", mount) < 0) {
		path = NULL;
		error_set(err, ENOMEM, "cannot look at %s", mount);
		return NULL;
	}
	text = io_read_file(path, HOST_MAX, &len, err);
	line = text ? strstr(text, "\napi ") : NULL;
	if (text && !line)
		error_say(err, ENXIO, "the pffs mounted at %s has no socket", mount);
	return line ? strndup(line + 5, strcspn(line + 5, "\n")) : NULL;
}

static bool answers(const char *socket)
{
	cleanup_close int fd = io_connect_unix(socket, NULL);

	return fd >= 0;
}

/* PID.sock; that of vmctl is another thing. */
static int is_socket(const struct dirent *entry)
{
	size_t digits = strspn(entry->d_name, "0123456789");

	return digits && strcmp(entry->d_name + digits, SUFFIX) == 0;
}

/* Those of @dir that answer, separated by ", ", to free(). @count is how many. */
static char *live_sockets(const char *dir, unsigned *count)
{
	cleanup_free struct dirent **entries = NULL;
	int all = scandir(dir, &entries, is_socket, alphasort);
	char *found = NULL, *path, *both;

	*count = 0;
	for (int i = 0; i < all; free(entries[i]), i++) {
		if (asprintf(&path, "%s/%s", dir, entries[i]->d_name) < 0)
			continue;
		if (answers(path) && asprintf(&both, "%s%s%s", found ? found : "",
					      found ? ", " : "", path) >= 0) {
			free(found);
			found = both;
			++*count;
		}
		free(path);
	}
	return found;
}

/* The only one that answers in the runtime directory. */
static char *only_socket(struct error *err)
{
	cleanup_free char *dir = paths_runtime_dir(err), *found = NULL;
	unsigned count;

	if (!dir)
		return NULL;
	found = live_sockets(dir, &count);
	if (count == 1)
		return steal_pointer(&found);
	if (count)
		error_say(err, EINVAL, "there are several pffs, say which by --api: %s",
			  found);
	else
		error_say(err, ENOENT,
			  "no pffs runs: `pffs mount DIR` or `pffs serve` starts one");
	return NULL;
}

static bool same_file(const char *a, const char *b)
{
	struct stat first, second;

	return stat(a, &first) == 0 && stat(b, &second) == 0 &&
	       first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

/* A path that leads into a mount means what is there: of another pffs the same name would
 * be another sandbox. */
static char *socket_for_path(const char *mount, const char *api, struct error *err)
{
	cleanup_free char *socket = socket_of_mount(mount, err);

	if (!socket || !api || same_file(api, socket))
		return steal_pointer(&socket);
	error_say(err, EINVAL, "%s is the mount of another pffs than that at %s", mount,
		  api);
	return NULL;
}

static char *find_socket(const char *api, const char *sandbox, struct error *err)
{
	cleanup_free char *rest = NULL, *mount = NULL;
	const char *set = getenv("PFFS_API");

	mount = sandbox ? mount_of(sandbox, &rest) : NULL;
	if (mount)
		return socket_for_path(mount, api, err);
	if (!api && set && *set)
		api = set;
	if (api)
		return strdup(api);
	mount = mount_here();
	return mount ? socket_of_mount(mount, err) : only_socket(err);
}

struct client *client_open(const char *api, const char *sandbox, struct error *err)
{
	struct client *client = calloc(1, sizeof(*client));

	if (!client || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		free(client);
		error_set(err, ENOMEM, "cannot ask pffs");
		return NULL;
	}
	*err = (struct error){0};
	client->socket = find_socket(api, sandbox, err);
	if (client->socket)
		return client;
	if (!err->code)
		error_set(err, ENOMEM, "cannot ask pffs");
	free(client);
	return NULL;
}
