/*
 * Fuzz target: a guest's driver against the real devices, over their registers and
 * virtqueues. The input is a script: what the driver writes to registers, what it puts
 * into memory, chains that are nearly right, and what the host does meanwhile.
 *
 * Theory of operation: bytes alone would hardly ever set up a queue. So one step of the
 * script does all that a driver does up to DRIVER_OK, and one adds a chain whose parts
 * the input chooses; others then break what was set up. Guest memory is as in a large
 * machine, in two pieces with the hole between them, and lies between pages that nobody
 * may touch. A device that says -errno ends its VM, and so the input.
 */
#include "tests/fuzz/driver.h"
#include "tests/fuzz/script.h"
#include "vmctl/virtio_balloon.h"
#include "vmctl/virtio_blk.h"
#include "vmctl/virtio_console.h"
#include "vmctl/virtio_net.h"
#include "vmctl/virtio_rng.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_ring.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define RAM	    (256u << 10)
#define LOW	    (192u << 10) /* of it below the hole */
#define GUARD	    (1u << 20)
#define BUFFERS	    0x10000u
#define DISK_BYTES  (4 * DISK_CLUSTER)
#define CHAIN_PARTS 6
#define CONTROL_TX  3u /* a queue of the console: virtio 1.2, 5.3.2 */

enum { DISK_RO, DISK_RW, CONSOLE, RNG, BALLOON, NET, DEVICES };

struct world {
	struct cursor in;
	struct gmem mem;
	struct disk base, upper;
	struct conlog log;
	struct virtio_blk blk[2];
	struct virtio_console console;
	struct virtio_rng rng;
	struct virtio_balloon balloon;
	struct virtio_net net;
	struct virtio_device *device[DEVICES];
	struct virtio_device *dev; /* that the script is about */
	int agent, host;	   /* the agent's stream */
	int tap, wire;		   /* of whole frames, like a tap */
	struct error err;
};

/* Base of the guest's memory, and of the image of both disks. */
static uint8_t *ram;
static char image[32];

static void begin(void)
{
	uint8_t *room = mmap(NULL, RAM + 2 * GUARD, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int fd = memfd_create("image", MFD_CLOEXEC);

	if (room == MAP_FAILED || fd < 0 || ftruncate(fd, DISK_BYTES) < 0 ||
	    pwrite(fd, "image", 5, DISK_CLUSTER) != 5 ||
	    mprotect(room + GUARD, RAM, PROT_READ | PROT_WRITE) < 0)
		abort();
	ram = room + GUARD;
	snprintf(image, sizeof(image), "/proc/self/fd/%d", fd);
}

static void set_line(void *opaque, unsigned gsi, bool high)
{
	(void)opaque;
	(void)gsi;
	(void)high;
}

static void watch(struct virtio_console *con)
{
	(void)con;
}

static void watch_net(struct virtio_net *net)
{
	(void)net;
}

static void open_pair(int type, int *ours, int *theirs)
{
	int fds[2];

	if (socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
		abort();
	*ours = fds[0];
	*theirs = fds[1];
}

static void connect_devices(struct world *w)
{
	const struct virtio_line line = {.set = set_line};

	virtio_blk_init(&w->blk[0], &w->base, &w->mem, line);
	virtio_blk_init(&w->blk[1], &w->upper, &w->mem, line);
	virtio_console_init(&w->console, &w->log, w->agent, watch, &w->mem, line);
	virtio_rng_init(&w->rng, &w->mem, line);
	virtio_balloon_init(&w->balloon, &w->mem, line);
	virtio_net_init(&w->net, watch_net, &w->mem, line);
	w->device[DISK_RO] = &w->blk[0].dev;
	w->device[DISK_RW] = &w->blk[1].dev;
	w->device[CONSOLE] = &w->console.dev;
	w->device[RNG] = &w->rng.dev;
	w->device[BALLOON] = &w->balloon.dev;
	w->device[NET] = &w->net.dev;
	w->dev = w->device[0];
}

static void begin_world(struct world *w)
{
	memset(ram, 0, RAM);
	w->mem = (struct gmem){.base = ram, .size = RAM, .low = LOW};
	if (disk_open_image(&w->base, image, &w->err) < 0 ||
	    disk_open_layered(&w->upper, image, DISK_BYTES, &w->err) < 0)
		abort();
	open_pair(SOCK_STREAM, &w->agent, &w->host);
	open_pair(SOCK_SEQPACKET, &w->tap, &w->wire);
	connect_devices(w);
}

static void end_world(struct world *w)
{
	disk_close(&w->base);
	disk_close(&w->upper);
	close(w->agent);
	close(w->host);
	close(w->tap);
	close(w->wire);
}

static int set(struct world *w, uint64_t offset, uint32_t value)
{
	return set_register(w->dev, offset, value, &w->err);
}

/* All that a driver does, with those features that the input leaves. */
static int step_probe(void *world)
{
	struct world *w = world;
	uint64_t features = w->dev->features & ~cursor_get_u64(&w->in);
	uint32_t size = 1u << cursor_get_u8(&w->in) % 8;

	return driver_probe(w->dev, features, size, &w->err);
}

/* A gpa: of a buffer, around an end of memory, or any. */
static uint64_t get_gpa(struct world *w)
{
	static const uint64_t ends[] = {0, LOW, GMEM_HOLE_END, GMEM_HOLE_END + RAM - LOW};
	uint8_t how = cursor_get_u8(&w->in);

	if (how < 0xc0)
		return BUFFERS + how * 0x400ull;
	if (how < 0xf0)
		return ends[how % 4] + (uint64_t)(int8_t)cursor_get_u8(&w->in);
	return cursor_get_u64(&w->in);
}

static void put_available(struct world *w, unsigned queue, uint16_t head, uint16_t size)
{
	struct vring_avail *avail = gmem_ptr(&w->mem, rings_of(queue) + AVAIL_AT, 0x400);

	avail->ring[avail->idx % size] = head;
	avail->idx++;
}

static int step_chain(void *world)
{
	struct world *w = world;
	unsigned queue = cursor_get_u8(&w->in) % w->dev->ops->queues;
	uint16_t size = w->dev->queues[queue].size, head = cursor_get_u8(&w->in);
	unsigned parts = cursor_get_u8(&w->in) % CHAIN_PARTS + 1;
	struct vring_desc *desc = gmem_ptr(&w->mem, rings_of(queue), AVAIL_AT);

	if (!size || size > 0x80)
		return 0;
	for (unsigned i = 0; i < parts; i++)
		desc[(head + i) % size] = (struct vring_desc){
		    .addr = get_gpa(w),
		    .len = cursor_get_u16(&w->in),
		    .flags = (uint16_t)((cursor_get_u8(&w->in) & ~VRING_DESC_F_NEXT) |
					(i + 1 < parts ? VRING_DESC_F_NEXT : 0)),
		    .next = (uint16_t)((head + i + 1) % size),
		};
	put_available(w, queue, head % size, size);
	return set(w, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}

/* A request of a driver of disks that is right but for what the input chooses. */
static int step_request(void *world)
{
	struct world *w = world;
	struct virtio_blk_outhdr header = {.type = cursor_get_u8(&w->in) % 16,
					   .sector = cursor_get_u16(&w->in)};
	uint16_t flags = cursor_get_u8(&w->in) & VRING_DESC_F_WRITE;
	uint32_t len = cursor_get_u16(&w->in);
	struct vring_desc *desc = gmem_ptr(&w->mem, 0, AVAIL_AT);

	if (w->dev->queues[0].size < 4)
		return 0;
	gmem_write(&w->mem, BUFFERS, &header, sizeof(header));
	desc[0] = (struct vring_desc){BUFFERS, sizeof(header), VRING_DESC_F_NEXT, 1};
	desc[1] = (struct vring_desc){BUFFERS + 0x400, len, flags | VRING_DESC_F_NEXT, 2};
	desc[2] = (struct vring_desc){BUFFERS + 0x300, 1, VRING_DESC_F_WRITE, 0};
	put_available(w, 0, 0, w->dev->queues[0].size);
	return set(w, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
}

/* The next bytes of the input go to the guest's memory. */
static void poke(struct world *w, uint64_t gpa, size_t len)
{
	const void *bytes = cursor_get_raw(&w->in, len);

	if (bytes)
		gmem_write(&w->mem, gpa, bytes, len);
}

static int step_poke(void *world)
{
	struct world *w = world;
	uint64_t gpa = cursor_get_u8(&w->in) & 1 ? get_gpa(w) : cursor_get_u16(&w->in);

	poke(w, gpa, cursor_get_u8(&w->in));
	return 0;
}

static int step_register(void *world)
{
	struct world *w = world;
	uint8_t offset = cursor_get_u8(&w->in);

	return set(w, offset & ~3u, cursor_get_u32(&w->in));
}

/* Any offset of the window, any width that a CPU has. */
static int step_access(void *world)
{
	struct world *w = world;
	uint64_t offset = cursor_get_u16(&w->in) & 0xfff, value;
	uint8_t how = cursor_get_u8(&w->in);
	unsigned len = 1u << how % 4;

	if (how & 4) {
		virtio_mmio_read(w->dev, offset, &value, len);
		return 0;
	}
	value = cursor_get_u64(&w->in);
	return virtio_mmio_write(w->dev, offset, &value, len, &w->err);
}

static int step_device(void *world)
{
	struct world *w = world;
	w->dev = w->device[cursor_get_u8(&w->in) % DEVICES];
	return 0;
}

/* The host's side of the agent's stream has bytes, takes some, or ends. */
static int step_stream(void *world)
{
	struct world *w = world;
	static uint8_t bytes[8192];
	uint8_t how = cursor_get_u8(&w->in);
	size_t len = (how >> 2) * 128u + 1;

	if ((how & 3) == 0)
		shutdown(w->host, SHUT_RDWR);
	else if ((how & 3) == 1)
		while (read(w->host, bytes, sizeof(bytes)) > 0)
			;
	else if (send(w->host, bytes, len, MSG_NOSIGNAL) < 0)
		return 0;
	return virtio_console_ready(&w->console, &w->err);
}

/* A control message of the console's driver, such as that a port is open. */
static int step_control(void *world)
{
	struct world *w = world;
	struct virtio_console_control message = {.id = cursor_get_u8(&w->in) % 3,
						 .event = cursor_get_u8(&w->in) % 9,
						 .value = cursor_get_u8(&w->in) % 2};
	struct vring_desc *desc = gmem_ptr(&w->mem, rings_of(CONTROL_TX), AVAIL_AT);
	uint16_t size = w->console.dev.queues[CONTROL_TX].size;

	if (w->dev != w->device[CONSOLE] || !size || size > 0x80)
		return 0;
	gmem_write(&w->mem, BUFFERS, &message, sizeof(message));
	desc[0] = (struct vring_desc){.addr = BUFFERS, .len = sizeof(message)};
	put_available(w, CONTROL_TX, 0, size);
	return set(w, VIRTIO_MMIO_QUEUE_NOTIFY, CONTROL_TX);
}

/* A frame comes to the tap, with a header that the input has the beginning of. */
static void put_frame(struct world *w, size_t len)
{
	static struct net_frame frame;
	size_t given = cursor_get_u8(&w->in) % (sizeof(frame.header) + 1);
	const void *header = cursor_get_raw(&w->in, given);

	memset(&frame.header, 0, sizeof(frame.header));
	if (header)
		memcpy(&frame.header, header, given);
	send(w->wire, &frame, len, MSG_NOSIGNAL);
}

static int step_tap(void *world)
{
	static uint8_t bytes[NET_FRAME_MAX];
	struct world *w = world;
	uint8_t how = cursor_get_u8(&w->in);

	if (how % 4 == 0)
		virtio_net_connect(&w->net, how & 4 ? -1 : w->tap);
	else if (how % 4 == 1)
		while (read(w->wire, bytes, sizeof(bytes)) > 0)
			;
	else
		put_frame(w, how & 4 ? cursor_get_u16(&w->in) : how);
	return virtio_net_ready(&w->net, &w->err);
}

/* A frame of the guest's, whose header the input has the beginning of. */
static int step_frame(void *world)
{
	struct world *w = world;
	unsigned parts = cursor_get_u8(&w->in) % CHAIN_PARTS + 1;
	size_t given = cursor_get_u8(&w->in) % 16;
	struct vring_desc *desc = gmem_ptr(&w->mem, rings_of(1), AVAIL_AT);
	uint16_t size = w->net.dev.queues[1].size;

	if (w->dev != w->device[NET] || size < CHAIN_PARTS || size > 0x80)
		return 0;
	poke(w, BUFFERS, given);
	for (unsigned i = 0; i < parts; i++)
		desc[i] = (struct vring_desc){
		    .addr = BUFFERS + i * 0x400,
		    .len = cursor_get_u16(&w->in),
		    .flags = i + 1 < parts ? VRING_DESC_F_NEXT : 0,
		    .next = (uint16_t)(i + 1),
		};
	put_available(w, 1, 0, size);
	return set(w, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
}

/* The disk's top becomes a layer, as before a fork. */
static int step_seal(void *world)
{
	struct world *w = world;
	if (disk_seal(&w->upper, &w->err) < 0)
		abort();
	return 0;
}

/* As a machine that is frozen, and thawed in another process. */
static int step_save(void *world)
{
	struct world *w = world;
	uint8_t room[1024];
	struct cursor c = cursor_into(room, sizeof(room));
	uint64_t features = w->dev->features;
	int r;

	virtio_save(w->dev, &c);
	if (c.overflow)
		abort();
	c = cursor_over(room, sizeof(room) - cursor_left(&c));
	virtio_init(w->dev, w->dev->ops, w->dev->mem, w->dev->line, features,
		    w->dev->config, w->dev->config_len);
	r = virtio_load(w->dev, &c);
	if (r < 0 || !cursor_done(&c))
		return -EBADMSG;
	return virtio_wake(w->dev, &w->err);
}

static script_step *const steps[] = {
    step_probe,	 step_chain, step_poke, step_register, step_access,  step_device,
    step_stream, step_seal,  step_save, step_request,  step_chain,   step_poke,
    step_device, step_tap,   step_tap,	step_frame,    step_control,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world w;

	if (!ram)
		begin();
	w = (struct world){.in = cursor_over(data, size)};
	conlog_init(&w.log);
	begin_world(&w);
	script_run(&w.in, steps, sizeof(steps) / sizeof(steps[0]), &w);
	end_world(&w);
	return 0;
}
