/*
 * Fuzz target: the file of a frozen machine, through all that resumes one but KVM.
 *
 * Theory of operation: a checksum would stop every change, and one wrong byte at the
 * beginning all that is behind. So the input says of each section of a good file whether
 * it stays, is changed in a few bytes, or is another one; the real writer writes them.
 * Then come changes of the header, whose sum is put right again. Memory and disk are as
 * long as the input says, and begin as what it ends with: that is what the devices of the
 * machine, which its driver had set up, find in their rings when they wake. Of KVM, which
 * takes the registers at the end, nothing is there.
 */
#include "tests/fuzz/driver.h"
#include "tests/fuzz/script.h"
#include "util/io.h"
#include "vmctl/machine.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define IMAGE_BYTES    (16 * SNAPSHOT_PAGE)
#define PAGES_MAX      16u
#define MEMORY_BYTES   (PAGES_MAX * SNAPSHOT_PAGE)
#define QUEUE_SIZE     8
#define CLUSTERS_MAX   2u
#define HEADER_FIELDS  (24u + SNAPSHOT_KINDS * 24u) /* bytes of it that mean something */
#define HEADER_CHANGES 4
#define SUM_AT	       (SNAPSHOT_PAGE - 8)

/* In place of KVM's, by the linker's --wrap. */
int __wrap_kvm_open(struct kvm_vm *kvm, struct error *err);
int __wrap_kvm_vm_make(struct kvm_vm *kvm, const struct gmem *mem, struct error *err);
bool __wrap_kvm_state_fits(const struct kvm_state *state, int vm_fd);
int __wrap_vcpus_restore(struct vcpus *all, const struct kvm_vm *kvm,
			 const struct kvm_state *state, struct error *err);
void __wrap_kvm_set_irq(const struct kvm_vm *kvm, unsigned gsi, bool high);

int __wrap_kvm_open(struct kvm_vm *kvm, struct error *err)
{
	(void)err;
	*kvm = (struct kvm_vm){.dev_fd = -1, .vm_fd = -1};
	return 0;
}

int __wrap_kvm_vm_make(struct kvm_vm *kvm, const struct gmem *mem, struct error *err)
{
	(void)kvm;
	(void)mem;
	(void)err;
	return 0;
}

bool __wrap_kvm_state_fits(const struct kvm_state *state, int vm_fd)
{
	(void)state;
	(void)vm_fd;
	return true;
}

int __wrap_vcpus_restore(struct vcpus *all, const struct kvm_vm *kvm,
			 const struct kvm_state *state, struct error *err)
{
	(void)kvm;
	(void)err;
	if (all->count != state->vcpu_count)
		abort();
	return 0;
}

void __wrap_kvm_set_irq(const struct kvm_vm *kvm, unsigned gsi, bool high)
{
	(void)kvm;
	(void)gsi;
	(void)high;
}

static char image[32];

/* The sections of the file of a good machine. */
static struct {
	void *data;
	size_t len;
} good[SNAPSHOT_KINDS];

static void watch(struct virtio_console *con)
{
	(void)con;
}

static void watch_net(struct virtio_net *net)
{
	(void)net;
}

static void make_image(void)
{
	int fd = memfd_create("image", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, IMAGE_BYTES) < 0 || pwrite(fd, "image", 5, 0) != 5)
		abort();
	snprintf(image, sizeof(image), "/proc/self/fd/%d", fd);
}

/* A machine whose driver has set up all devices. */
static void make_machine(struct machine *m)
{
	const struct machine_config config = {
	    .agent_fd = -1, .watch = watch, .watch_net = watch_net};
	struct error err;

	if (gmem_init(&m->mem, MEMORY_BYTES, &err) < 0 ||
	    disk_open_image(&m->base, image, &err) < 0 ||
	    disk_open_layered(&m->upper, image, CLUSTERS_MAX * DISK_CLUSTER, &err) < 0)
		abort();
	conlog_init(&m->log);
	m->vcpus.count = 1;
	machine_connect(m, &config);
	for (unsigned i = 0; i < MACHINE_WINDOWS; i++)
		if (driver_probe(m->window[i], m->window[i]->features, QUEUE_SIZE, &err))
			abort();
}

static void make_good(void)
{
	static struct machine m;
	static struct kvm_cpuid2 cpuid;
	static struct kvm_msr_entry msr;
	static struct kvm_state state = {
	    .vcpu_count = 1, .msr_count = 1, .vcpu[0] = {.cpuid = &cpuid, .msrs = &msr}};
	const struct machine_origin origin = {.template = "default",
					      .group = "",
					      .base = "",
					      .base_fd = -1,
					      .pagemap_fd = -1};
	int fd = memfd_create("good", MFD_CLOEXEC);
	struct snapshot s;
	struct error err;
	uint64_t bytes;

	make_machine(&m);
	if (machine_freeze(&m, &state, &origin, fd, NULL, &bytes, &err) < 0 ||
	    snapshot_open(&s, fd, NULL, &err) < 0)
		abort();
	for (int kind = SNAPSHOT_CONFIG; kind < SNAPSHOT_KINDS; kind++) {
		good[kind].data = snapshot_load(&s, kind, SIZE_MAX, &good[kind].len, &err);
		if (!good[kind].data)
			abort();
	}
	close(fd);
}

static void put(struct snapshot_writer *w, enum snapshot_kind kind, const void *data,
		size_t len)
{
	struct error err;

	if (snapshot_put(w, kind, data, len, &err) < 0)
		abort();
}

static void put_changed(struct snapshot_writer *w, struct cursor *in,
			enum snapshot_kind kind)
{
	uint8_t *data = malloc(good[kind].len + 1);
	unsigned changes = cursor_get_u8(in) % 8;

	memcpy(data, good[kind].data, good[kind].len);
	while (changes-- && good[kind].len) {
		size_t at = cursor_get_u16(in) % good[kind].len;

		data[at] = cursor_get_u8(in);
	}
	put(w, kind, data, good[kind].len);
	free(data);
}

static void put_other(struct snapshot_writer *w, struct cursor *in, enum snapshot_kind kind)
{
	size_t len = cursor_get_u16(in);

	if (len > cursor_left(in))
		len = cursor_left(in);
	put(w, kind, cursor_get_raw(in, len), len);
}

static void put_section(struct snapshot_writer *w, struct cursor *in,
			enum snapshot_kind kind)
{
	uint8_t how = cursor_get_u8(in) % 4;

	if (how == 3)
		put_other(w, in, kind);
	else if (how)
		put_changed(w, in, kind);
	else
		put(w, kind, good[kind].data, good[kind].len);
}

/* All units of @kind from the first on, unless the input has other runs. */
static void put_runs(struct snapshot_writer *w, struct cursor *in, enum snapshot_kind kind,
		     unsigned count)
{
	const struct snapshot_run run = {.count = count};

	if (cursor_get_u8(in) % 4 == 3)
		put_other(w, in, kind);
	else
		put(w, kind, &run, count ? sizeof(run) : 0);
}

/* What the guest has in its memory: pieces, each with where it lies. */
static void put_memory(struct snapshot_writer *w, struct cursor *in, unsigned pages)
{
	static uint8_t memory[MEMORY_BYTES];

	memset(memory, 0, sizeof(memory));
	while (cursor_left(in) && !in->overflow) {
		size_t at = cursor_get_u16(in), len = cursor_get_u8(in);
		const void *bytes = cursor_get_raw(in, len);

		if (bytes && at + len <= sizeof(memory))
			memcpy(memory + at, bytes, len);
	}
	put(w, SNAPSHOT_MEMORY, memory, pages * SNAPSHOT_PAGE);
}

/* Bytes of the header are changed; nobody could who does not put its sum right as well. */
static void change_header(int fd, struct cursor *in)
{
	uint8_t header[SNAPSHOT_PAGE];
	unsigned changes = cursor_get_u8(in) % HEADER_CHANGES;
	struct cursor sum = cursor_into(header + SUM_AT, 8);

	if (!changes || io_pread_all(fd, header, sizeof(header), 0) < 0)
		return;
	while (changes--) {
		unsigned at = cursor_get_u8(in) % HEADER_FIELDS;

		header[at] = cursor_get_u8(in);
	}
	cursor_put_u64(&sum, XXH3_64bits(header, SUM_AT));
	io_pwrite_all(fd, header, sizeof(header), 0);
}

/* Return: the file of a machine that is what the input says. */
static int make_file(struct cursor *in)
{
	int fd = memfd_create("frozen", MFD_CLOEXEC);
	static const uint8_t zeros[CLUSTERS_MAX * DISK_CLUSTER];
	struct snapshot_writer w;
	struct cursor header;
	unsigned pages = cursor_get_u8(in) % (PAGES_MAX + 1);
	unsigned clusters = cursor_get_u8(in) % (CLUSTERS_MAX + 1);
	struct error err;

	if (fd < 0 || snapshot_begin(&w, fd, NULL, &err) < 0)
		abort();
	put_section(&w, in, SNAPSHOT_CONFIG);
	put_section(&w, in, SNAPSHOT_KVM);
	put_section(&w, in, SNAPSHOT_DEVICES);
	put_section(&w, in, SNAPSHOT_LOG);
	put_runs(&w, in, SNAPSHOT_RUNS, pages);
	put_runs(&w, in, SNAPSHOT_CLUSTERS, clusters);
	put(&w, SNAPSHOT_DISK, zeros, clusters * DISK_CLUSTER);
	header = *in;
	cursor_get_raw(in, 2ull * (cursor_get_u8(in) % HEADER_CHANGES));
	put_memory(&w, in, pages);
	if (snapshot_commit(&w, &err) < 0)
		abort();
	snapshot_end(&w);
	change_header(fd, &header);
	return fd;
}

static void thaw(int fd)
{
	static struct machine m;
	struct machine_config config = {
	    .base = image, .watch = watch, .watch_net = watch_net};
	struct error err = {0};
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
		abort();
	memset(&m, 0, sizeof(m));
	config.agent_fd = fds[0];
	if (machine_open(&m, &config, &err) < 0)
		abort();
	/* With itself as the one that it was compared with, too. */
	if (machine_thaw(&m, &config, fd, fd, NULL, &err) < 0 && !err.text[0])
		abort();
	gmem_fini(&m.mem);
	if (m.base.layers)
		disk_close(&m.base);
	if (m.upper.layers)
		disk_close(&m.upper);
	close(fds[0]);
	close(fds[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cursor in = cursor_over(data, size);
	struct snapshot s;
	struct error err;
	int fd;

	if (!image[0]) {
		make_image();
		make_good();
	}
	fd = make_file(&in);
	json_decref(snapshot_peek(&s, fd, &err));
	thaw(fd);
	close(fd);
	return 0;
}
