#include "vmctl/probe.h"

#include "util/cleanup.h"
#include "util/io.h"
#include "vmctl/probe_kvm.h"
#include "vmctl/usage.h"

#include <getopt.h>
#include <jansson.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QEMU	     "qemu-system-x86_64"
#define SLOW_LOOP_PS 50000 /* a CPU needs about 1000, an interpreter far more */

static const char usage_text[] =
    "usage: vmctl probe [--json]\n"
    "Measure what KVM can do here and say which engine fits.\n"
    "The exit status is 0 when there is an engine that can run.\n";

/* Look for the word @flag in the first line "flags : ..." of /proc/cpuinfo. */
static bool has_flag(const char *cpuinfo, const char *flag)
{
	const char *line = strstr(cpuinfo, "\nflags"), *end, *at;
	size_t len = strlen(flag);

	if (!line)
		return false;
	end = strchrnul(line + 1, '\n');
	for (at = line; (at = strstr(at, flag)) && at < end; at += len)
		if (at[-1] == ' ' && (at[len] == ' ' || at[len] == '\n'))
			return true;
	return false;
}

static const char *find_flag(void)
{
	size_t len;
	cleanup_free char *cpuinfo = io_read_file("/proc/cpuinfo", 16u << 20, &len, NULL);

	if (!cpuinfo)
		return NULL;
	if (has_flag(cpuinfo, "vmx"))
		return "vmx";
	return has_flag(cpuinfo, "svm") ? "svm" : NULL;
}

static const char *find_module(void)
{
	if (access("/sys/module/kvm_intel", F_OK) == 0)
		return "kvm_intel";
	if (access("/sys/module/kvm_amd", F_OK) == 0)
		return "kvm_amd";
	return access("/sys/module/kvm", F_OK) == 0 ? "kvm" : NULL;
}

/* The first executable QEMU along PATH. */
static void find_qemu(struct probe *probe)
{
	const char *env = getenv("PATH");
	cleanup_free char *path = strdup(env ? env : "/usr/bin:/bin");
	char *rest = path, *dir;

	while ((dir = strsep(&rest, ":"))) {
		snprintf(probe->qemu, sizeof(probe->qemu), "%s/" QEMU, dir);
		if (access(probe->qemu, X_OK) == 0)
			return;
	}
	probe->qemu[0] = '\0';
}

#define SAY(probe, why_, ...)                                                              \
	(snprintf((probe)->why, sizeof((probe)->why), "%s", why_),                         \
	 snprintf((probe)->advice, sizeof((probe)->advice), __VA_ARGS__))

static void judge_no_node(struct probe *probe)
{
	if (probe->cpu_flag)
		SAY(probe, "there is no /dev/kvm, though the CPU could do it",
		    "Load the module: modprobe %s; in a container, pass /dev/kvm in",
		    strcmp(probe->cpu_flag, "vmx") == 0 ? "kvm_intel" : "kvm_amd");
	else
		SAY(probe, "there is no /dev/kvm, and the CPU shows neither vmx nor svm",
		    "Enable virtualisation in the firmware, or nested virtualisation in "
		    "the hypervisor above this machine");
}

static void judge_no_access(struct probe *probe)
{
	SAY(probe, "/dev/kvm cannot be opened",
	    "%s: join its group (usermod -aG kvm USER, and log in again) or run as root",
	    strerror(probe->open_errno));
}

static void judge_slow(struct probe *probe)
{
	char why[sizeof(probe->why)];

	if (probe->loop_ps < 0)
		snprintf(why, sizeof(why),
			 "a tiny guest did not end its loop under "
			 "/dev/kvm");
	else
		snprintf(why, sizeof(why),
			 "/dev/kvm interprets guests in software: %lld ns for a round of a "
			 "loop that takes 1 ns on a CPU",
			 (long long)(probe->loop_ps / 1000));
	SAY(probe, why,
	    "Enable nested virtualisation in the hypervisor above this machine, or use a "
	    "machine with %s",
	    probe->cpu_flag ? "a working KVM" : "vmx or svm");
}

/* Say why KVM will not do. Return: false when it will. */
static bool judge_kvm(struct probe *probe)
{
	if (!probe->node)
		judge_no_node(probe);
	else if (!probe->access)
		judge_no_access(probe);
	else if (probe->api_version != KVM_API_VERSION)
		SAY(probe, "/dev/kvm does not speak the API of KVM",
		    "Its version is %d, not %d: use another kernel", probe->api_version,
		    KVM_API_VERSION);
	else if (probe->create_usec < 0)
		SAY(probe, "KVM cannot make a VM", "%s: see dmesg",
		    probe->create_errno ? strerror(probe->create_errno) : "No answer");
	else if (probe->loop_ps < 0 || probe->loop_ps >= SLOW_LOOP_PS)
		judge_slow(probe);
	else if (!probe->int3)
		SAY(probe, "a guest under /dev/kvm cannot handle a breakpoint",
		    "Use a machine with a complete KVM");
	else
		return false;
	return true;
}

static void judge(struct probe *probe)
{
	size_t used;

	probe->engine = "kvm";
	probe->usable = true;
	if (!judge_kvm(probe)) {
		SAY(probe, "KVM runs guests on the CPU", "Nothing has to be done");
		return;
	}
	probe->engine = "emulated";
	probe->usable = probe->qemu[0];
	used = strlen(probe->advice);
	if (!probe->usable)
		snprintf(probe->advice + used, sizeof(probe->advice) - used,
			 "; or emulate: apt-get install qemu-system-x86");
}

void probe_run(struct probe *probe)
{
	*probe = (struct probe){
	    .cpu_flag = find_flag(),
	    .module = find_module(),
	    .create_usec = -1,
	    .loop_ps = -1,
	};
	find_qemu(probe);
	probe_kvm(probe);
	judge(probe);
}

static json_t *number_or_null(int64_t value, int64_t divisor)
{
	if (value < 0)
		return json_null();
	return divisor == 1 ? json_integer(value)
			    : json_real((double)value / (double)divisor);
}

static void show_json(const struct probe *probe)
{
	json_t *kvm =
	    json_pack("{s:s?, s:s?, s:b, s:b, s:i, s:o, s:o, s:b}", "cpu_flag",
		      probe->cpu_flag, "module", probe->module, "node", probe->node,
		      "access", probe->access, "api_version", probe->api_version,
		      "create_vm_usec", number_or_null(probe->create_usec, 1), "loop_ns",
		      number_or_null(probe->loop_ps, 1000), "int3", probe->int3);
	json_t *all =
	    json_pack("{s:s, s:b, s:s, s:s, s:s?, s:o}", "engine", probe->engine, "usable",
		      probe->usable, "why", probe->why, "advice", probe->advice, "qemu",
		      probe->qemu[0] ? probe->qemu : NULL, "kvm", kvm);

	json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	putchar('\n');
	json_decref(all);
}

static void show_text(const struct probe *probe)
{
	printf("engine      %s%s\n", probe->engine, probe->usable ? "" : " (not usable)");
	printf("why         %s\n", probe->why);
	printf("advice      %s\n", probe->advice);
	printf("cpu flag    %s\n",
	       probe->cpu_flag ? probe->cpu_flag : "neither vmx nor svm");
	printf("module      %s\n", probe->module ? probe->module : "none seen");
	printf("/dev/kvm    %s\n", !probe->node	    ? "missing"
				   : !probe->access ? strerror(probe->open_errno)
						    : "opened");
	if (probe->create_usec >= 0)
		printf("create VM   %lld us\n", (long long)probe->create_usec);
	if (probe->loop_ps >= 0)
		printf("loop        %.2f ns a round\n", (double)probe->loop_ps / 1000);
	if (probe->loop_ps >= 0)
		printf("int3        %s\n", probe->int3 ? "handled by the guest" : "fails");
	printf("qemu        %s\n", probe->qemu[0] ? probe->qemu : "not found");
}

int probe_main(int argc, char **argv)
{
	static const struct option longs[] = {
	    {"json", no_argument, NULL, 'j'},
	    {"help", no_argument, NULL, 'h'},
	    {0},
	};
	struct probe probe;
	bool json = false;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c != 'j')
			return usage_exit(usage_text, c == 'h');
		json = true;
	}
	if (optind != argc)
		return usage_exit(usage_text, false);
	probe_run(&probe);
	if (json)
		show_json(&probe);
	else
		show_text(&probe);
	return probe.usable ? EXIT_SUCCESS : EXIT_FAILURE;
}
