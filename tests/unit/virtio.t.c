/*
 * The virtio devices as a driver sees them: through registers and rings alone,
 * from a driver that keeps the rules and from one that does not.
 */
#include "tests/unit/virtio_driver.h"
#include "util/io.h"
#include "vmctl/virtio_blk.h"
#include "vmctl/virtio_console.h"
#include "vmctl/virtio_rng.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static unsigned watches;

static void test_registers(void)
{
	struct virtio_rng rng;
	struct virtio_device *dev = &rng.dev;
	uint8_t byte = 0xee;

	virtio_rng_init(&rng, &mem, line);
	is_int(reg(dev, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976, "magic");
	is_int(reg(dev, VIRTIO_MMIO_VERSION), 2, "version");
	is_int(reg(dev, VIRTIO_MMIO_DEVICE_ID), 4, "an entropy device");
	is_int(reg(dev, VIRTIO_MMIO_QUEUE_NUM_MAX), 8, "its queue");
	set(dev, VIRTIO_MMIO_QUEUE_SEL, 1);
	is_int(reg(dev, VIRTIO_MMIO_QUEUE_NUM_MAX), 0, "it has one only");
	is_int(set_queue(dev, UINT32_MAX, 0), 0, "setting up another one does nothing");
	virtio_mmio_read(dev, VIRTIO_MMIO_MAGIC_VALUE, &byte, 1);
	is_int(byte, 0, "a narrow read is zero");
	is_int(reg(dev, 0xffc), 0, "and so is what is not there");
	is_int(virtio_mmio_write(dev, VIRTIO_MMIO_STATUS, &byte, 1, &err), 0,
	       "a narrow write does nothing");
	is_int(reg(dev, VIRTIO_MMIO_STATUS), 0, "nothing indeed");
}

static void test_negotiation(void)
{
	struct virtio_rng rng;
	struct virtio_device *dev = &rng.dev;
	uint64_t version_1 = 1ull << VIRTIO_F_VERSION_1;

	virtio_rng_init(&rng, &mem, line);
	is_int(offered(dev), version_1, "VERSION_1 is offered");
	ok(!(negotiate(dev, 0) & VIRTIO_CONFIG_S_FEATURES_OK), "and must be taken");
	go(dev);
	ok(!virtio_running(dev), "no DRIVER_OK without FEATURES_OK");
	ok(!(negotiate(dev, version_1 | 1) & VIRTIO_CONFIG_S_FEATURES_OK),
	   "what is not offered must not be taken");
	ok(negotiate(dev, version_1) & VIRTIO_CONFIG_S_FEATURES_OK, "so it is right");
}

static void test_bad_queue(void)
{
	struct virtio_rng rng;

	virtio_rng_init(&rng, &mem, line);
	probe(&rng.dev);
	negotiate(&rng.dev, offered(&rng.dev));
	is_int(set_queue(&rng.dev, 0, UINT64_MAX - 15), -EPROTO,
	       "a queue outside of memory");
	is_str(err.text,
	       "the guest broke the rules of virtio-rng: its descriptor table is not in "
	       "memory",
	       "the reason names the device");
}

static void test_interrupts(void)
{
	struct virtio_console con;
	struct conlog *log = calloc(1, sizeof(*log));
	struct iovec iov = {buffer(0), 3};

	conlog_init(log);
	virtio_console_init(&con, log, -1, NULL, &mem, line);
	memset(mem.base, 0, RAM);
	memset(taken, 0, sizeof(taken));
	negotiate(&con.dev, 1ull << VIRTIO_F_VERSION_1);
	for (unsigned i = 0; i < 6; i++)
		set_queue(&con.dev, i, desc_at(i));
	line_changes = 0;
	memcpy(buffer(0), "abc", 3);
	chain(1, 0, &iov, 1, 0);
	notify(&con.dev, 1);
	is_int(log->total, 0, "a notify before DRIVER_OK waits");
	go(&con.dev);
	is_int(log->total, 3, "and is served with DRIVER_OK");
	ok(line_high, "the interrupt line is high");
	chain(1, 0, &iov, 1, 0);
	notify(&con.dev, 1);
	is_int(line_changes, 1, "and not raised twice");
	is_int(reg(&con.dev, VIRTIO_MMIO_INTERRUPT_STATUS), 1, "the status says why");
	set(&con.dev, VIRTIO_MMIO_INTERRUPT_ACK, 1);
	ok(!line_high, "acknowledging lowers it");
	avail_ring(1)->flags = VRING_AVAIL_F_NO_INTERRUPT;
	chain(1, 0, &iov, 1, 0);
	notify(&con.dev, 1);
	ok(!line_high, "no interrupt when the driver wants none");
	avail_ring(1)->flags = 0;
	chain(1, 0, &iov, 1, 0);
	notify(&con.dev, 1);
	set(&con.dev, VIRTIO_MMIO_STATUS, 0);
	ok(!line_high, "reset lowers the line");
	is_int(reg(&con.dev, VIRTIO_MMIO_QUEUE_READY), 0, "and forgets the queues");
	free(log);
}

static void test_rng(void)
{
	struct virtio_rng rng;
	struct iovec iov[2] = {{buffer(0), 5}, {buffer(1), 0x10000}};

	virtio_rng_init(&rng, &mem, line);
	probe(&rng.dev);
	chain(0, 0, iov, 0, 2);
	is_int(notify(&rng.dev, 0), 0, "rng: a request");
	is_int(next_used(0), 256, "rng: gives 256 bytes at most");
	ok(memcmp(buffer(1), mem.base, 200) != 0, "rng: which are not zeros");
}

static struct virtio_blk blk;
static struct disk disk;

/* One request. Return: its status byte, or -1 when it was not finished. */
static int request(uint32_t type, uint64_t sector, struct iovec data, bool in)
{
	struct virtio_blk_outhdr *header = (void *)buffer(10);
	uint8_t *status = buffer(11);
	struct iovec iov[3] = {{header, sizeof(*header)}, data, {status, 1}};

	*header = (struct virtio_blk_outhdr){.type = type, .sector = sector};
	*status = 0xee;
	if (!data.iov_len)
		iov[1] = iov[2];
	chain(0, 0, iov, data.iov_len && !in ? 2 : 1, data.iov_len && in ? 2 : 1);
	if (notify(&blk.dev, 0) < 0 || next_used(0) < 0)
		return -1;
	return *status;
}

static void test_blk(void)
{
	struct iovec data = {buffer(0), 0x2000}, none = {0};
	struct iovec odd = {buffer(0), 700};
	uint64_t last = disk.size / DISK_SECTOR - 1;
	struct virtio_blk_discard_write_zeroes *range = (void *)buffer(2);
	struct iovec ranges = {range, sizeof(*range)};

	virtio_blk_init(&blk, &disk, &mem, line);
	probe(&blk.dev);
	is_int(reg(&blk.dev, VIRTIO_MMIO_CONFIG), disk.size / DISK_SECTOR, "blk: capacity");
	memset(buffer(0), 7, 0x2000);
	is_int(request(VIRTIO_BLK_T_OUT, 100, data, false), VIRTIO_BLK_S_OK,
	       "blk: a write");
	memset(buffer(0), 0, 0x2000);
	is_int(request(VIRTIO_BLK_T_IN, 100, data, true), VIRTIO_BLK_S_OK, "blk: a read");
	is_int(buffer(0)[0x1fff], 7, "blk: reads what was written");
	is_int(request(VIRTIO_BLK_T_FLUSH, 0, none, true), VIRTIO_BLK_S_OK, "blk: a flush");
	is_int(request(VIRTIO_BLK_T_IN, last, data, true), VIRTIO_BLK_S_IOERR,
	       "blk: no read across the end");
	is_int(request(VIRTIO_BLK_T_OUT, UINT64_MAX, data, false), VIRTIO_BLK_S_IOERR,
	       "blk: no write at the end of all numbers");
	is_int(request(VIRTIO_BLK_T_IN, UINT64_MAX / 512 + 1, data, true),
	       VIRTIO_BLK_S_IOERR, "blk: no sector that wraps around");
	is_int(request(VIRTIO_BLK_T_IN, 0, odd, true), VIRTIO_BLK_S_IOERR,
	       "blk: no part of a sector");
	is_int(request(99, 0, none, true), VIRTIO_BLK_S_UNSUPP, "blk: no unknown request");
	odd.iov_len = VIRTIO_BLK_ID_BYTES;
	is_int(request(VIRTIO_BLK_T_GET_ID, 0, odd, true), VIRTIO_BLK_S_OK, "blk: its id");
	is_str((char *)buffer(0), "pffs-upper", "blk: is for people");
	*range = (struct virtio_blk_discard_write_zeroes){.sector = 100, .num_sectors = 16};
	is_int(request(VIRTIO_BLK_T_DISCARD, 0, ranges, false), VIRTIO_BLK_S_OK,
	       "blk: a discard");
	request(VIRTIO_BLK_T_IN, 100, data, true);
	is_int(buffer(0)[0x1fff], 0, "blk: it reads as zeros then");
	range->num_sectors = UINT32_MAX;
	is_int(request(VIRTIO_BLK_T_DISCARD, 0, ranges, false), VIRTIO_BLK_S_IOERR,
	       "blk: no discard across the end");
	range->flags = 2;
	is_int(request(VIRTIO_BLK_T_WRITE_ZEROES, 0, ranges, false), VIRTIO_BLK_S_UNSUPP,
	       "blk: no unknown flags");
	ranges.iov_len--;
	is_int(request(VIRTIO_BLK_T_DISCARD, 0, ranges, false), VIRTIO_BLK_S_IOERR,
	       "blk: no part of a range");
}

static void test_blk_hostile(void)
{
	struct iovec iov[2] = {{buffer(0), 15}, {buffer(1), 1}};

	virtio_blk_init(&blk, &disk, &mem, line);
	probe(&blk.dev);
	chain(0, 0, iov, 1, 1);
	is_int(notify(&blk.dev, 0), -EPROTO, "blk: a header of 15 bytes: %s", err.text);
	probe(&blk.dev);
	iov[0].iov_len = 16;
	chain(0, 0, iov, 1, 0);
	is_int(notify(&blk.dev, 0), -EPROTO, "blk: no room for the status: %s", err.text);
	probe(&blk.dev);
	avail_ring(0)->idx = 999;
	is_int(notify(&blk.dev, 0), -EPROTO, "blk: a broken ring: %s", err.text);
}

enum { LOG_TX = 1, CONTROL_RX = 2, CONTROL_TX = 3, AGENT_RX = 4, AGENT_TX = 5 };

static struct virtio_console con;
static struct conlog conlog;
static int host; /* the other end of the agent's socket */

static void on_watch(struct virtio_console *c)
{
	(void)c;
	watches++;
}

static void console_fresh_with(uint64_t features)
{
	int pair[2], small = 4096;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) < 0)
		exit(1);
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	host = pair[1];
	conlog_init(&conlog);
	virtio_console_init(&con, &conlog, pair[0], on_watch, &mem, line);
	probe_with(&con.dev, features & offered(&con.dev));
}

static void console_fresh(void)
{
	console_fresh_with(UINT64_MAX);
}

static void control(uint32_t id, uint16_t event, uint16_t value)
{
	struct virtio_console_control *message = (void *)buffer(20);
	struct iovec iov = {message, sizeof(*message)};

	*message = (struct virtio_console_control){id, event, value};
	chain(CONTROL_TX, 0, &iov, 1, 0);
	notify(&con.dev, CONTROL_TX);
	next_used(CONTROL_TX);
}

static void give_control_buffers(void)
{
	for (uint16_t i = 0; i < SIZE; i++)
		chain(CONTROL_RX, i, &(struct iovec){buffer(21) + i * 64ull, 64}, 0, 1);
	notify(&con.dev, CONTROL_RX);
}

static void expect_control(unsigned n, uint32_t id, uint16_t event, size_t len)
{
	const struct virtio_console_control *got = (void *)(buffer(21) + n * 64ull);

	is_int(next_used(CONTROL_RX), len, "console: message %u has %zu bytes", n, len);
	ok(got->id == id && got->event == event && got->value == 1,
	   "console: event %u of port %u", event, id);
}

static void test_console_control(void)
{
	size_t len = sizeof(struct virtio_console_control);

	console_fresh();
	control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	give_control_buffers();
	expect_control(0, 0, VIRTIO_CONSOLE_PORT_ADD, len);
	expect_control(1, 1, VIRTIO_CONSOLE_PORT_ADD, len);
	control(1, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_control(2, 1, VIRTIO_CONSOLE_PORT_NAME, len + strlen(CONSOLE_AGENT));
	is_mem(buffer(21) + 128 + len, CONSOLE_AGENT, strlen(CONSOLE_AGENT),
	       "console: port 1 has its name");
	expect_control(3, 1, VIRTIO_CONSOLE_PORT_OPEN, len);
	control(0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_control(4, 0, VIRTIO_CONSOLE_CONSOLE_PORT, len);
	expect_control(5, 0, VIRTIO_CONSOLE_PORT_OPEN, len);
	for (unsigned i = 0; i < 1000; i++) {
		control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
		control(UINT32_MAX, VIRTIO_CONSOLE_PORT_READY, 1);
		control(i, (uint16_t)i, (uint16_t)i);
	}
	is_int(used_ring(CONTROL_RX)->idx, SIZE, "console: a flood of requests stops here");
	close(host);
	close(con.agent_fd);
}

static void test_console_log(void)
{
	struct iovec iov[2] = {{buffer(0), 6}, {buffer(1), 5}};
	static char text[CONLOG_SIZE + 1];

	console_fresh();
	memcpy(buffer(0), "hello ", 6);
	memcpy(buffer(1), "\x1b\r\xc3g\n", 5);
	chain(LOG_TX, 0, iov, 2, 0);
	is_int(notify(&con.dev, LOG_TX), 0, "console: a line for the log");
	conlog_text(&conlog, text);
	is_str(text, "hello ??g\n", "console: it is there, as harmless text");
	close(host);
	close(con.agent_fd);
}

/* More than the socket takes: the rest stays in the queue until it does. */
static void test_console_transmit(void)
{
	static uint8_t got[SIZE * 0x8000];
	struct iovec iov = {NULL, 0x8000};
	size_t total = 0, bad = 0;
	unsigned rounds = 0;

	console_fresh();
	for (uint16_t i = 0; i < SIZE; i++) {
		iov.iov_base = buffer(i);
		memset(buffer(i), i + 1, iov.iov_len);
		chain(AGENT_TX, i, &iov, 1, 0);
	}
	is_int(notify(&con.dev, AGENT_TX), 0, "console: 256 KiB for the agent's socket");
	ok(con.want_out, "console: it does not take them all");
	ok(used_ring(AGENT_TX)->idx < SIZE, "console: so they are not given back");
	is_int(watches, 1, "console: the owner is told once");
	while (total < sizeof(got) && rounds++ < 10000) {
		ssize_t n = read(host, got + total, sizeof(got) - total);

		total += n > 0 ? (size_t)n : 0;
		if (virtio_console_ready(&con, &err) < 0)
			break;
	}
	is_int(total, sizeof(got), "console: all bytes arrive in the end");
	for (size_t i = 0; i < total; i++)
		bad += got[i] != i / 0x8000 + 1;
	is_int(bad, 0, "console: in order");
	ok(!con.want_out, "console: and nothing is waited for");
	is_int(used_ring(AGENT_TX)->idx, SIZE, "console: every chain is given back");
	close(host);
	close(con.agent_fd);
}

static void test_console_changed(void)
{
	struct vring_desc *desc;

	console_fresh();
	for (uint16_t i = 0; i < SIZE; i++)
		chain(AGENT_TX, i, &(struct iovec){buffer(0), 0x10000}, 1, 0);
	notify(&con.dev, AGENT_TX);
	ok(con.want_out && con.sent, "console: a chain is half sent");
	desc = gmem_ptr(&mem, desc_at(AGENT_TX), SIZE * sizeof(*desc));
	for (unsigned i = 0; i < SIZE; i++)
		desc[i].len = 1;
	is_int(virtio_console_ready(&con, &err), -EPROTO, "console: it shrinks: %s",
	       err.text);
	close(host);
	close(con.agent_fd);
}

static void test_console_receive(void)
{
	struct iovec iov[2] = {{buffer(0), 10}, {buffer(1), 0x1000}};

	console_fresh();
	chain(AGENT_RX, 0, iov, 0, 2);
	notify(&con.dev, AGENT_RX);
	io_write_all(host, "hello, guest", 12);
	ok(!con.want_in, "console: nothing is read while the port is closed");
	control(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	ok(con.want_in, "console: but once it is open");
	is_int(virtio_console_ready(&con, &err), 0, "console: the socket is ready");
	is_int(next_used(AGENT_RX), 12, "console: the guest gets what waited");
	is_mem(buffer(0), "hello, gue", 10, "console: in the first buffer");
	is_mem(buffer(1), "st", 2, "console: and in the second");
	ok(!con.want_in, "console: without room nothing more is read");
	is_int(avail_event(AGENT_RX), 1, "console: and room would be news");
	chain(AGENT_RX, 0, iov, 0, 2);
	notify(&con.dev, AGENT_RX);
	ok(con.want_in, "console: with room it is");
	is_int(avail_event(AGENT_RX), 0, "console: and more room is no news");
	io_write_all(host, "x", 1);
	is_int(virtio_console_ready(&con, &err), 0, "console: a byte comes");
	is_int(next_used(AGENT_RX), 1, "console: the guest has it");
	chain(AGENT_RX, 0, iov, 2, 0);
	io_write_all(host, "x", 1);
	notify(&con.dev, AGENT_RX);
	is_int(virtio_console_ready(&con, &err), -EPROTO,
	       "console: no room in a buffer: %s", err.text);

	console_fresh();
	control(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	chain(AGENT_RX, 0, iov, 0, 2);
	notify(&con.dev, AGENT_RX);
	close(host);
	is_int(virtio_console_ready(&con, &err), 0, "console: the socket ends");
	ok(!con.want_in && con.agent_fd < 0, "console: and is not polled any more");
	chain(AGENT_TX, 0, iov, 1, 0);
	is_int(notify(&con.dev, AGENT_TX), 0, "console: what the guest still sends");
	is_int(next_used(AGENT_TX), 0, "console: goes nowhere");
}

/* @count buffers of one byte, from the one numbered @first on. */
static void give_bytes(unsigned first, unsigned count)
{
	for (unsigned i = first; i < first + count; i++)
		chain(AGENT_RX, (uint16_t)(i % SIZE), &(struct iovec){buffer(i % SIZE), 1},
		      0, 1);
	notify(&con.dev, AGENT_RX);
}

/* A guest that is slower than its host is not bothered with single buffers. */
static void test_console_slow_guest(bool events)
{
	const char *driver = events ? "with events" : "without events";

	console_fresh_with(events ? UINT64_MAX : 1ull << VIRTIO_F_VERSION_1);
	control(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	set(&con.dev, VIRTIO_MMIO_INTERRUPT_ACK, 1);
	give_bytes(0, SIZE);
	io_write_all(host, "0123456789abcdef", 16);
	line_changes = 0;
	is_int(virtio_console_ready(&con, &err), 0,
	       "console, %s: more than the guest has "
	       "room for",
	       driver);
	is_int(used_ring(AGENT_RX)->idx, SIZE, "all of its room is used");
	ok(!con.want_in, "the host waits");
	is_int(line_changes, 1, "one interrupt tells of all of it");
	if (events)
		is_int(avail_event(AGENT_RX), SIZE + SIZE / 2 - 1, "half is to come back");
	else
		is_int(used_ring(AGENT_RX)->flags, 0, "each that comes back is told");
	give_bytes(0, SIZE / 2 - 1);
	ok(!con.want_in, "less than half is too little");
	give_bytes(SIZE / 2 - 1, 1);
	ok(con.want_in, "with half the host goes on");
	set(&con.dev, VIRTIO_MMIO_INTERRUPT_ACK, 1);
	line_changes = 0;
	is_int(virtio_console_ready(&con, &err), 0, "which it does");
	is_int(used_ring(AGENT_RX)->idx, SIZE + SIZE / 2, "as far as there is room");
	is_int(line_changes, !events, "a driver that is behind %s",
	       events ? "is not interrupted" : "cannot say so");
	close(host);
	close(con.agent_fd);
}

/* What the driver has agreed to and has been told of comes back from a file, too. */
static void test_console_from_file(void)
{
	uint8_t bytes[1024];
	struct cursor c = cursor_into(bytes, sizeof(bytes));
	struct virtio_console old;

	console_fresh();
	control(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	give_bytes(0, SIZE);
	io_write_all(host, "01234567", 8);
	virtio_console_ready(&con, &err);
	set(&con.dev, VIRTIO_MMIO_INTERRUPT_ACK, 1);
	old = con;
	virtio_save(&old.dev, &c);
	ok(!c.overflow, "console: as bytes");
	c = cursor_over(bytes, sizeof(bytes) - cursor_left(&c));
	virtio_console_init(&con, &conlog, old.agent_fd, on_watch, &mem, line);
	is_int(virtio_load(&con.dev, &c), 0, "console: and as a device again");
	con.agent_open = true;
	line_changes = 0;
	is_int(virtio_wake(&con.dev, &err), 0, "console: which wakes");
	ok(con.dev.queues[AGENT_RX].events, "console: and knows of events");
	ok(!con.want_in, "console: there is no room");
	is_int(avail_event(AGENT_RX), SIZE, "console: of which it wants to hear");
	give_bytes(0, 1);
	ok(con.want_in, "console: now there is");
	io_write_all(host, "8", 1);
	line_changes = 0;
	is_int(virtio_console_ready(&con, &err), 0, "console: a byte comes");
	is_int(line_changes, 0, "console: the driver is still behind");
	close(host);
	close(con.agent_fd);
}

int main(void)
{
	char path[] = "/tmp/pffs-virtio-XXXXXX";
	int fd = mkstemp(path);

	if (fd < 0 || ftruncate(fd, 1 << 20) < 0 || gmem_init(&mem, RAM, &err) < 0 ||
	    disk_open_layered(&disk, path, 0, &err) < 0)
		return 1;
	unlink(path);
	close(fd);
	test_registers();
	test_negotiation();
	test_bad_queue();
	test_interrupts();
	test_rng();
	test_blk();
	test_blk_hostile();
	test_console_control();
	test_console_log();
	test_console_transmit();
	test_console_changed();
	test_console_receive();
	test_console_slow_guest(true);
	test_console_slow_guest(false);
	test_console_from_file();
	disk_close(&disk);
	gmem_fini(&mem);
	return done_testing();
}
