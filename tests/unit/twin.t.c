/*
 * The fork points of forks, against a vmctl and guests that this test plays: when there
 * is one, for how long, and what is asked of its machine.
 */
#include "tests/unit/forks.h"

#include "pffs/core/twin.h"

static int ready_count, ready_code;
static struct sandbox *ready_point;

static void ready(void *ctx, struct sandbox *point, const struct error *err)
{
	(void)ctx;
	ready_count++;
	ready_point = point;
	ready_code = err ? err->code : 0;
}

static void use(struct sandbox *sb)
{
	twin_use(sb, ready, NULL);
	listen_to_core();
}

static void answer_plain(void)
{
	char text[64];

	snprintf(text, sizeof(text), "{\"seq\":%d}",
		 (int)json_integer_value(json_object_get(asked, "seq")));
	send_control(text);
}

static void it_is_of_all_children(struct sandbox *demo)
{
	struct sandbox *one, *two;

	use(demo);
	is_int(ready_code, -EIO, "a fork of an image has none");
	ok(!sandbox_has_base(demo), "and says so");
	is_int(order(demo, NULL, 2), 0, "two are forked");
	listen_to_core();
	ok(json_object_get(asked, "twin"), "with a twin");
	answer_vms(6, 2);
	awake(6, 2);
	awake(7, 2);
	one = child(demo, "1");
	two = child(demo, "2");
	ok(sandbox_has_base(one) && one->base == two->base, "which is that of both");
	sandbox_destroy(one);
	is_str(asked_for(), "destroy", "one goes");
	is_int(json_integer_value(json_object_get(asked, "vm")), 6, "without the twin");
	sandbox_destroy(two);
	asked_for();
	is_int(json_integer_value(json_object_get(asked, "vm")), FIRST_TWIN,
	       "which goes with the last");
}

static void it_is_woken_when_it_is_used(struct sandbox *child)
{
	unsigned vm = FIRST_TWIN + twins - 1;
	uint32_t streams[8];

	ready_count = 0;
	use(child);
	use(child);
	is_str(asked_for(), "resume", "who uses it has it run");
	is_int(ready_count, 0, "and waits");
	is_int(heard(vm, AGENT_WAKE, streams), 1, "its agent is told once");
	answer_plain();
	is_int(ready_count, 0, "until it says that it has stopped all else");
	awake(vm, 2);
	is_int(ready_count, 2, "all who wait are told");
	ok(ready_point && ready_point->vm == vm, "by its machine");
	use(child);
	is_int(ready_count, 3, "while it is awake, at once");
	for (int i = 0; i < 3; i++)
		twin_done(ready_point);
	spin(1100);
	is_str(asked_for(), "park", "when all have done with it, it is parked");
	answer_plain();

	use(child);
	is_str(asked_for(), "resume", "later it runs again");
	answer_plain();
	is_int(ready_count, 4, "and need not be told twice");
	sandbox_destroy(child);
	is_int(json_integer_value(json_object_get(asked, "vm")), vm,
	       "it outlives its children");
	twin_done(ready_point);
	is_str(asked_for(), "destroy", "until nobody uses it");
}

static void it_may_die(struct sandbox *demo)
{
	struct sandbox *x;
	char text[96];

	struct run *run = submit(demo, "while True: pass");

	order(demo, NULL, 1);
	listen_to_core();
	answer_vms(8, 1);
	awake(8, 2);
	x = child(demo, "4");
	say(FIRST_TWIN + twins - 1, run->number, AGENT_STDOUT, "twin", 4);
	is_int(run->streams[RUN_STDOUT].size, 0, "what runs in it runs for nobody");
	say_exit(PARENT, run->number, 0, 0);
	ready_count = 0;
	use(x);
	snprintf(text, sizeof(text),
		 "{\"event\":\"dead\",\"vm\":%u,\"reason\":\"it broke\"}",
		 FIRST_TWIN + twins - 1);
	send_control(text);
	is_int(ready_count, 1, "who waits for one that dies");
	is_int(ready_code, -EIO, "is told: EIO");
	use(x);
	is_int(ready_count, 2, "and so is who comes later");
	is_str(sandbox_state_name(x), "running", "its child goes on");
	sandbox_destroy(x);
	order(demo, NULL, 1);
	listen_to_core();
	answer_error(ENOMEM);
	ok(!sandbox_is_busy(demo), "a fork that fails leaves none");
}

int main(void)
{
	struct sandbox *demo;

	begin_world();
	demo = make_parent();
	it_is_of_all_children(demo);
	order(demo, NULL, 1);
	listen_to_core();
	answer_vms(7, 1);
	awake(7, 2);
	it_is_woken_when_it_is_used(child(demo, "3"));
	it_may_die(demo);
	end_world();
	return done_testing();
}
