#!/usr/bin/python3
"""Frames of a guest that is not what it says: none of them gets out of its slot."""
import os
import socket
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from frames_kit import GUEST_MAC, IP6, MORE, OTHER_MAC, TCP, Frames, arp, ethernet, marked  # noqa: E402
from net_kit import Host, Net, Tap, begin  # noqa: E402

FLOOD = 20000
begin()
tap = Tap()
frames = Frames("1.2.3.4", "2606:4700::4")
ip4, ip6, udp, tcp = frames.ip4, frames.ip6, frames.udp, frames.tcp
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


def comes(mark, seconds=20, into=heard):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if any(mark in frame for frame in list(into)):
            return True
        time.sleep(0.02)
    return any(mark in frame for frame in list(into))


guest.send(ethernet(ip4(udp(b"honest"))))
tap.ok(comes(b"honest"), "a datagram of the guest's own comes")
guest.send(ethernet(ip6(udp(b"six-honest")), IP6))
tap.ok(comes(b"six-honest"), "and one of IPv6")
hostile = frames.hostile()
for frame in sum(hostile.values(), []) + frames.cut_off():
    guest.send(frame)
for frame in frames.oversized():
    try:
        guest.send(frame)
    except OSError:
        pass
guest.send(ethernet(ip4(udp(b"last"), ident=8)))
tap.ok(comes(b"last"), "and another one after all that follows")
for what, evil in hostile.items():
    mark = next(filter(None, map(marked, evil)))
    tap.ok(not comes(mark, 0) and not comes(mark, 0, left), f"{what}: does not come")
tap.ok(not comes(b"evil-long", 0), "what is longer than the link takes: does not come")

parts = udp(b"put-together" * 10)
guest.send(ethernet(ip4(parts[:64], flags=MORE, ident=9)))
guest.send(ethernet(ip4(parts[64:], flags=8, ident=9)))
tap.ok(comes(b"put-together"), "fragments of a whole datagram are put together first")

net.policy(1, "allow", ["1.2.3.4:7", "[2606:4700::4]:7"])
evasions = frames.evasions(7, 4001)
for frame in sum(evasions.values(), []):
    guest.send(frame)
guest.send(ethernet(ip4(udp(b"open-port", port=7), ident=10)))
tap.ok(comes(b"open-port"), "allow: a port that is open")
for what, evil in evasions.items():
    mark = next(filter(None, map(marked, evil)))
    tap.ok(not comes(mark, 0) and not comes(mark, 0, left), f"one that is shut, {what}: does not come")
net.policy(1, "on")

guest.look = True
guest.send(ethernet(arp(OTHER_MAC, "198.18.0.1", 2), kind=0x0806))
guest.send(ethernet(arp(GUEST_MAC, "198.18.0.1", 2), kind=0x0806))
guest.send(ethernet(arp(GUEST_MAC, "198.18.0.2", wanted="198.19.0.1"), kind=0x0806))
guest.send(ethernet(arp(GUEST_MAC, "198.18.0.2"), kind=0x0806))
until = time.monotonic() + 20


def answers():
    return [frame for frame in list(guest.seen) if frame[12:14] == b"\x08\x06"]


while not answers() and time.monotonic() < until:
    time.sleep(0.02)
tap.is_(len(answers()), 1, "ARP: the gateway answers for itself alone")
tap.is_(guest.get("1.2.3.4", 80), "web", "and nobody believed that it was another one")

guest.seen.clear()
guest.send(ethernet(ip4(tcp(0x10), protocol=TCP)))
until = time.monotonic() + 20


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
    guest.send(ethernet(ip4(tcp(2, sport=1024 + number, dport=9), protocol=TCP)))
tap.ok(sum(frame[36:38] == b"\x00\x09" and frame[23] == 6 for frame in list(heard)) < FLOOD // 2,
       "a flood of connections does not get through")
tap.is_(victim.get("1.2.3.4", 80), "web", "another guest notices nothing")
net.close()
tap.done()
