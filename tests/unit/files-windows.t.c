/*
 * Changes that the file server makes itself while it watches the directory: which events
 * the agent tells of, by both their code in one process, so that what others do comes
 * exactly between the steps.
 */
#include "guest/agent/agent.h"
#include "guest/files/call.h"
#include "tests/unit/tap.h"

#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define EVENTS (IN_CREATE | IN_DELETE | IN_MOVE | IN_ATTRIB | IN_MODIFY | IN_CLOSE_WRITE)

static struct server server;
static struct agent agent;
static int d; /* the directory */

/* What the agent told since the last look. */
static uint32_t told[256];
static size_t told_count;

/* The port, and the part of the agent that knows of requests, are played. */
void port_send(struct port *port, uint32_t stream, enum agent_type type,
	       const void *payload, size_t len)
{
	struct cursor c = cursor_over(payload, len);

	(void)port;
	(void)stream;
	while (type == AGENT_FILES_CHANGED && cursor_left(&c) && told_count < 256)
		told[told_count++] = cursor_get_u32(&c);
}

struct files_pending *files_pending(struct files *files, uint32_t stream)
{
	for (size_t i = 0; i < FILES_IN_FLIGHT; i++)
		if (files->pending[i].stream == stream)
			return &files->pending[i];
	return NULL;
}

static struct files *files = &agent.files;

void server_reply(uint16_t epoch, uint32_t stream, const struct files_reply *reply)
{
	(void)epoch;
	(void)stream;
	(void)reply;
}

/* Return: how often the agent tells of @watch; all else that it tells is wrong. */
static size_t changes(int watch)
{
	size_t count = 0;

	told_count = 0;
	files_changes(files);
	for (size_t i = 0; i < told_count; i++)
		if (told[i] == (uint32_t)watch)
			count++;
		else
			diag("watch %u was told", told[i]);
	return count == told_count ? count : 100 + told_count;
}

static bool is_told(int watch)
{
	size_t count = changes(watch);

	return count >= 1 && count <= 2;
}

static void put(const char *name, const char *text)
{
	int fd = openat(d, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		abort();
	close(fd);
}

static void set_mode(const char *name, mode_t mode)
{
	if (fchmodat(d, name, mode, 0) < 0)
		abort();
}

static void begin(struct call *call, uint32_t stream, const char *name)
{
	*call = (struct call){.server = &server, .stream = stream};
	call->req.op = FILES_SETATTR;
	call->req.flags = FILES_WATCH;
	call_begin(call);
	call->places[0].dir = d;
	call->places[0].name = name;
	files_pending(files, 0)->stream = stream;
	windows_open(call, EVENTS);
}

static int end(struct call *call)
{
	windows_close(call);
	return call->places[0].watch;
}

static void answered(const struct call *call)
{
	files_answered(files, call->stream);
	files_pending(files, call->stream)->stream = 0;
}

static void own_changes_are_not_told(void)
{
	struct call call;
	int watch = watch_directory(&server, d), number;

	begin(&call, 1, "f");
	put("f", "own");
	set_mode("f", 0600);
	is_int(changes(watch), 0, "inside a window: its own changes are not told");
	number = end(&call);
	is_int(number, watch, "and do not use up the watch");
	answered(&call);
	is_int(changes(watch), 0, "nor are they told later");
	put("f", "foreign");
	ok(is_told(watch), "behind the window everything is");
	put("f", "foreign");
	is_int(changes(watch), 0, "once");
}

static void other_names_are_told(void)
{
	struct call call;
	int watch = watch_directory(&server, d), number;

	begin(&call, 2, "f");
	put("f", "own");
	put("g", "foreign");
	ok(is_told(watch), "inside a window: another name is told");
	for (int i = 0; i < 100; i++)
		put("g", "foreign");
	ok(changes(watch) <= 1, "and is the end of the watch");
	number = end(&call);
	ok(number > watch, "so that there is another");
	answered(&call);
	is_int(changes(number), 0, "of which nothing is told");
	put("g", "foreign");
	ok(is_told(number), "until something is changed");
}

static void other_events_are_told(void)
{
	struct call call;
	int watch = watch_directory(&server, d);

	begin(&call, 3, "f");
	call.places[0].note->events = IN_ATTRIB;
	set_mode("f", 0644);
	is_int(changes(watch), 0, "inside a window: an event that the request makes");
	put("f", "foreign");
	ok(is_told(watch), "but one that it cannot make is told");
	end(&call);
	answered(&call);
	changes(watch);
	watch = watch_directory(&server, d);
	begin(&call, 4, "f");
	set_mode(".", 0700);
	ok(is_told(watch), "inside a window: a change of the directory itself is told");
	end(&call);
	answered(&call);
	changes(watch);
}

/* The reply was read behind the change; it comes later than what others print. */
static void between_window_and_answer(void)
{
	struct call call;
	int watch = watch_directory(&server, d);

	begin(&call, 5, "f");
	put("f", "own");
	end(&call);
	put("f", "foreign");
	ok(is_told(watch), "the same name, between window and answer: told");
	answered(&call);
	changes(watch);
}

static void windows_of_one_directory(void)
{
	struct call one, two;
	int watch = watch_directory(&server, d);

	begin(&one, 6, "f");
	begin(&two, 7, "g");
	put("f", "own");
	is_int(end(&one), watch, "of two windows the first is closed");
	put("g", "own");
	is_int(changes(watch), 0, "the other's changes are still its own");
	put("f", "foreign");
	ok(is_told(watch), "those of the first's name are told, answered or not");
	answered(&one);
	ok(end(&two) > watch, "as the end of the watch");
	answered(&two);
	changes(watch);

	watch = watch_directory(&server, d);
	begin(&one, 8, "f");
	put("f", "own");
	begin(&two, 9, "f");
	is_int(end(&one), watch, "two windows for one name");
	answered(&one);
	put("f", "own");
	is_int(changes(watch), 0, "the second's changes are its own");
	is_int(end(&two), watch, "and leave the watch alone");
	answered(&two);
	is_int(changes(watch), 0, "nothing of that is told");
	put("f", "foreign");
	ok(is_told(watch), "what comes then is");
}

static void a_window_behind_one_that_is_not_answered(void)
{
	struct call one, two;
	int watch = watch_directory(&server, d);

	begin(&one, 10, "f");
	put("f", "own");
	end(&one);
	begin(&two, 11, "g");
	is_int(changes(watch), 0, "a window behind one that is not answered");
	put("f", "foreign");
	ok(is_told(watch), "does not cover its name");
	answered(&one);
	end(&two);
	answered(&two);
	changes(watch);
}

static void who_looks_leaves_the_window_alone(void)
{
	struct call call;
	int watch = watch_directory(&server, d);

	begin(&call, 12, "f");
	is_int(watch_directory(&server, d), watch, "who watches during a window");
	put("f", "own");
	put("f", "own");
	is_int(end(&call), watch, "does not make the watch one for one event");
	answered(&call);
	is_int(changes(watch), 0, "and is told nothing");
	put("f", "foreign");
	ok(is_told(watch), "but it is one behind the window");
}

static void only_requests_without_an_answer_count(void)
{
	struct call call;
	int watch = watch_directory(&server, d);

	begin(&call, 13, "f");
	files_pending(files, 13)->stream = 0; /* a wake, or the end of the server */
	put("f", "own");
	ok(is_told(watch), "changes for nobody are told");
	end(&call);
	files_answered(files, 13);
	changes(watch);
	for (int i = 0; i < FILES_NOTES; i++)
		ok(note_add(server.shared->notes, 20 + (uint32_t)i, 1, EVENTS, "x") != NULL,
		   "note %d is free", i);
	ok(!note_add(server.shared->notes, 1000, 1, EVENTS, "x"), "then there is no more");
	watch = watch_directory(&server, d);
	begin(&call, 14, "f");
	put("f", "own");
	ok(is_told(watch), "without a note all is told");
	end(&call);
	answered(&call);
	files_tell_all(files);
	ok(note_add(server.shared->notes, 1001, 1, EVENTS, "x") != NULL,
	   "notes do not outlive the server");
	files_tell_all(files);
	changes(watch);
}

static void lists_beside_changes(void)
{
	static uint8_t room[FILES_REPLY_HEAD + FILES_IO_MAX];
	struct call list = {.server = &server, .data = room + FILES_REPLY_HEAD};
	struct call change;

	for (int i = 0; i < 2; i++) {
		list.req = (struct files_request){
		    .op = FILES_LIST, .flags = FILES_WATCH, .path = "", .size = 10000};
		call_begin(&list);
		is_int(call_serve(&list), 0, "a list is read");
		if (i) {
			begin(&change, 15, "f");
			put("f", "own");
			end(&change);
			call_settle(&change);
			answered(&change);
		}
		call_settle(&list);
		call_end(&list);
		if (i)
			is_int(list.reply.watch, -1,
			       "a change was answered meanwhile: no watch");
		else
			ok(list.reply.watch > 0, "it has a watch");
	}
	changes(0);
}

/* Links are counted by the kernel, whose part is played. */
static struct perf_event_mmap_page entered, returned;

/* Records of which the size does not matter. */
static void links(unsigned int more_entered, unsigned int more_returned)
{
	entered.data_head += UINT64_C(8) * more_entered;
	returned.data_head += UINT64_C(8) * more_returned;
}

static bool all_is_told(void)
{
	return is_told(-1);
}

static void links_are_told(void)
{
	agent.links.entered[0] = &entered;
	agent.links.returned[0] = &returned;
	agent.links.cpus = 1;
	ok(!all_is_told(), "no link was made");
	links(1, 1);
	ok(all_is_told(), "somebody's link is told");
	ok(!all_is_told(), "once");
	links(1, 0);
	ok(all_is_told(), "one that is being made is told");
	ok(all_is_told(), "as long as it is");
	links(0, 1);
	ok(all_is_told(), "and when it has been made");
	ok(!all_is_told(), "then no more");
	links(1, 0);
	ok(all_is_told(), "of two, one is being made");
	links(1, 1);
	ok(all_is_told(), "and the other, while the first is over");
	links(0, 1);
	ok(all_is_told(), "and then this as well");
	ok(!all_is_told(), "then no more");
	agent.links.cpus = 0;
}

int main(void)
{
	char dir[] = "/tmp/pffs-windows.XXXXXX";

	if (!mkdtemp(dir) || chdir("/proc/self/fd") < 0)
		abort();
	d = server.root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	files->agent = &agent;
	files->shared = server.shared = calloc(1, sizeof(*server.shared));
	files->links = &agent.links;
	files->inotify.fd = server.inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (d < 0 || !files->shared || files->inotify.fd < 0)
		abort();
	pthread_mutex_init(&server.lock, NULL);
	watches_init(&server);
	own_changes_are_not_told();
	other_names_are_told();
	other_events_are_told();
	between_window_and_answer();
	windows_of_one_directory();
	a_window_behind_one_that_is_not_answered();
	who_looks_leaves_the_window_alone();
	only_requests_without_an_answer_count();
	lists_beside_changes();
	links_are_told();
	unlinkat(d, "f", 0);
	unlinkat(d, "g", 0);
	rmdir(dir);
	free(server.shared);
	return done_testing();
}
