#include "vmctl/host_qemu.h"

#include "util/cleanup.h"
#include "util/io.h"
#include "vmctl/host_state.h"
#include "vmctl/images.h"
#include "vmctl/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define QEMU	       "qemu-system-x86_64"
#define ARGS_MAX       256
#define MEMORY_MIN_MIB 2048
#define MEMORY_MAX_MIB 12288

/*
 * One CPU: QEMU's TCG with nested SVM is not sound with more of them. And that one
 * has no XSAVE and nothing that needs it: the emulated SVM does not intercept
 * XSETBV, so that KVM would not learn which state components a guest turned on.
 */
#define CPU "EPYC,+svm,+npt,-xsave,-avx,-avx2,-fma,-f16c"
#define QEMU_OPTIONS                                                                       \
	QEMU " -name pffs-host -accel tcg -smp 1 -cpu " CPU " "                            \
	     "-machine q35,usb=off,sata=off,smbus=off,vmport=off "                         \
	     "-nodefaults -no-user-config -no-reboot -display none "                       \
	     "-sandbox "                                                                   \
	     "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny "    \
	     "-serial stdio -device virtio-rng-pci -device virtio-serial-pci "             \
	     "-device virtio-scsi-pci,id=" HOST_SCSI " -mon chardev=monitor,mode=control"

/* The way out, by sockets of ours; it needs no privilege. The host inside takes these
 * addresses by itself (net/uplink.c), and lets nobody to the gateway, which is this
 * machine. */
#define NETWORK                                                                            \
	"user,id=net,net=198.18.255.0/24,host=198.18.255.2,dns=" HOST_RESOLVER ","         \
	"dhcpstart=198.18.255.15,ipv6-net=fd70:6666:7300:ff::/64"

/* `mitigations=off`: everything that this machine runs is the user's already. */
#define KERNEL_OPTIONS                                                                     \
	"console=ttyS0 quiet panic=-1 mitigations=off no_timer_check "                     \
	"random.trust_cpu=on rdinit=/bin/vmctl"

/* An argument list; `failed` is sticky, so that it is checked once. */
struct args {
	char *v[ARGS_MAX + 1];
	int count;
	bool failed;
};

__attribute__((format(printf, 2, 3))) static void add(struct args *args, const char *fmt,
						      ...)
{
	va_list ap;

	if (args->count == ARGS_MAX) {
		args->failed = true;
		return;
	}
	va_start(ap, fmt);
	if (vasprintf(&args->v[args->count], fmt, ap) < 0)
		args->failed = true;
	else
		args->count++;
	va_end(ap);
}

static void args_fini(struct args *args)
{
	for (int i = 0; i < args->count; i++)
		free(args->v[i]);
}

/* QEMU's options use the comma; in a value it is doubled. */
static char *escape_commas(const char *text)
{
	char *escaped = malloc(2 * strlen(text) + 1), *to = escaped;

	if (!escaped)
		return NULL;
	for (; *text; text++) {
		*to++ = *text;
		if (*text == ',')
			*to++ = ',';
	}
	*to = '\0';
	return escaped;
}

/* Templates are added later, by host_disks.c. */
static void add_upper_disk(struct args *args, const char *images)
{
	cleanup_free char *path = images_path(images, "upper.ext4", NULL);
	cleanup_free char *file = path ? escape_commas(path) : NULL;

	if (!file) {
		args->failed = true;
		return;
	}
	add(args, "-drive");
	add(args, "if=none,id=upper,format=raw,readonly=on,file=%s", file);
	add(args, "-device");
	add(args, "scsi-hd,bus=" HOST_SCSI ".0,scsi-id=0,lun=%d,drive=upper",
	    HOST_UPPER_UNIT);
}

/* When there is no room for a write, that fails: it does not stop the machine. */
static void add_state_disk(struct args *args, const char *state)
{
	cleanup_free char *file = escape_commas(state);

	if (!file) {
		args->failed = true;
		return;
	}
	add(args, "-drive");
	add(args,
	    "if=none,id=state,format=raw,discard=unmap,werror=report,rerror=report,file=%s",
	    file);
	add(args, "-device");
	add(args, "scsi-hd,bus=" HOST_SCSI ".0,scsi-id=%d,lun=0,drive=state",
	    HOST_STATE_TARGET);
}

/* Half of the machine's memory: the guests' comes out of it. */
static int choose_memory(int given)
{
	struct sysinfo info;
	uint64_t half;

	if (given || sysinfo(&info) < 0)
		return given ? given : MEMORY_MIN_MIB;
	half = (uint64_t)info.totalram * info.mem_unit / 2 >> 20;
	if (half < MEMORY_MIN_MIB)
		return MEMORY_MIN_MIB;
	return half > MEMORY_MAX_MIB ? MEMORY_MAX_MIB : (int)half;
}

/* A socket whose number among QEMU's is @number. */
static void add_socket(struct args *args, const char *id, int number)
{
	add(args, "-chardev");
	add(args, "socket,id=%s,fd=%d,server=on,wait=off", id, SPAWN_FIRST_FD + number);
}

/* The port of nr=0 is for consoles alone. */
static void add_port(struct args *args, const char *name, int number)
{
	char id[16];

	snprintf(id, sizeof(id), "link%d", number);
	add_socket(args, id, number);
	add(args, "-device");
	add(args, "virtserialport,chardev=%s,nr=%d,name=%s", id, number + 1, name);
}

static void make_args(struct args *args, const struct qemu_options *options)
{
	char words[] = QEMU_OPTIONS;
	char *rest = words, *word;

	while ((word = strsep(&rest, " ")))
		add(args, "%s", word);
	add(args, "-netdev");
	add(args, NETWORK);
	add(args, "-device");
	add(args, "virtio-net-pci,netdev=net,romfile=");
	add(args, "-m");
	add(args, "%d", choose_memory(options->memory_mib));
	for (int i = 0; i < HOST_PORTS; i++) {
		char name[32];

		snprintf(name, sizeof(name), HOST_PORT_NAME "%d", i);
		add_port(args, name, i);
	}
	add_port(args, HOST_LINE_NAME, HOST_PORTS);
	add_socket(args, "monitor", HOST_PORTS + 1);
	add_upper_disk(args, options->images);
	if (options->state)
		add_state_disk(args, options->state);
	add(args, "-kernel");
	add(args, "%s/kernel", options->images);
	add(args, "-initrd");
	add(args, "%s/host-initramfs", options->images);
	add(args, "-append");
	add(args, KERNEL_OPTIONS " -- host%s", options->state ? " " HOST_STATE_WORD : "");
}

static int check_images(const char *images, struct error *err)
{
	static const struct {
		const char *file, *what;
	} needed[] = {
	    {"kernel", "kernel"},
	    {"initramfs", "initramfs"},
	    {"upper.ext4", "upper disk"},
	    {"host-initramfs", "initramfs of the emulated host"},
	};

	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		cleanup_free char *path = images_path(images, needed[i].file, NULL);
		int r;

		if (!path)
			return error_set(err, ENOMEM, "cannot start the emulated host");
		r = images_need(path, needed[i].what, "guest/images/build", err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int run(struct qemu *qemu, const struct host_dir *dir, struct args *args,
	       const int *sockets, struct error *err)
{
	struct spawn_options options = {.fds = sockets, .count = QEMU_SOCKETS};
	cleanup_close int said = -1;

	qemu->console = host_dir_fifo(dir, CONSOLE, O_RDONLY | O_NONBLOCK, err);
	if (qemu->console < 0)
		return qemu->console;
	/* For reading, too, so that what it says without a vmctl is kept. */
	said = host_dir_fifo(dir, CONSOLE, O_RDWR, err);
	if (said < 0)
		return said;
	options.output = said;
	qemu->pid = spawn(QEMU, (const char *const *)args->v, &options, err);
	if (qemu->pid == -ENOENT)
		error_say(err, ENOENT,
			  QEMU " is not installed: apt-get install qemu-system-x86");
	if (qemu->pid < 0)
		return qemu->pid;
	qemu->pidfd = (int)syscall(SYS_pidfd_open, qemu->pid, 0);
	return qemu->pidfd < 0 ? error_set(err, errno, "cannot watch QEMU") : 0;
}

/* We are connected to all before there is a QEMU, so whatever ends it is not told by that.
 */
static int start(struct qemu *qemu, const struct host_dir *dir, struct args *args,
		 struct error *err)
{
	int sockets[QEMU_SOCKETS], r = 0;

	for (int i = 0; i < QEMU_SOCKETS; i++) {
		char name[16];

		qemu_socket(i, name);
		sockets[i] = r < 0 ? -1 : host_dir_listen(dir, name, err);
		if (sockets[i] < 0)
			r = r < 0 ? r : sockets[i];
	}
	if (r == 0)
		r = qemu_join(qemu, dir, err);
	if (r == 0)
		r = run(qemu, dir, args, sockets, err);
	io_close_all(sockets, QEMU_SOCKETS);
	return r;
}

int qemu_start(struct qemu *qemu, const struct host_dir *dir,
	       const struct qemu_options *options, struct error *err)
{
	struct args args = {0};
	int r = check_images(options->images, err);

	if (r == 0)
		r = qemu_note(dir, options, err);
	if (r < 0)
		return r;
	make_args(&args, options);
	r = args.failed ? error_set(err, ENOMEM, "cannot start the emulated host")
			: start(qemu, dir, &args, err);
	args_fini(&args);
	if (r < 0)
		qemu_stop(qemu);
	return r;
}
