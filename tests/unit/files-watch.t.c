/* Watches of the guest's file server: what makes an event, and that it is one alone. */
#include "tests/unit/files_kit.h"

/* Return: how often @watch is named by the events that have come. */
static int events_of(int watch)
{
	union {
		struct inotify_event first;
		char room[4096];
	} events;
	ssize_t n;
	int count = 0;

	while ((n = read(kit.inotify, &events, sizeof(events))) > 0)
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *e = (const void *)(events.room + at);

			count += e->wd == watch && !(e->mask & IN_IGNORED);
			at += (ssize_t)(sizeof(*e) + e->len);
		}
	return count;
}

static int watch_list(const char *path)
{
	return ASK(.op = FILES_LIST, .path = path, .size = 10000, .flags = FILES_WATCH)
	    .watch;
}

static void put(const char *name, int flags, const char *text)
{
	cleanup_close int fd = openat(kit.dir_fd, name, flags | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		abort();
}

static void create(void)
{
	put("d/new", O_WRONLY | O_CREAT | O_EXCL, "");
}
static void modify(void)
{
	put("d/new", O_WRONLY, "x");
}
static void append(void)
{
	put("d/new", O_WRONLY | O_APPEND, "x");
}
static void truncated(void)
{
	if (truncate("d/new", 0) < 0)
		abort();
}
static void chmoded(void)
{
	chmod("d/new", 0600);
}
static void touched(void)
{
	utimensat(AT_FDCWD, "d/new", NULL, 0);
}
static void linked(void)
{
	if (link("d/new", "d/link") < 0)
		abort();
}
static void renamed(void)
{
	rename("d/new", "d/other");
}
static void moved_out(void)
{
	rename("d/other", "other");
}
static void moved_in(void)
{
	rename("other", "d/other");
}
static void removed(void)
{
	unlink("d/other");
}
static void made_dir(void)
{
	mkdir("d/sub", 0755);
}
static void removed_dir(void)
{
	rmdir("d/sub");
}
static void chmoded_itself(void)
{
	chmod("d", 0700);
}
static void moved_itself(void)
{
	rename("d", "e");
}

static const struct {
	const char *what;
	void (*change)(void);
} changes[] = {
    {"a new file", create},
    {"a write", modify},
    {"an appended byte", append},
    {"a truncation", truncated},
    {"a new mode", chmoded},
    {"a new time", touched},
    {"a new link", linked},
    {"a new name", renamed},
    {"a name that goes", moved_out},
    {"a name that comes", moved_in},
    {"a removal", removed},
    {"a new directory", made_dir},
    {"its removal", removed_dir},
    {"its own new mode", chmoded_itself},
    {"its own new name", moved_itself},
};

static void changes_are_told(void)
{
	int last = 0;

	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		int watch = watch_list("d");

		ok(watch > last, "a new watch");
		is_int(events_of(watch), 0, "nothing is told before %s", changes[i].what);
		changes[i].change();
		is_int(events_of(watch), 1, "%s is told", changes[i].what);
		last = watch;
	}
	ok(rename("e", "d") == 0, "it gets its name back");
}

static void one_event_alone(void)
{
	int watch = watch_list("d");

	create();
	modify();
	removed_dir();
	is_int(events_of(watch), 1, "several changes are one event");
	append();
	is_int(events_of(watch), 0, "and then there is none");
	watch = watch_list("d");
	is_int(watch_list("d"), watch, "a watched directory keeps its watch");
	append();
	is_int(events_of(watch), 1, "and makes one event");
}

static void reading_is_no_change(void)
{
	int watch = watch_list("d");
	struct files_reply r =
	    ASK(.op = FILES_OPEN, .path = "d/new", .flags = FILES_O_READ);

	ASK(.op = FILES_READ, .handle = r.handle, .size = 10);
	ASK(.op = FILES_CLOSE, .handle = r.handle);
	ASK(.op = FILES_LIST, .path = "d", .size = 10000);
	is_int(events_of(watch), 0, "who reads changes nothing");
}

static void the_servers_own_changes_are_told(void)
{
	int watch = watch_list("d");

	ASK(.op = FILES_MKDIR, .path = "d/made", .mode = 0755);
	is_int(events_of(watch), 1, "mkdir");
	watch = watch_list("d");
	ASK(.op = FILES_RENAME, .path = "d/made", .path2 = "d/unmade");
	is_int(events_of(watch), 1, "rename");
	watch = watch_list("d");
	ASK(.op = FILES_RMDIR, .path = "d/unmade");
	is_int(events_of(watch), 1, "rmdir");
}

static void watches_of_other_operations(void)
{
	struct files_reply r;

	r = ASK(.op = FILES_LOOKUP, .path = "d/nothing", .flags = FILES_WATCH);
	ok(r.error == ENOENT && r.watch > 0, "what is not there can be watched for");
	put("d/nothing", O_WRONLY | O_CREAT, "");
	is_int(events_of(r.watch), 1, "and is told of");
	r = ASK(.op = FILES_GETATTR, .path = "d", .flags = FILES_WATCH);
	ok(r.error == 0 && r.watch > 0, "a directory's attributes can be watched");
	unlink("d/nothing");
	is_int(events_of(r.watch), 1, "and are told of");
	r = ASK(.op = FILES_GETATTR, .path = "d/new", .flags = FILES_WATCH);
	ok(r.error == 0 && r.watch == -1, "a file's own are its directory's matter");
	r = ASK(.op = FILES_LOOKUP, .path = "none/x", .flags = FILES_WATCH);
	ok(r.error == ENOENT && r.watch == -1, "where there is no directory is no watch");
}

static void old_watches_give_way(void)
{
	char name[32];
	int first = 0, second = 0, last = 0;

	mkdir("many", 0755);
	for (int i = 0; i < FILES_WATCHES + 1; i++) {
		snprintf(name, sizeof(name), "many/%d", i);
		mkdir(name, 0755);
		last = ASK(.op = FILES_GETATTR, .path = name, .flags = FILES_WATCH).watch;
		if (last < 0)
			break;
		first = i == 0 ? last : first;
		second = i == 1 ? last : second;
	}
	if (last < 0) {
		skip(3, "the system allows fewer watches");
		return;
	}
	events_of(0);
	chmod("many/0", 0700);
	is_int(events_of(first), 0, "the oldest watch has given way");
	chmod("many/1", 0700);
	is_int(events_of(second), 1, "the next has not");
	kit.epoch++;
	ASK(.op = FILES_STATFS, .path = "");
	events_of(0);
	chmod(name, 0700);
	is_int(events_of(last), 0, "with the epoch all have gone");
}

int main(void)
{
	kit_begin();
	mkdir("d", 0755);
	changes_are_told();
	one_event_alone();
	reading_is_no_change();
	the_servers_own_changes_are_told();
	watches_of_other_operations();
	old_watches_give_way();
	is_int(kit_end(), 0, "the server ends with its socket");
	return done_testing();
}
