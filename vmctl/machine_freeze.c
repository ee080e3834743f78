/*
 * A machine in a snapshot, and back.
 *
 * Theory of operation
 *
 * The sections are independent of each other but for their sizes, which SNAPSHOT_CONFIG
 * has. The template's image is not stored. It is known by its size and a sum over parts of
 * it, since a guest must not wake up on another one. The other snapshot that the memory was
 * compared with is known by its header's sum, and so by all that is in it.
 */
#include "vmctl/machine.h"

#include "util/cleanup.h"
#include "util/io.h"

#include <errno.h>
#include <string.h>

#define DEVICES_MAX (64u << 10)
#define SAMPLES	    256u /* pages of the image that its sum is over */

/* Return: a sum that another image has with no luck at all, or -errno. */
static int sum_image(struct disk *disk, uint64_t *sum, struct error *err)
{
	XXH3_state_t *hash = XXH3_createState();
	uint64_t pages = disk->size / SNAPSHOT_PAGE, step = pages / SAMPLES + 1;
	uint8_t page[SNAPSHOT_PAGE];
	int r = hash ? 0 : -ENOMEM;

	if (hash)
		XXH3_64bits_reset(hash);
	for (uint64_t i = 0; i < pages && r == 0; i += step) {
		struct iovec iov = {.iov_base = page, .iov_len = sizeof(page)};
		struct iov_cursor cur = iov_at(&iov, 1);

		r = disk_read(disk, i * SNAPSHOT_PAGE, &cur, sizeof(page));
		if (r == 0)
			XXH3_64bits_update(hash, page, sizeof(page));
	}
	*sum = r == 0 ? XXH3_64bits_digest(hash) : 0;
	XXH3_freeState(hash);
	return r < 0 ? error_set(err, -r, "cannot read the template's image") : 0;
}

static json_t *describe(struct machine *m, const struct machine_origin *origin,
			const struct snapshot *base, uint64_t image)
{
	return json_pack(
	    "{s:s, s:s, s:s, s:I, s:I, s:I, s:i, s:I, s:I}", "template", origin->template,
	    "group", origin->group, "base", base ? origin->base : "", "base_sum",
	    (json_int_t)(base ? base->sum : 0), "memory", (json_int_t)m->mem.size, "disk",
	    (json_int_t)m->upper.size, "vcpus", (int)m->vcpus.count, "image",
	    (json_int_t)m->base.size, "image_sum", (json_int_t)image);
}

static void save_devices(const struct machine *m, struct cursor *c)
{
	const struct uart *uart = &m->uart;
	const struct virtio_console *con = &m->console;

	for (unsigned i = 0; i < MACHINE_WINDOWS; i++)
		virtio_save(m->window[i], c);
	cursor_put_u8(c, uart->ier);
	cursor_put_u8(c, uart->lcr);
	cursor_put_u8(c, uart->mcr);
	cursor_put_u8(c, uart->scr);
	cursor_put_u8(c, uart->fcr);
	cursor_put_raw(c, uart->divisor, sizeof(uart->divisor));
	cursor_put_u8(c, uart->thr_empty);
	cursor_put_u8(c, uart->line_high);
	for (unsigned i = 0; i < CONSOLE_PORTS; i++)
		cursor_put_u32(c, con->pending[i]);
	cursor_put_u8(c, con->agent_open);
	cursor_put_u32(c, con->sent);
}

static int load_devices(struct machine *m, struct cursor *c)
{
	struct uart *uart = &m->uart;
	struct virtio_console *con = &m->console;
	const void *divisor;
	int r = 0;

	for (unsigned i = 0; i < MACHINE_WINDOWS && r == 0; i++)
		r = virtio_load(m->window[i], c);
	uart->ier = cursor_get_u8(c);
	uart->lcr = cursor_get_u8(c);
	uart->mcr = cursor_get_u8(c);
	uart->scr = cursor_get_u8(c);
	uart->fcr = cursor_get_u8(c);
	divisor = cursor_get_raw(c, sizeof(uart->divisor));
	if (divisor)
		memcpy(uart->divisor, divisor, sizeof(uart->divisor));
	uart->thr_empty = cursor_get_u8(c);
	uart->line_high = cursor_get_u8(c);
	for (unsigned i = 0; i < CONSOLE_PORTS; i++)
		con->pending[i] = cursor_get_u32(c);
	con->agent_open = cursor_get_u8(c);
	con->sent = cursor_get_u32(c);
	return r == 0 && cursor_done(c) ? 0 : -EBADMSG;
}

static int put_devices(struct machine *m, struct snapshot_writer *w, struct error *err)
{
	uint8_t bytes[8192];
	struct cursor c = cursor_into(bytes, sizeof(bytes));

	pthread_mutex_lock(&m->lock);
	save_devices(m, &c);
	pthread_mutex_unlock(&m->lock);
	if (c.overflow)
		return error_say(err, E2BIG, "the machine's devices do not fit");
	return snapshot_put(w, SNAPSHOT_DEVICES, bytes, sizeof(bytes) - cursor_left(&c),
			    err);
}

static int put_kvm(const struct kvm_state *state, struct snapshot_writer *w,
		   struct error *err)
{
	cleanup_free void *bytes = malloc(KVM_STATE_BYTES_MAX);
	size_t len = bytes ? kvm_state_save(state, bytes, KVM_STATE_BYTES_MAX) : 0;

	return len ? snapshot_put(w, SNAPSHOT_KVM, bytes, len, err)
		   : error_say(err, ENOMEM, "no memory for the guest's registers");
}

static int put_log(struct machine *m, struct snapshot_writer *w, struct error *err)
{
	cleanup_free char *text = malloc(CONLOG_SIZE + 1);

	if (!text)
		return error_set(err, ENOMEM, "cannot write the machine's file");
	conlog_text(&m->log, text);
	return snapshot_put(w, SNAPSHOT_LOG, text, strlen(text), err);
}

/* The memory of the snapshot in @fd, which has to be of @size. */
static int map_base(struct gmem *base, struct snapshot *s, int fd, uint64_t size,
		    snapshot_progress_fn *progress, struct error *err)
{
	json_t *config = NULL;
	int r = snapshot_open(s, fd, progress, err);

	if (r == 0)
		config = snapshot_load_json(s, SNAPSHOT_CONFIG, err);
	if (!config)
		return err->code;
	if (json_integer_value(json_object_get(config, "memory")) != (json_int_t)size)
		r = error_say(err, EINVAL, "the other machine is of another size");
	json_decref(config);
	if (r == 0)
		r = gmem_init(base, size, err);
	return r ? r : gmem_map(base, s, err);
}

static int put_memory(struct machine *m, const struct machine_origin *origin,
		      struct snapshot_writer *w, struct error *err)
{
	struct gmem base = {0};
	struct snapshot s;
	uint64_t image;
	int r = sum_image(&m->base, &image, err);

	if (r == 0 && origin->base_fd >= 0)
		r = map_base(&base, &s, origin->base_fd, m->mem.size, w->progress, err);
	if (r == 0)
		r = snapshot_put_json(
		    w, SNAPSHOT_CONFIG,
		    describe(m, origin, origin->base_fd >= 0 ? &s : NULL, image), err);
	if (r == 0)
		r = gmem_save(&m->mem, base.base ? &base : NULL, origin->pagemap_fd, w,
			      err);
	gmem_fini(&base);
	return r;
}

static int put_rest(struct machine *m, const struct kvm_state *state,
		    struct snapshot_writer *w, struct error *err)
{
	int r = put_kvm(state, w, err);

	if (r == 0)
		r = put_devices(m, w, err);
	if (r == 0)
		r = put_log(m, w, err);
	return r ? r : disk_save(&m->upper, w, err);
}

/* @state: NULL for memory alone. */
static int put_machine(struct machine *m, const struct kvm_state *state,
		       const struct machine_origin *origin, int fd,
		       snapshot_progress_fn *progress, uint64_t *bytes, struct error *err)
{
	struct snapshot_writer w;
	int r = snapshot_begin(&w, fd, progress, err);

	if (r == 0)
		r = put_memory(m, origin, &w, err);
	if (r == 0 && state)
		r = put_rest(m, state, &w, err);
	if (r == 0)
		r = snapshot_commit(&w, err);
	*bytes = w.snapshot.len;
	snapshot_end(&w);
	return r;
}

int machine_freeze(struct machine *m, const struct kvm_state *state,
		   const struct machine_origin *origin, int fd,
		   snapshot_progress_fn *progress, uint64_t *bytes, struct error *err)
{
	return put_machine(m, state, origin, fd, progress, bytes, err);
}

int machine_save_memory(struct machine *m, const struct machine_origin *origin, int fd,
			snapshot_progress_fn *progress, uint64_t *bytes, struct error *err)
{
	return put_machine(m, NULL, origin, fd, progress, bytes, err);
}

struct saved {
	struct snapshot s;
	json_int_t memory, disk, image, image_sum, base_sum;
	int vcpus;
	const char *base;
	json_t *config;
};

static int read_config(struct saved *saved, struct error *err)
{
	saved->config = snapshot_load_json(&saved->s, SNAPSHOT_CONFIG, err);
	if (!saved->config)
		return err->code;
	if (json_unpack(saved->config, "{s:s, s:I, s:I, s:I, s:i, s:I, s:I}", "base",
			&saved->base, "base_sum", &saved->base_sum, "memory",
			&saved->memory, "disk", &saved->disk, "vcpus", &saved->vcpus,
			"image", &saved->image, "image_sum", &saved->image_sum) < 0 ||
	    saved->memory <= 0 || saved->disk <= 0 || saved->vcpus <= 0 ||
	    saved->disk % (json_int_t)DISK_SECTOR)
		return error_say(err, EBADMSG, "the frozen machine's description is wrong");
	return 0;
}

static int load_memory(struct machine *m, const struct saved *saved, int base_fd,
		       snapshot_progress_fn *progress, struct error *err)
{
	struct snapshot base = {0};
	int r;

	if (!saved->base[0])
		r = gmem_init(&m->mem, (uint64_t)saved->memory, err);
	else
		r = map_base(&m->mem, &base, base_fd, (uint64_t)saved->memory, progress,
			     err);
	if (r == 0 && saved->base[0] && base.sum != (uint64_t)saved->base_sum)
		r = error_say(err, EBADMSG,
			      "the machine that this one was compared with when it was "
			      "frozen is not what it was");
	return r ? r : gmem_map(&m->mem, &saved->s, err);
}

static int load_disks(struct machine *m, const struct saved *saved, struct error *err)
{
	uint64_t sum;
	int r = sum_image(&m->base, &sum, err);

	if (r == 0 &&
	    (m->base.size != (uint64_t)saved->image || sum != (uint64_t)saved->image_sum))
		r = error_say(err, ESTALE,
			      "the image of its template has been replaced since it was "
			      "frozen: put the former one back to resume it");
	return r ? r : disk_open_saved(&m->upper, &saved->s, (uint64_t)saved->disk, err);
}

static int load_state(struct machine *m, const struct saved *saved, struct kvm_state *state,
		      struct error *err)
{
	size_t len, log_len;
	cleanup_free void *kvm =
	    snapshot_load(&saved->s, SNAPSHOT_KVM, KVM_STATE_BYTES_MAX, &len, err);
	cleanup_free void *devices = NULL;
	cleanup_free char *log = NULL;
	struct cursor c;

	if (!kvm)
		return err->code;
	if (kvm_state_load(state, kvm, len) < 0 ||
	    state->vcpu_count != (unsigned)saved->vcpus)
		return error_say(err, EBADMSG, "the frozen machine's registers are wrong");
	devices = snapshot_load(&saved->s, SNAPSHOT_DEVICES, DEVICES_MAX, &len, err);
	log = devices ? snapshot_load(&saved->s, SNAPSHOT_LOG, CONLOG_SIZE, &log_len, err)
		      : NULL;
	if (!log)
		return err->code;
	c = cursor_over(devices, len);
	if (load_devices(m, &c) < 0)
		return error_say(err, EBADMSG, "the frozen machine's devices are wrong");
	conlog_write(&m->log, log, log_len);
	return 0;
}

/* As machine_enter(), for a KVM that may be another one. */
static int enter(struct machine *m, const struct kvm_state *state, struct error *err)
{
	int r = kvm_vm_make(&m->kvm, &m->mem, err);

	if (r == 0 && !kvm_state_fits(state, m->kvm.vm_fd))
		r = error_say(err, ENOTSUP, "it was frozen under another kind of KVM");
	if (r == 0)
		r = vcpus_restore(&m->vcpus, &m->kvm, state, err);
	return r ? r : machine_wake_devices(m, err);
}

static int thaw(struct machine *m, const struct machine_config *config, struct saved *saved,
		struct kvm_state *state, int base_fd, snapshot_progress_fn *progress,
		struct error *err)
{
	int r = read_config(saved, err);

	if (r == 0)
		r = load_memory(m, saved, base_fd, progress, err);
	if (r == 0)
		r = load_disks(m, saved, err);
	if (r < 0)
		return r;
	machine_connect(m, config);
	r = vcpus_prepare(&m->vcpus, (unsigned)saved->vcpus, machine_vcpu_ops(), m, err);
	if (r == 0)
		r = load_state(m, saved, state, err);
	return r ? r : enter(m, state, err);
}

int machine_thaw(struct machine *m, const struct machine_config *config, int fd,
		 int base_fd, snapshot_progress_fn *progress, struct error *err)
{
	struct kvm_state state = {0};
	struct saved saved = {0};
	int r = snapshot_open(&saved.s, fd, progress, err);

	m->dead = config->dead;
	conlog_init(&m->log);
	if (r == 0)
		r = thaw(m, config, &saved, &state, base_fd, progress, err);
	kvm_state_fini(&state);
	json_decref(saved.config);
	return r;
}
