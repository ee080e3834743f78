#!/usr/bin/python3
"""Frames of a guest that is not what it says: none of them gets out of its slot."""
import os
import socket
import struct
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from net_kit import GATEWAY_MAC, GUEST_MAC, Host, Net, Tap, begin  # noqa: E402

FLOOD = 20000
begin()
tap = Tap()
web = Host("web", 1, ["1.2.3.4", "2606:4700::4"])
web.serve(80)
heard, left = [], []  # by the host of the internet; what left the hub


def listen():
    """All that comes to the host, as it is on the wire."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sock.bind(("eth0", 0))
    return sock


def hear(sock, into):
    try:
        while True:
            into.append(sock.recv(65536))
    except OSError:
        pass  # the link has gone


threading.Thread(target=hear, args=(web.inside(listen), heard), daemon=True).start()
net = Net("--uplink", "kernel")
guest = net.guest(1)


def listen_up():
    """All that leaves the hub, wherever it is for."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sock.bind(("pffs0", 0))
    return sock


threading.Thread(target=hear, args=(listen_up(), left), daemon=True).start()
victim = net.guest(2)


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(payload, kind=0x0800, source=GUEST_MAC, to=GATEWAY_MAC):
    return mac(to) + mac(source) + struct.pack(">H", kind) + payload


def ip4(payload, source="198.18.0.2", to="1.2.3.4", protocol=17, flags=0, ident=7):
    header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), ident, flags, 64, protocol,
                         0, socket.inet_aton(source), socket.inet_aton(to))
    return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + payload


def ip6(payload, source="fd70:6666:7300::2", to="2606:4700::4", following=17):
    return struct.pack(">IHBB16s16s", 6 << 28, len(payload), following, 64,
                       socket.inet_pton(socket.AF_INET6, source),
                       socket.inet_pton(socket.AF_INET6, to)) + payload


def udp(mark, length=None):
    return struct.pack(">HHHH", 4000, 4001, length or 8 + len(mark), 0) + mark


def tcp(flags, source="198.18.0.2", to="1.2.3.4", sport=4000, dport=80):
    segment = struct.pack(">HHIIBBHHH", sport, dport, 1, 1, 0x50, flags, 1000, 0, 0)
    whole = socket.inet_aton(source) + socket.inet_aton(to) + struct.pack(">HH", 6, 20) + segment
    return segment[:16] + struct.pack(">H", checksum(whole)) + segment[18:]


def comes(mark, seconds=5, into=heard):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if any(mark in frame for frame in list(into)):
            return True
        time.sleep(0.02)
    return any(mark in frame for frame in list(into))


def arp(source, address, operation=1, wanted="198.18.0.1"):
    return struct.pack(">HHBBH6s4s6s4s", 1, 0x0800, 6, 4, operation, mac(source),
                       socket.inet_aton(address), bytes(6), socket.inet_aton(wanted))


OTHER = "02:70:66:66:73:77"
guest.send(ethernet(ip4(udp(b"honest"))))
tap.ok(comes(b"honest"), "a datagram of the guest's own comes")
guest.send(ethernet(ip6(udp(b"six-honest")), kind=0x86DD))
tap.ok(comes(b"six-honest"), "and one of IPv6")
hostile = {
    "a MAC that is not its own": ethernet(ip4(udp(b"evil-mac")), source=OTHER),
    "the gateway's MAC": ethernet(ip4(udp(b"evil-gateway")), source=GATEWAY_MAC),
    "an address that is not its own": ethernet(ip4(udp(b"evil-source"), source="198.18.0.9")),
    "the gateway's address": ethernet(ip4(udp(b"evil-router"), source="198.18.0.1")),
    "another slot's address": ethernet(ip4(udp(b"evil-slot"), source="198.19.0.17")),
    "the host's address": ethernet(ip4(udp(b"evil-host"), source="192.0.0.5")),
    "an IPv6 address that is not its own":
        ethernet(ip6(udp(b"evil-six"), source="fd70:6666:7300:1::11"), kind=0x86DD),
    "a tag of a VLAN": ethernet(struct.pack(">HH", 5, 0x0800) + ip4(udp(b"evil-vlan")), kind=0x8100),
    "a tag of a provider's VLAN":
        ethernet(struct.pack(">HH", 5, 0x0800) + ip4(udp(b"evil-qinq")), kind=0x88A8),
    "two tags": ethernet(struct.pack(">HHHH", 5, 0x8100, 6, 0x0800) + ip4(udp(b"evil-two")),
                         kind=0x8100),
    "IPv6 with a header in between":
        ethernet(ip6(bytes([17, 0, 1, 4, 0, 0, 0, 0]) + udp(b"evil-hop"), following=0),
                 kind=0x86DD),
    "a routing header":
        ethernet(ip6(bytes([17, 0, 0, 0, 0, 0, 0, 0]) + udp(b"evil-routing"), following=43),
                 kind=0x86DD),
    "another MAC to go to": ethernet(ip4(udp(b"evil-to")), to=OTHER),
    "a fragment without the rest": ethernet(ip4(udp(b"evil-part", 4000), flags=0x2000)),
    "a fragment without a beginning": ethernet(ip4(b"evil-tail" * 3, flags=185)),
    "IPv4 as IPv6, of the host's loopback":
        ethernet(ip6(udp(b"evil-mapped"), to="::ffff:127.0.0.1"), kind=0x86DD),
    "IPv4 as IPv6, of a cloud's metadata":
        ethernet(ip6(udp(b"evil-metadata"), to="::ffff:169.254.169.254"), kind=0x86DD),
    "IPv4 as IPv6, translated":
        ethernet(ip6(udp(b"evil-siit"), to="::ffff:0:7f00:1"), kind=0x86DD),
    "IPv4 as IPv6, compatible":
        ethernet(ip6(udp(b"evil-compatible"), to="::127.0.0.1"), kind=0x86DD),
    "IP in another protocol's frame": ethernet(ip4(udp(b"evil-type")), kind=0x88CC),
    "IP in IP": ethernet(ip4(ip4(udp(b"evil-ipip"), source="10.0.0.1"), protocol=4,
                             to="198.19.0.17")),
}
for frame in hostile.values():
    guest.send(frame)
# Too short for what they say they are, and too long: nothing but to be survived.
for size in range(0, 60, 3):
    guest.send(ethernet(ip4(udp(b"evil-short")))[:max(size, 14)])
for size in (1500, 9000, 60000):
    try:
        guest.send(ethernet(ip4(udp(b"evil-long" + bytes(size)), flags=0x4000)))
    except OSError:
        pass
guest.send(ethernet(ip4(udp(b"last"), ident=8)))
tap.ok(comes(b"last"), "and another one after all that follows")
for what, frame in hostile.items():
    at = frame.find(b"evil-")
    tap.ok(not comes(frame[at:at + 9], 0) and not comes(frame[at:at + 9], 0, left),
           f"{what}: does not come")
tap.ok(not comes(b"evil-long", 0), "what is longer than the link takes: does not come")

parts = udp(b"put-together" * 10)
guest.send(ethernet(ip4(parts[:64], flags=0x2000, ident=9)))
guest.send(ethernet(ip4(parts[64:], flags=8, ident=9)))
tap.ok(comes(b"put-together"), "fragments of a whole datagram are put together first")

guest.look = True
guest.send(ethernet(arp(OTHER, "198.18.0.1", 2), kind=0x0806))
guest.send(ethernet(arp(GUEST_MAC, "198.18.0.1", 2), kind=0x0806))
guest.send(ethernet(arp(GUEST_MAC, "198.18.0.2", wanted="198.19.0.1"), kind=0x0806))
guest.send(ethernet(arp(GUEST_MAC, "198.18.0.2"), kind=0x0806))
until = time.monotonic() + 5
while not guest.seen and time.monotonic() < until:
    time.sleep(0.02)
answers = [frame for frame in guest.seen if frame[12:14] == b"\x08\x06"]
tap.is_(len(answers), 1, "ARP: the gateway answers for itself alone")
tap.is_(guest.get("1.2.3.4", 80), "web", "and nobody believed that it was another one")

guest.seen.clear()
guest.send(ethernet(ip4(tcp(0x10), protocol=6)))
until = time.monotonic() + 5


def resets():
    return [frame for frame in list(guest.seen)
            if frame[12:14] == b"\x08\x00" and frame[23] == 6 and frame[47] & 4]


while not resets() and time.monotonic() < until:
    time.sleep(0.02)
tap.ok(resets(), "TCP of no connection is answered with a reset")
tap.ok(not any(frame[12:14] == b"\x08\x00" and frame[23] == 6 and frame[36:38] == b"\x00\x50"
               and frame[47] == 0x10 and b"\x0f\xa0" == frame[34:36] for frame in heard),
       "and goes no further")

# Each is answered with a reset, so none is open; the kernel would remember all of them.
for number in range(FLOOD):
    guest.send(ethernet(ip4(tcp(2, sport=1024 + number, dport=9), protocol=6)))
tap.ok(sum(frame[36:38] == b"\x00\x09" and frame[23] == 6 for frame in list(heard)) < FLOOD // 2,
       "a flood of connections does not get through")
tap.is_(victim.get("1.2.3.4", 80), "web", "another guest notices nothing")
net.close()
tap.done()
