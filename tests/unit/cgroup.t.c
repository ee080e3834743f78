/*
 * Groups of VMs in a hierarchy of the test's own: none is left behind. A file in a group
 * plays a process in it, for which rmdir(2) fails as well.
 */
#define ROOT "."
#include "vmctl/cgroup.c" /* NOLINT(bugprone-suspicious-include): with that ROOT */

#include "tests/unit/tap.h"

static char root[] = "/tmp/pffs-cgroup-XXXXXX";

static void touch(const char *path)
{
	FILE *file = fopen(path, "w");

	if (file)
		fclose(file);
}

static bool there(const char *path)
{
	return access(path, F_OK) == 0;
}

static void what_the_dead_left_goes(void)
{
	char own[64];

	ok(!cgroup_usable(), "without the controller of CPUs nothing can be limited");
	touch("cgroup.subtree_control");
	snprintf(own, sizeof(own), "pffs-%d-3", getpid());
	mkdir(own, 0700);
	mkdir("pffs-1999999999-3", 0700);
	mkdir("another", 0700);
	ok(cgroup_usable(), "with it it can");
	ok(!there("pffs-1999999999-3"), "the group of a broker that is no more goes");
	ok(there(own), "that of one that lives does not");
	ok(there("another"), "nor does somebody else's");
	rmdir(own);
	rmdir("another");
	unlink("cgroup.subtree_control");
}

static void a_fork_keeps_the_group(void)
{
	struct link left = {&left, &left};
	char group[PATH_ROOM], process[PATH_ROOM + 32];

	name_group(getpid(), 5, group);
	snprintf(process, sizeof(process), "%s/process", group);
	mkdir(group, 0700);
	cgroup_remove(getpid(), 5, &left);
	ok(!there(group) && list_empty(&left), "an empty group goes with its VM");
	mkdir(group, 0700);
	touch(process);
	cgroup_remove(getpid(), 5, &left);
	cgroup_tidy(&left);
	ok(there(group), "one that a fork is in stays");
	unlink(process);
	cgroup_tidy(&left);
	ok(!there(group) && list_empty(&left), "until that has ended");
	mkdir(group, 0700);
	touch(process);
	cgroup_remove(getpid(), 5, &left);
	cgroup_forget(&left);
	ok(list_empty(&left), "nothing is remembered of one that never does");
	unlink(process);
	rmdir(group);
}

int main(void)
{
	if (!mkdtemp(root) || chdir(root) < 0)
		return 1;
	what_the_dead_left_goes();
	a_fork_keeps_the_group();
	rmdir(root);
	return done_testing();
}
