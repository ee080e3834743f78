#!/usr/bin/env python3
"""Real guests and a network: what comes through the card whole, and whose connections
are whose when a guest is forked.

The world is a network namespace, and the host another one; both are gone with the test.
"""
import errno
import os
import selectors
import socket
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from vm_kit import PATIENCE, kit, main  # noqa: E402 # pylint: disable=wrong-import-position

WORLD, WORLD6, PORT = "8.8.8.8", "2600:1::8", 8000
IN_WORLD, IN_HOST = "world", "host"
ON = {"egress": "on", "allow": [], "secrets": []}
SETUP = {
    IN_WORLD: f"""link set lo up
                  addr add {WORLD}/32 dev lo
                  addr add {WORLD6}/128 dev lo nodad
                  addr add 10.99.0.1/24 dev wire
                  addr add 2600:2::1/64 dev wire nodad
                  link set wire up""",
    IN_HOST: """link set lo up
                addr add 10.99.0.2/24 dev wire
                addr add 2600:2::2/64 dev wire nodad
                link set wire up
                route add default via 10.99.0.1
                -6 route add default via 2600:2::1"""}


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def set_up(side):
    for line in SETUP[side].splitlines():
        ip(*line.split())


def serve(connection):
    """Send back a line; or send, or take, as many bytes as it says."""
    data = connection.recv(1 << 16)
    word, _, count = data.partition(b" ")
    if word == b"send":
        connection.setblocking(True)
        connection.sendall(bytes(range(256)) * (int(count) // 256))
    elif data:
        connection.send(data)
    return data


def be_world():
    """Serve until stdin ends. Tells of each connection that ends, and how."""
    print("ready", flush=True)
    sys.stdin.readline()
    set_up(IN_WORLD)
    listener = socket.create_server(("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    print("serves", flush=True)
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                return
            if key.fileobj is listener:
                selector.register(listener.accept()[0], selectors.EVENT_READ)
                continue
            try:
                end = None if serve(key.fileobj) else "end"
            except OSError as error:
                end = type(error).__name__
            if end:
                selector.unregister(key.fileobj)
                key.fileobj.close()
                print(end, flush=True)


class World:
    """The world's process, with a wire to it."""
    def __init__(self):
        self.process = subprocess.Popen(
            ["unshare", "--net", sys.executable, __file__, IN_WORLD],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.hears() == "ready"
        ip("link", "add", "wire", "type", "veth", "peer", "wire", "netns", str(self.process.pid))
        set_up(IN_HOST)
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.hears() == "serves"

    def hears(self):
        return self.process.stdout.readline().strip()

    def is_silent(self):
        os.set_blocking(self.process.stdout.fileno(), False)
        try:
            return not self.process.stdout.readline()
        finally:
            os.set_blocking(self.process.stdout.fileno(), True)


world = None


def told(server, op, **fields):
    reply = server.client.request(op, **fields)
    assert "error" not in reply, reply
    return reply


def connected(server, guest):
    """Wait until the guest has its network."""
    deadline = time.monotonic() + PATIENCE
    while True:
        mine = [vm for vm in told(server, "list")["vms"] if vm["vm"] == guest.vm]
        if mine[0]["connected"]:
            return guest
        assert time.monotonic() < deadline, mine
        time.sleep(0.1)


def boot(server):
    told(server, "network", dns=[])
    guest = server.boot()
    told(server, "policy", vm=guest.vm, policy=ON)
    connected(server, guest).run(f"""
import hashlib, socket, time
def connect(host="{WORLD}", port={PORT}):
    return socket.create_connection((host, port), 60)
def talk(s, line=b"hello"):
    s.sendall(line)
    return s.recv(100) == line
def take(s, count):
    sum = hashlib.md5()
    while count:
        data = s.recv(min(count, 1 << 20))
        sum.update(data)
        count -= len(data) or count
    return sum.hexdigest()
""")
    return guest


def is_cut(guest):
    """Is its socket s over, by the agent, or by its slot if that heard of it before?"""
    error = int(guest.run("print(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))"))
    return error in (errno.ECONNABORTED, errno.ECONNRESET)


def test_traffic(server):
    "a guest talks with the world, and long transfers are whole"
    guest = boot(server)
    assert guest.run("s = connect(); print(talk(s))") == "True\n"
    assert guest.run(f"t = connect('{WORLD6}'); print(talk(t)); t.close()") == "True\n"
    assert world.hears() == "end"
    size = 8 << 20
    out = guest.run(f"a = time.monotonic(); s.sendall(b'send {size}'); sum = take(s, {size}); "
                    f"print(sum == hashlib.md5(bytes(range(256)) * {size // 256}).hexdigest(), "
                    "time.monotonic() - a); s.close()")
    assert out.startswith("True"), out
    print("# 8 MiB in", out.split()[1], "s", flush=True)
    assert world.hears() == "end"


def test_fork(server):
    "a fork's copies of connections are reset, and the world does not hear of it"
    parent = boot(server)
    assert parent.run("s = connect(); print(talk(s)); l = socket.create_server(('', 9000)); "
                      "a = connect('127.0.0.1', 9000); b = l.accept()[0]; print(talk(s))") == "True\n" * 2
    child = parent.fork()
    child.wake(2)
    assert is_cut(child)
    assert child.run("a.send(b'x'); print(b.recv(1), connect('127.0.0.1', 9000) is not None)") == "b'x' True\n"
    assert connected(server, child).run("c = connect(); print(talk(c))") == "True\n"
    assert parent.run("print(talk(s), talk(s, b'again'))") == "True True\n"
    assert world.is_silent()
    assert child.run("c.close()") == "" and world.hears() == "end"
    assert parent.run("print(talk(s)); s.close()") == "True\n" and world.hears() == "end"


def test_attempt(server):
    "an attempt at a connection that is under way is the parent's, too"
    parent = boot(server)
    parent.run("s = socket.socket(); s.setblocking(False); s.connect_ex(('8.8.4.4', 80))")
    child = parent.fork()
    child.wake(2)
    assert is_cut(child)


def begin():
    global world  # pylint: disable=global-statement
    if sys.argv[1:] == [IN_WORLD]:
        return be_world()
    if sys.argv[1:2] != [IN_HOST]:
        os.execvp("unshare", ["unshare", "--net", sys.executable, __file__, IN_HOST, *sys.argv[1:]])
    del sys.argv[1]
    world = World()
    try:
        return main(globals())
    finally:
        world.process.stdin.close()
        world.process.wait(PATIENCE)


if os.geteuid():
    sys.exit(kit.skip("network namespaces are made by root alone"))
sys.exit(begin())
