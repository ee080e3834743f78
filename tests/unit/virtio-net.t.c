/*
 * The network device between a driver and a tap: frames are moved whole, what the kernel
 * is told of them is true, and what breaks the rules ends the VM or goes nowhere.
 */
#include "tests/unit/virtio_driver.h"
#include "util/io.h"
#include "vmctl/virtio_net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RX, TX };

#define HEADER sizeof(struct virtio_net_hdr_v1)

static struct virtio_net net;
static int wire; /* the other end of what stands for a tap */
static unsigned watches;

static void on_watch(struct virtio_net *n)
{
	(void)n;
	watches++;
}

static int ready(void)
{
	err.text[0] = '\0';
	return virtio_net_ready(&net, &err);
}

static void connect_wire(void)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) < 0)
		exit(1);
	wire = pair[1];
	virtio_net_connect(&net, pair[0]);
}

static void cut_wire(void)
{
	if (net.tap_fd >= 0)
		close(net.tap_fd);
	close(wire);
}

static void fresh_without(uint64_t features)
{
	virtio_net_init(&net, on_watch, &mem, line);
	probe_with(&net.dev, offered(&net.dev) & ~features);
	connect_wire();
}

static void fresh(void)
{
	fresh_without(0);
	ready();
}

static const struct virtio_net_hdr_v1 plain;

/* The guest sends @len bytes of a frame, with a header of its own in front. */
static int send_with(struct virtio_net_hdr_v1 header, size_t len)
{
	struct iovec iov[2] = {{buffer(0), HEADER}, {buffer(1), len}};

	memcpy(buffer(0), &header, HEADER);
	chain(TX, 0, iov, 2, 0);
	return notify(&net.dev, TX);
}

static int send_plain(size_t len)
{
	return send_with(plain, len);
}

/* What has come to the other side: the length of the frame, or -1. */
static ssize_t arrives(struct net_frame *frame)
{
	ssize_t n = recv(wire, frame, sizeof(*frame), MSG_DONTWAIT);

	return n < 0 ? -1 : n - (ssize_t)HEADER;
}

static void give_room(uint16_t index, size_t len)
{
	chain(RX, index, &(struct iovec){buffer(2 + index), len}, 0, 1);
	notify(&net.dev, RX);
}

static void from_wire(const struct virtio_net_hdr_v1 *header, size_t len)
{
	static struct net_frame frame;

	frame.header = *header;
	for (size_t i = 0; i < len; i++)
		frame.bytes[i] = (uint8_t)(i * 7);
	if (send(wire, &frame, HEADER + len, 0) < 0)
		exit(1);
}

static void test_device(void)
{
	uint8_t mac[6];

	fresh();
	is_int(reg(&net.dev, VIRTIO_MMIO_DEVICE_ID), 1, "a network card");
	virtio_mmio_read(&net.dev, VIRTIO_MMIO_CONFIG, mac, sizeof(mac));
	is_mem(mac, "\x02\x70\x66\x66\x73\x02", 6, "with the address that all have");
	ok(offered(&net.dev) & 1 << VIRTIO_NET_F_MAC, "which it says");
	cut_wire();
}

static void test_transmit(void)
{
	struct net_frame frame;

	fresh();
	memset(buffer(1), 0x5a, 1514);
	is_int(send_plain(1514), 0, "a frame is sent");
	is_int(next_used(TX), 0, "its buffer comes back");
	is_int(arrives(&frame), 1514, "it arrives");
	is_int(frame.bytes[1513], 0x5a, "with all its bytes");
	is_int(arrives(&frame), -1, "once");
	is_int(send_plain(14), 0, "the shortest frame");
	is_int(arrives(&frame), 14, "arrives as well");
	cut_wire();
}

static void test_lengths(void)
{
	static const size_t bad[] = {0, 13, 1515, 0xf000};
	struct net_frame frame;

	fresh();
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		is_int(send_plain(bad[i]), 0, "a frame of %zu bytes", bad[i]);
		is_int(next_used(TX), 0, "comes back");
		is_int(arrives(&frame), -1, "and goes nowhere");
	}
	cut_wire();
}

static const struct virtio_net_hdr_v1 sums = {
    .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16};

static const struct virtio_net_hdr_v1 segments = {
    .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
    .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
    .hdr_len = 54,
    .gso_size = 1460,
    .csum_start = 34,
    .csum_offset = 16,
};

static void test_offloads(void)
{
	struct virtio_net_hdr_v1 odd = plain;
	struct net_frame frame;

	fresh();
	send_with(sums, 60);
	is_int(arrives(&frame), 60, "a frame whose checksum is to be made");
	ok(memcmp(&frame.header, &sums, HEADER) == 0, "says so to the tap");
	is_int(send_with(segments, 60000), 0, "one that is to be cut into segments");
	is_int(arrives(&frame), 60000, "is longer than a wire takes");
	is_int(frame.header.gso_size, 1460, "and says how long they are");
	odd.hdr_len = odd.gso_size = odd.num_buffers = 999;
	send_with(odd, 60);
	is_int(arrives(&frame), 60, "what means nothing");
	ok(memcmp(&frame.header, &plain, HEADER) == 0, "is not passed on");
	cut_wire();
}

/* A header that is not true of its frame: the frame is not for the kernel. */
static void refused(struct virtio_net_hdr_v1 header, size_t len, const char *what)
{
	struct net_frame frame;
	int r = send_with(header, len);

	ok(r == 0 && arrives(&frame) < 0, "dropped: %s", what);
}

#define WITH(header, field, value)                                                         \
	({                                                                                 \
		struct virtio_net_hdr_v1 h_ = header;                                      \
		h_.field = value;                                                          \
		h_;                                                                        \
	})

static void test_headers(void)
{
	fresh();
	refused(WITH(sums, flags, 0xff), 60, "flags that nobody knows");
	refused(WITH(plain, flags, VIRTIO_NET_HDR_F_DATA_VALID), 60,
		"a flag of the host's");
	refused(WITH(sums, csum_offset, 25), 60, "a checksum across the end");
	refused(WITH(sums, csum_offset, 0xffff), 60, "a checksum far away");
	refused(WITH(sums, csum_start, 0xffff), 60, "one of what is not there");
	refused(WITH(sums, csum_start, 0), 60, "one of the addresses");
	refused(WITH(segments, gso_type, VIRTIO_NET_HDR_GSO_UDP), 3000, "segments of UDP");
	refused(WITH(segments, gso_type, 0x81), 3000, "segments with ECN, not negotiated");
	refused(WITH(segments, gso_type, 77), 3000, "segments of what there is not");
	refused(WITH(segments, gso_size, 0), 3000, "segments of no length");
	refused(WITH(segments, gso_size, 2), 60000, "30,000 segments");
	refused(WITH(segments, gso_size, 9000), 60000, "segments longer than a wire takes");
	refused(WITH(segments, hdr_len, 3001), 3000, "headers longer than the frame");
	refused(WITH(segments, hdr_len, 0), 3000, "segments without headers");
	refused(WITH(segments, flags, 0), 3000, "segments without checksums");
	cut_wire();
	fresh_without(1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_HOST_TSO4);
	ready();
	refused(sums, 60, "a checksum that was not negotiated");
	refused(segments, 3000, "segments that were not");
	cut_wire();
}

static void test_disconnected(void)
{
	struct net_frame frame;
	int first;

	fresh();
	first = net.tap_fd;
	virtio_net_connect(&net, -1);
	memset(buffer(1), 1, 64);
	is_int(send_plain(60), 0, "without a tap a frame is sent");
	is_int(next_used(TX), -1, "and waits");
	close(first);
	close(wire);
	connect_wire();
	is_int(next_used(TX), -1, "nothing moves by itself");
	is_int(ready(), 0, "with a new tap");
	is_int(next_used(TX), 0, "it is gone");
	is_int(arrives(&frame), 60, "and arrives there");
	virtio_net_part(&net);
	is_int(send_plain(60), 0, "in a fork");
	is_int(next_used(TX), -1, "frames wait again");
	is_int(arrives(&frame), -1, "the parent's tap gets none of them");
	ok(!net.want_in, "nor is it read");
	cut_wire();
}

/* A driver whose queue is never full has nothing to complain about. */
static void test_long_wait(void)
{
	struct net_frame frame;
	int64_t back = 0, waiting = 0;

	fresh();
	cut_wire();
	virtio_net_connect(&net, -1);
	for (uint16_t i = 0; i < 3 * SIZE; i++) {
		uint8_t *at = buffer(i % SIZE);

		memcpy(at, &plain, HEADER);
		memset(at + HEADER, i, 60);
		chain(TX, i % SIZE, &(struct iovec){at, HEADER + 60}, 1, 0);
		notify(&net.dev, TX);
		while (next_used(TX) >= 0)
			back++;
	}
	is_int(back, 3 * SIZE - SIZE / 2, "of many frames that wait the older ones go");
	is_int(avail_event(TX), 3 * SIZE, "and the device wants to hear of the next");
	connect_wire();
	is_int(ready(), 0, "then a tap comes");
	while (arrives(&frame) == 60)
		waiting += frame.bytes[0] == 3 * SIZE - SIZE / 2 + waiting;
	is_int(waiting, SIZE / 2, "which gets the newest, in order");
	cut_wire();
}

static void test_receive(void)
{
	struct virtio_net_hdr_v1 got;

	fresh();
	ok(!net.want_in, "without room nothing is read");
	give_room(0, 2000);
	ok(net.want_in, "with room the tap is polled");
	from_wire(&plain, 1514);
	is_int(ready(), 0, "a frame comes");
	is_int(next_used(RX), HEADER + 1514, "the guest has it, behind a header");
	memcpy(&got, buffer(2), HEADER);
	is_int(got.num_buffers, 1, "in one buffer");
	is_int(buffer(2)[HEADER + 1513], (uint8_t)(1513 * 7), "with all its bytes");
	ok(!net.want_in, "now there is no room any more");
	is_int(avail_event(RX), 1, "of which the device wants to hear");
	cut_wire();
}

static void test_receive_long(void)
{
	struct virtio_net_hdr_v1 got;
	unsigned bad = 0;

	fresh();
	for (uint16_t i = 0; i < 6; i++)
		give_room(i, 1500);
	from_wire(&segments, 4000);
	is_int(ready(), 0, "a frame that is longer than a buffer");
	memcpy(&got, buffer(2), HEADER);
	is_int(got.num_buffers, 3, "is in three");
	is_int(next_used(RX), 1500, "the first is full");
	is_int(next_used(RX), 1500, "the second, too");
	is_int(next_used(RX), HEADER + 1000, "the third has the rest");
	is_int(next_used(RX), -1, "there is no other");
	for (size_t i = 0; i < 4000; i++) {
		size_t at = i + HEADER;

		bad += buffer(2 + (unsigned)(at / 1500))[at % 1500] != (uint8_t)(i * 7);
	}
	is_int(bad, 0, "no byte is wrong");
	from_wire(&plain, 5000);
	from_wire(&plain, 100);
	is_int(ready(), 0, "a frame that does not fit what there is");
	is_int(next_used(RX), -1, "is dropped");
	is_int(ready(), 0, "the next one");
	is_int(next_used(RX), HEADER + 100, "is not");
	memcpy(&got, buffer(5), HEADER);
	is_int(got.num_buffers, 1, "and has the buffer that was tried first");
	cut_wire();
}

/* One that knows little gets little. */
static void test_simple_driver(void)
{
	fresh_without(~(1ull << VIRTIO_F_VERSION_1));
	ready();
	for (uint16_t i = 0; i < 4; i++)
		give_room(i, 1600);
	from_wire(&segments, 3000);
	from_wire(&sums, 60);
	from_wire(&plain, 2000);
	from_wire(&plain, 60);
	for (unsigned i = 0; i < 3; i++)
		is_int(ready(), 0, "frames come");
	is_int(next_used(RX), HEADER + 60, "the one that needs nothing is there");
	is_int(next_used(RX), -1, "no other");
	cut_wire();
}

static void test_flood(void)
{
	fresh();
	for (uint16_t i = 0; i < SIZE; i++)
		give_room(i, 2000);
	for (unsigned i = 0; i < SIZE + 4; i++)
		from_wire(&plain, 60);
	is_int(ready(), 0, "more frames than there is room for");
	is_int(used_ring(RX)->idx, SIZE, "fill what there is");
	ok(!net.want_in, "then the tap is left alone");
	while (next_used(RX) >= 0)
		;
	give_room(0, 2000);
	ok(!net.want_in, "also while there is little room");
	for (uint16_t i = 1; i < SIZE / 2; i++)
		give_room(i, 2000);
	ok(net.want_in, "but not for ever");
	is_int(ready(), 0, "the kernel has kept");
	is_int(next_used(RX), HEADER + 60, "the rest");
	cut_wire();
}

static void test_hostile(void)
{
	struct iovec iov[2] = {{buffer(0), 11}, {buffer(1), 1}};

	fresh();
	chain(TX, 0, iov, 1, 0);
	is_int(notify(&net.dev, TX), -EPROTO, "part of a header: %s", err.text);
	cut_wire();
	fresh();
	iov[0].iov_base = mem.base + RAM - 6;
	chain(TX, 0, iov, 1, 0);
	is_int(notify(&net.dev, TX), -EPROTO, "a frame across the end: %s", err.text);
	cut_wire();
	fresh();
	avail_ring(TX)->idx = SIZE + 1;
	is_int(notify(&net.dev, TX), -EPROTO, "more than the queue holds: %s", err.text);
	cut_wire();
	fresh();
	give_room(0, 11);
	from_wire(&plain, 60);
	is_int(ready(), -EPROTO, "no room for a header: %s", err.text);
	cut_wire();
	fresh();
	chain(RX, 0, &(struct iovec){buffer(0), 2000}, 1, 0);
	notify(&net.dev, RX);
	from_wire(&plain, 60);
	is_int(ready(), -EPROTO, "room that may only be read: %s", err.text);
	cut_wire();
	fresh();
	give_room(0, 2000);
	from_wire(&plain, 60);
	avail_ring(RX)->idx = 999;
	is_int(ready(), -EPROTO, "a ring that breaks while frames come: %s", err.text);
	cut_wire();
}

static void test_end_of_tap(void)
{
	fresh();
	give_room(0, 2000);
	close(wire);
	watches = 0;
	is_int(ready(), 0, "the tap ends");
	is_int(net.tap_fd, -1, "the device is disconnected");
	ok(watches > 0, "which its owner is told");
	is_int(send_plain(60), 0, "a frame");
	is_int(next_used(TX), -1, "waits for another tap");
}

static void test_reset(void)
{
	fresh();
	give_room(0, 2000);
	ok(net.want_in, "a driver");
	set(&net.dev, VIRTIO_MMIO_STATUS, 0);
	ok(!net.want_in, "goes");
	is_int(ready(), 0, "nothing happens without one");
	from_wire(&plain, 60);
	probe(&net.dev);
	give_room(0, 2000);
	is_int(ready(), 0, "another one");
	is_int(next_used(RX), HEADER + 60, "gets what waits");
	cut_wire();
}

/* What the driver has agreed to comes back from a file; a tap does not. */
static void test_from_file(void)
{
	static struct virtio_net old;
	uint8_t bytes[1024];
	struct cursor c = cursor_into(bytes, sizeof(bytes));
	struct net_frame frame;

	fresh();
	for (uint16_t i = 0; i < 4; i++)
		give_room(i, 1500);
	virtio_net_connect(&net, -1);
	send_plain(60);
	old = net;
	virtio_save(&old.dev, &c);
	ok(!c.overflow, "a device as bytes");
	c = cursor_over(bytes, sizeof(bytes) - cursor_left(&c));
	virtio_net_init(&net, on_watch, &mem, line);
	is_int(virtio_load(&net.dev, &c), 0, "and as a device again");
	is_int(virtio_wake(&net.dev, &err), 0, "which wakes");
	is_int(net.tap_fd, -1, "without a tap");
	close(wire);
	connect_wire();
	is_int(ready(), 0, "it gets one");
	is_int(arrives(&frame), 60, "what waited arrives");
	from_wire(&segments, 3000);
	is_int(ready(), 0, "and frames come");
	is_int(next_used(RX), 1500, "as was negotiated");
	cut_wire();
}

static int open_tap(const char *name)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK), len = HEADER;
	int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	strcpy(request.ifr_name, name);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0 ||
	    ioctl(fd, TUNSETVNETHDRSZ, &len) < 0)
		return -1;
	request.ifr_flags = IFF_UP;
	if (ioctl(control, SIOCSIFFLAGS, &request) < 0)
		return -1;
	close(control);
	return fd;
}

/* All frames of the interface @name, and a way to send others to the guest. */
static int open_packets(const char *name)
{
	struct sockaddr_ll at = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(ETH_P_ALL),
				 .sll_ifindex = (int)if_nametoindex(name)};
	int fd =
	    socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, at.sll_protocol);

	return bind(fd, (void *)&at, sizeof(at)) < 0 ? -1 : fd;
}

/* Of a type that nobody else sends here. */
static void fill_frame(uint8_t *frame, size_t len, uint8_t with)
{
	memset(frame, with, len);
	memcpy(frame, "\x02\x70\x66\x66\x73\x01\x02\x70\x66\x66\x73\x02\x88\xb5", 14);
}

/* The kernel's own words (IPv6 and the like) are none of ours. */
static ssize_t next_frame(int fd, uint8_t *frame, size_t len)
{
	ssize_t n;

	while ((n = recv(fd, frame, len, 0)) >= 0)
		if (n >= 14 && memcmp(frame + 12, "\x88\xb5", 2) == 0)
			return n;
	return -1;
}

static void test_tap(void)
{
	static uint8_t frame[2000];
	int tap, packets;
	int64_t len = -1;

	if ((unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) ||
	    (tap = open_tap("guest")) < 0) {
		skip(8, "no tap can be made here");
		return;
	}
	packets = open_packets("guest");
	virtio_net_init(&net, on_watch, &mem, line);
	probe(&net.dev);
	virtio_net_connect(&net, tap);
	is_int(ready(), 0, "a tap of the kernel's");
	fill_frame(buffer(1), 1000, 0x11);
	is_int(send_plain(1000), 0, "takes a frame");
	is_int(next_frame(packets, frame, sizeof(frame)), 1000, "which the host sees");
	is_int(send_with(segments, 3000), 0, "a frame that is not what its header says");
	is_int(net.tap_fd, tap, "is the kernel's to refuse, and no harm");
	for (uint16_t i = 0; i < SIZE; i++)
		give_room(i, 2000);
	fill_frame(frame, 500, 0x22);
	is_int(send(packets, frame, 500, 0), 500, "the host sends one");
	is_int(ready(), 0, "it comes");
	while ((len = next_used(RX)) >= 0 && len != HEADER + 500)
		;
	is_int(len, HEADER + 500, "to the guest");
	close(packets);
	close(tap);
}

int main(void)
{
	if (gmem_init(&mem, RAM, &err) < 0)
		return 1;
	test_device();
	test_transmit();
	test_lengths();
	test_offloads();
	test_headers();
	test_disconnected();
	test_long_wait();
	test_receive();
	test_receive_long();
	test_simple_driver();
	test_flood();
	test_hostile();
	test_end_of_tap();
	test_reset();
	test_from_file();
	test_tap();
	gmem_fini(&mem);
	return done_testing();
}
