"""Frames as they are on the wire, of a guest that says whatever it likes.

It needs nothing but Python itself, since tests/net/hostile.t gives it to guests. What is
hostile has a mark in it that begins with `evil-` and is told from others by its first nine bytes.
"""
import socket
import struct

GUEST_MAC, GATEWAY_MAC = "02:70:66:66:73:02", "02:70:66:66:73:01"
OTHER_MAC = "02:70:66:66:73:77"
IP6, TCP, UDP, FRAGMENT = 0x86DD, 6, 17, 44
MORE, WHOLE = 0x2000, 0x4000  # flags of IPv4: more fragments follow; not to be taken apart


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def packed(address):
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(payload, kind=0x0800, source=GUEST_MAC, to=GATEWAY_MAC):
    return mac(to) + mac(source) + struct.pack(">H", kind) + payload


def arp(source, address, operation=1, wanted="198.18.0.1"):
    return struct.pack(">HHBBH6s4s6s4s", 1, 0x0800, 6, 4, operation, mac(source),
                       packed(address), bytes(6), packed(wanted))


def marked(frame):
    """The mark of a hostile frame."""
    at = frame.find(b"evil-")
    return frame[at:at + 9]


class Frames:
    """Of a guest, to a host of the internet."""

    def __init__(self, four, six):
        self.host4, self.host6 = four, six
        self.number = 100

    def ip4(self, payload, source="198.18.0.2", to=None, protocol=UDP, flags=0, ident=7,
            options=b""):
        length = 20 + len(options)
        header = struct.pack(">BBHHHBBH4s4s", 0x40 | length // 4, 0, length + len(payload), ident,
                             flags, 64, protocol, 0, packed(source), packed(to or self.host4))
        header += options
        return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + payload

    def ip6(self, payload, source="fd70:6666:7300::2", to=None, following=UDP):
        return struct.pack(">IHBB16s16s", 6 << 28, len(payload), following, 64,
                           packed(source), packed(to or self.host6)) + payload

    def udp(self, mark, length=None, port=4001):
        return struct.pack(">HHHH", 4000, port, length or 8 + len(mark), 0) + mark

    def udp6(self, mark, port=4001):
        """IPv6 wants a checksum."""
        plain = self.udp(mark, port=port)
        whole = packed("fd70:6666:7300::2") + packed(self.host6) + struct.pack(">II", len(plain), UDP) + plain
        return plain[:6] + struct.pack(">H", checksum(whole) or 0xFFFF) + plain[8:]

    def tcp(self, flags, sport=4000, dport=80, data=b""):
        segment = struct.pack(">HHIIBBHHH", sport, dport, 1, 1, 0x50, flags, 1000, 0, 0) + data
        whole = packed("198.18.0.2") + packed(self.host4) + struct.pack(">HH", TCP, len(segment)) + segment
        return segment[:16] + struct.pack(">H", checksum(whole)) + segment[18:]

    def pieces4(self, *pieces, protocol=UDP):
        """Fragments of one IPv4 packet: each its offset, its bytes, whether more follow."""
        self.number += 1
        return [ethernet(self.ip4(data, protocol=protocol, ident=self.number,
                                  flags=offset // 8 | (MORE if more else 0)))
                for offset, data, more in pieces]

    def pieces6(self, *pieces, following=UDP):
        self.number += 1
        return [ethernet(self.ip6(struct.pack(">BBHI", following, 0, offset | more, self.number) + data,
                                  following=FRAGMENT), IP6)
                for offset, data, more in pieces]

    def hostile(self):
        """What is to come to nobody, whatever the policy: a list of frames for each."""
        ip4, ip6, udp = self.ip4, self.ip6, self.udp
        source_route = bytes([0x83, 7, 4]) + packed("10.0.0.5") + b"\1"
        frames = {
            "a MAC that is not its own": ethernet(ip4(udp(b"evil-mac")), source=OTHER_MAC),
            "the gateway's MAC": ethernet(ip4(udp(b"evil-gateway")), source=GATEWAY_MAC),
            "an address that is not its own": ethernet(ip4(udp(b"evil-source"), source="198.18.0.9")),
            "the gateway's address": ethernet(ip4(udp(b"evil-router"), source="198.18.0.1")),
            "another slot's address": ethernet(ip4(udp(b"evil-slot"), source="198.19.0.17")),
            "the host's address": ethernet(ip4(udp(b"evil-host"), source="192.0.0.5")),
            "an IPv6 address that is not its own":
                ethernet(ip6(udp(b"evil-six"), source="fd70:6666:7300:1::11"), IP6),
            "a tag of a VLAN": ethernet(struct.pack(">HH", 5, 0x0800) + ip4(udp(b"evil-vlan")), 0x8100),
            "a tag of a provider's VLAN":
                ethernet(struct.pack(">HH", 5, 0x0800) + ip4(udp(b"evil-qinq")), 0x88A8),
            "two tags": ethernet(struct.pack(">HHHH", 5, 0x8100, 6, 0x0800) + ip4(udp(b"evil-two")), 0x8100),
            "a provider's tag and another one":
                ethernet(struct.pack(">HHHH", 5, 0x8100, 6, 0x0800) + ip4(udp(b"evil-both")), 0x88A8),
            "IPv6 with a header in between":
                ethernet(ip6(bytes([17, 0, 1, 4, 0, 0, 0, 0]) + udp(b"evil-hop"), following=0), IP6),
            "a routing header":
                ethernet(ip6(bytes([17, 0, 0, 0, 0, 0, 0, 0]) + udp(b"evil-routing"), following=43), IP6),
            "a source route":
                ethernet(ip4(udp(b"evil-lsrr"), to="198.18.0.1", options=source_route)),
            "another MAC to go to": ethernet(ip4(udp(b"evil-to")), to=OTHER_MAC),
            "a broadcast": ethernet(ip4(udp(b"evil-all"), to="255.255.255.255"), to="ff:ff:ff:ff:ff:ff"),
            "a fragment without the rest": ethernet(ip4(udp(b"evil-part", 4000), flags=MORE)),
            "a fragment without a beginning": ethernet(ip4(b"evil-tail" * 3, flags=185)),
            "IPv4 as IPv6, of the host's loopback":
                ethernet(ip6(udp(b"evil-mapped"), to="::ffff:127.0.0.1"), IP6),
            "IPv4 as IPv6, of a cloud's metadata":
                ethernet(ip6(udp(b"evil-metadata"), to="::ffff:169.254.169.254"), IP6),
            "IPv4 as IPv6, from there":
                ethernet(ip6(udp(b"evil-from"), source="::ffff:10.0.0.5"), IP6),
            "IPv4 as IPv6, translated":
                ethernet(ip6(udp(b"evil-siit"), to="::ffff:0:7f00:1"), IP6),
            "IPv4 as IPv6, compatible":
                ethernet(ip6(udp(b"evil-compatible"), to="::127.0.0.1"), IP6),
            "IP in another protocol's frame": ethernet(ip4(udp(b"evil-type")), 0x88CC),
            "IP in IP": ethernet(ip4(ip4(udp(b"evil-ipip"), source="10.0.0.1"), protocol=4, to="198.19.0.17")),
        }
        frames = {what: [frame] for what, frame in frames.items()}
        lapping = udp(b"evil-lap4" + bytes(31))
        frames["fragments that lap over each other"] = self.pieces4(
            (0, lapping[:32], True), (16, lapping[16:40], True), (40, lapping[40:], False))
        lapping = self.udp6(b"evil-lap6" + bytes(31))
        frames["the same of IPv6"] = self.pieces6(
            (0, lapping[:32], True), (16, lapping[16:40], True), (40, lapping[40:], False))
        return frames

    def oversized(self):
        """Longer than the link takes; a kernel may refuse to send them."""
        return [ethernet(self.ip4(self.udp(b"evil-long" + bytes(size)), flags=WHOLE))
                for size in (1500, 9000, 60000)]

    def cut_off(self):
        """Too short for what they say that they are."""
        whole = ethernet(self.ip4(self.udp(b"evil-short")))
        return [whole[:max(size, 14)] for size in range(0, 60, 3)]

    def evasions(self, port, other):
        """For one whose policy opens the host at @port alone: fragments that are for @other."""
        good, bad = self.udp(bytes(16), 64, port), self.udp(b"evil-head" + bytes(47), port=other)
        whole4, whole6 = self.udp(b"evil-apart" + bytes(38), port=other), self.udp6(b"evil-cut6" + bytes(39), other)
        once = self.udp6(b"evil-once", other)
        good6, bad6 = self.udp(bytes(16), 64, port), self.udp6(b"evil-again" + bytes(46), other)
        options = struct.pack(">BB6x", UDP, 0)
        behind = self.udp6(b"evil-behind", other)
        syn = self.tcp(2, dport=other, data=b"evil-syn!" + bytes(15))
        return {
            "a datagram in fragments": self.pieces4((0, whole4[:24], True), (24, whole4[24:], False)),
            "one that begins twice, with another port": self.pieces4(
                (0, good, True), (0, bad[:24], True), (24, bad[24:], False)),
            "one that begins twice, the other way round": self.pieces4(
                (24, bad[24:], False), (0, bad[:24].replace(b"evil-head", b"evil-turn"), True), (0, good, True)),
            "TCP whose flags are in another fragment": self.pieces4(
                (0, syn[:8], True), (8, syn[8:], False), protocol=TCP),
            "fragments of IPv6": self.pieces6((0, whole6[:24], 1), (24, whole6[24:], 0)),
            "a fragment of IPv6 that is all of it": self.pieces6((0, once, 0)),
            "one of IPv6 that begins twice": self.pieces6(
                (0, good6, 1), (0, bad6[:24], 1), (24, bad6[24:], 0)),
            "a header in front of the port, in fragments": self.pieces6(
                (0, options, 1), (8, behind, 0), following=60),
        }
