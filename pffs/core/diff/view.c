#include "pffs/core/diff/view.h"

#include "pffs/core/template.h"

#include <errno.h>
#include <stdlib.h>

#define IDLE_MS 20000u

struct user {
	struct link link;
	view_fn *ready;
	void *ctx;
};

struct view {
	struct link link; /* on core->views */
	struct core *core;
	size_t index;
	uint64_t image;
	struct sandbox *machine; /* reference; NULL while it is being made */
	unsigned users;
	struct link waiting; /* struct user */
	struct loop_timer idle;
};

static void view_end(struct view *view)
{
	loop_timer_cancel(&view->idle);
	list_del(&view->link);
	if (view->machine && !view->machine->gone)
		sandbox_destroy(view->machine);
	sandbox_unref(view->machine);
	free(view);
}

static void idle_ends(struct loop_timer *timer)
{
	view_end(container_of(timer, struct view, idle));
}

static void rest(struct view *view)
{
	if (!view->users)
		loop_timer_set(view->core->loop, &view->idle, IDLE_MS);
}

static void tell(struct view *view, const struct error *err)
{
	struct user *user;

	list_for_each (user, &view->waiting, struct user, link) {
		list_del(&user->link);
		view->users += !err;
		user->ready(user->ctx, err ? NULL : view->machine, err);
		free(user);
	}
}

static void made(void *ctx, struct sandbox *const *children, const struct error *err)
{
	struct view *view = ctx;

	if (!err)
		view->machine = sandbox_ref(children[0]);
	view->users++; /* nobody ends it meanwhile */
	tell(view, err);
	view->users--;
	if (err)
		view_end(view);
	else
		rest(view);
}

static struct view *find(const struct core *core, size_t index, uint64_t image)
{
	struct view *view;

	list_for_each (view, &core->views, struct view, link)
		if (view->index == index && view->image == image &&
		    (!view->machine || view->machine->state == SANDBOX_READY))
			return view;
	return NULL;
}

static int make(struct view *view, struct sandbox *parent, struct error *err)
{
	char name[32];
	const char *const names[] = {name};
	struct fork_order order = {.folder = FOLDER_HIDDEN, .names = names, .count = 1};

	snprintf(name, sizeof(name), "view-%llu",
		 (unsigned long long)parent->core->next_serial);
	return fork_begin(parent, &order, made, view, err);
}

static struct view *view_new(struct core *core, size_t index, uint64_t image,
			     struct error *err)
{
	struct view *view = calloc(1, sizeof(*view));

	if (!view) {
		error_set(err, ENOMEM, "cannot look at a template");
		return NULL;
	}
	view->core = core;
	view->index = index;
	view->image = image;
	list_init(&view->waiting);
	loop_timer_init(&view->idle, idle_ends);
	list_add_before(&core->views, &view->link);
	return view;
}

static int add_user(struct view *view, view_fn *ready, void *ctx, struct error *err)
{
	struct user *user = malloc(sizeof(*user));

	if (!user)
		return error_set(err, ENOMEM, "cannot look at a template");
	*user = (struct user){.ready = ready, .ctx = ctx};
	list_add_before(&view->waiting, &user->link);
	return 0;
}

void view_use(struct core *core, size_t index, view_fn *ready, void *ctx)
{
	struct error err;
	struct sandbox *parent = template_machine(core, index, &err);
	struct view *view = parent ? find(core, index, parent->image) : NULL;
	bool fresh = !view;

	if (parent && fresh)
		view = view_new(core, index, parent->image, &err);
	if (!view || add_user(view, ready, ctx, &err) < 0) {
		ready(ctx, NULL, &err);
		return;
	}
	loop_timer_cancel(&view->idle);
	if (view->machine) {
		tell(view, NULL);
	} else if (fresh && make(view, parent, &err) < 0) {
		tell(view, &err);
		view_end(view);
	}
}

void view_done(struct sandbox *machine)
{
	struct view *view;

	list_for_each (view, &machine->core->views, struct view, link) {
		if (view->machine != machine)
			continue;
		view->users--;
		rest(view);
		return;
	}
}

void views_fini(struct core *core)
{
	struct view *view;

	list_for_each (view, &core->views, struct view, link)
		if (view->machine)
			view_end(view);
}
