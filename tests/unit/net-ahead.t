#!/usr/bin/python3
"""Slots are made and ruled ahead: who takes one has it at once, and never with a way out that
its policy has not."""
import os
import random
import re
import select
import signal
import socket
import statistics
import struct
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from frames_kit import GATEWAY_MAC, GUEST_MAC  # noqa: E402
from net_kit import HEADER, Host, Net, Tap, begin, sh  # noqa: E402

FREE = 8        # slots, at least
ROUNDS = 200    # forks that each send one packet
PORT = 4000
PATIENCE = 20
begin()
tap = Tap()
web = Host("web", 1, ["1.2.3.4"])
arrived = web.inside(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
arrived.bind(("0.0.0.0", PORT))
arrived.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
web.serve(80)
net = Net("--uplink", "kernel")
net.guest(9).get("1.2.3.4", 80)  # all on the way there know each other
PARENTS = {1: ("on", []), 2: ("off", []), 3: ("allow", ["9.9.9.9"]), 4: ("allow", ["1.2.3.4:4000"])}
OPEN = (1, 4)


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total & 0xffff) + (total >> 16)
    return ~(total + (total >> 16)) & 0xffff


def datagram(number):
    """A frame of a guest's: NUMBER, by UDP, to the host."""
    udp = struct.pack(">HHHHI", 20000 + number, PORT, 12, 0, number)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0,
                     socket.inet_aton("198.18.0.2"), socket.inet_aton("1.2.3.4"))
    ip = ip[:10] + struct.pack(">H", checksum(ip)) + ip[12:]
    macs = bytes.fromhex((GATEWAY_MAC + GUEST_MAC).replace(":", ""))
    return bytes(HEADER) + macs + b"\x08\x00" + ip + udp


def heard(want=(), seconds=PATIENCE):
    """The numbers that came to the host; wait until these have."""
    numbers, until = set(), time.monotonic() + seconds
    while not set(want) <= numbers and time.monotonic() < until or \
            select.select([arrived], [], [], 0)[0]:
        if select.select([arrived], [], [], 0.1)[0]:
            numbers.add(struct.unpack(">I", arrived.recv(100))[0])
    return numbers


def process(name):
    for pid in sh("pgrep", "-P", str(net.process.pid)).stdout.split():
        with open(f"/proc/{pid}/comm", encoding="ascii") as comm:
            if comm.read() == name + "\n":
                return int(pid)
    return None


# Forks of sandboxes with other policies, in any order, some at once, some of a parent whose
# policy was changed just before. Each sends a packet as soon as it has a tap.
chance = random.Random(1)
for parent, policy in PARENTS.items():
    net.policy(parent, *policy)
net.policy(5, "on")
passes, waiting = {}, set()
last = "on"
for number in range(1000, 1000 + ROUNDS):
    parent = chance.choice([1, 2, 3, 4, 5])
    if parent == 5 and chance.random() < 0.5:
        last = chance.choice(["on", "off"])
        net.send(op="policy", vm=5, seq=number,
                 policy={"egress": last, "allow": [], "secrets": []})
    passes[number] = parent in OPEN or parent == 5 and last == "on"
    net.send(op="inherit", vm=number, parent=parent)
    net.send(op="take", vm=number)
    waiting.add(number)
    while len(waiting) > 20 or waiting and (number % 50 == 49 or chance.random() < 0.5):
        message, fds = net.receive()
        if message["event"] == "slot":
            os.write(fds[0], datagram(message["vm"]))
            os.close(fds[0])
            waiting.remove(message["vm"])
may = {number for number, passed in passes.items() if passed}
came = heard(may)
tap.is_(sorted(came - may), [], f"no first packet of {ROUNDS} forks passed that must not")
tap.is_(sorted(may - came), [], f"and all {len(may)} others did")
for number in passes:
    net.send(op="gone", vm=number)


def is_full():
    """Are FREE slots ahead, and is the maker idle?"""
    links = net.in_hub("ip", "-o", "link")
    return len(re.findall(r"^\d+: s\d+", links.stdout, re.M)) >= FREE


def takes(count, first):
    """Forks of VM 1 that take slots one after the other. Returns the times."""
    times = []
    for vm in range(first, first + count):
        net.send(op="inherit", vm=vm, parent=1)
        start = time.monotonic()
        os.close(net.take(vm))
        times.append(time.monotonic() - start)
    return times


# Another `vmctl net`, whose slots are all there, and which can make no others.
net.close()
net = Net("--uplink", "kernel")
net.policy(1, "on")
until = time.monotonic() + PATIENCE
while not is_full() and time.monotonic() < until:
    time.sleep(0.1)
time.sleep(0.5)
maker = process("vmctl-slots")
os.kill(maker, signal.SIGSTOP)
ahead = takes(FREE, 100)
tap.ok(True, f"{FREE} forks have slots while none can be made")
net.send(op="inherit", vm=200, parent=1)
net.send(op="take", vm=200)
try:
    net.receive(0.5)
    tap.ok(False, "the next one waits")
except TimeoutError:
    tap.ok(True, "the next one waits")
os.kill(maker, signal.SIGCONT)
message, fds = net.receive()
tap.is_((message["event"], message["vm"]), ("slot", 200), "until one is made")
os.close(fds[0])
late = takes(30, 300)  # as fast as they come: sooner or later one is made for each
print(f"# ahead {statistics.median(ahead) * 1000:.2f} ms, late {late[-1] * 1000:.2f} ms")
tap.ok(statistics.median(ahead) * 2 < statistics.median(late[FREE:]),
       "a slot that is there is had at least twice as fast as one that has to be made")

# What is destroyed holds up nobody.
for vm in [*range(100, 100 + FREE), 200, *range(300, 330)]:
    net.send(op="gone", vm=vm)
net.policy(1, "off")
tap.ok(True, "slots end")
os.kill(process("vmctl-slots"), signal.SIGKILL)
tap.is_(net.process.wait(PATIENCE), 1, "without what makes slots it ends")
tap.done()
