#include "vmctl/host_qemu.h"

#include "util/cleanup.h"
#include "util/io.h"
#include "vmctl/host_state.h"
#include "vmctl/images.h"
#include "vmctl/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
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
	     "-serial stdio -device virtio-rng-pci -device virtio-serial-pci "             \
	     "-device virtio-scsi-pci,id=" HOST_SCSI " -mon chardev=monitor,mode=control"

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

static void make_args(struct args *args, const char *images, const char *state,
		      int memory_mib)
{
	char words[] = QEMU_OPTIONS;
	char *rest = words, *word;

	while ((word = strsep(&rest, " ")))
		add(args, "%s", word);
	add(args, "-m");
	add(args, "%d", choose_memory(memory_mib));
	for (int i = 0; i < HOST_PORTS; i++) {
		add(args, "-chardev");
		add(args, "socket,id=link%d,fd=%d", i, SPAWN_FIRST_FD + i);
		add(args, "-device");
		add(args, "virtserialport,chardev=link%d,nr=%d,name=" HOST_PORT_NAME "%d",
		    i, i + 1, i);
	}
	add(args, "-chardev");
	add(args, "socket,id=monitor,fd=%d", SPAWN_FIRST_FD + HOST_PORTS);
	add_upper_disk(args, images);
	if (state)
		add_state_disk(args, state);
	add(args, "-kernel");
	add(args, "%s/kernel", images);
	add(args, "-initrd");
	add(args, "%s/host-initramfs", images);
	add(args, "-append");
	add(args, KERNEL_OPTIONS " -- host%s", state ? " " HOST_STATE_WORD : "");
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

/* One end of a connection is ours, the other one becomes QEMU's. */
static int connect_to(int *ours, int *theirs, struct error *err)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set(err, errno, "cannot make a port of the emulated host");
	*ours = pair[0];
	*theirs = pair[1];
	return io_set_nonblock(pair[0], true);
}

static int run(struct qemu *qemu, struct args *args, int *theirs, struct error *err)
{
	struct spawn_options options = {
	    .fds = theirs,
	    .count = HOST_PORTS + 1,
	    .with_parent = true,
	};
	cleanup_close int said = -1;
	int console[2], r = 0;

	for (int i = 0; i < HOST_PORTS && r == 0; i++)
		r = connect_to(&qemu->ports[i], &theirs[i], err);
	if (r == 0)
		r = connect_to(&qemu->monitor, &theirs[HOST_PORTS], err);
	if (r < 0)
		return r;
	if (pipe2(console, O_CLOEXEC | O_NONBLOCK) < 0)
		return error_set(err, errno, "cannot make a console of the emulated host");
	qemu->console = console[0];
	said = console[1];
	io_set_nonblock(said, false);
	options.output = said;
	qemu->pid = spawn(QEMU, (const char *const *)args->v, &options, err);
	if (qemu->pid == -ENOENT)
		error_say(err, ENOENT,
			  QEMU " is not installed: apt-get install qemu-system-x86");
	return qemu->pid < 0 ? qemu->pid : 0;
}

int qemu_start(struct qemu *qemu, const char *images, const char *state, int memory_mib,
	       struct error *err)
{
	struct args args = {0};
	int theirs[HOST_PORTS + 1], r = check_images(images, err);

	*qemu = (struct qemu){.pid = -1, .monitor = -1, .console = -1};
	for (int i = 0; i < HOST_PORTS; i++)
		qemu->ports[i] = -1;
	for (int i = 0; i <= HOST_PORTS; i++)
		theirs[i] = -1;
	if (r < 0)
		return r;
	make_args(&args, images, state, memory_mib);
	r = args.failed ? error_set(err, ENOMEM, "cannot start the emulated host")
			: run(qemu, &args, theirs, err);
	args_fini(&args);
	for (int i = 0; i <= HOST_PORTS; i++)
		if (theirs[i] >= 0)
			close(theirs[i]);
	if (r < 0)
		qemu_stop(qemu);
	return r;
}

/* All of its disks are read-only but one, where what counts has been synced. */
void qemu_stop(struct qemu *qemu)
{
	if (qemu->pid > 0) {
		kill(qemu->pid, SIGKILL);
		waitpid(qemu->pid, NULL, 0);
	}
	qemu->pid = -1;
	for (int i = 0; i < HOST_PORTS; i++)
		if (qemu->ports[i] >= 0)
			close(qemu->ports[i]);
	if (qemu->monitor >= 0)
		close(qemu->monitor);
	if (qemu->console >= 0)
		close(qemu->console);
}
