"""`vmctl net` without VMs: a test is the broker and the guests, hosts are namespaces.

A guest is a network namespace whose eth0 is the other end of a slot's tap: a thread copies
frames from one to the other, and a test may put its own in between. Everything is in
namespaces of the test's own process, so that nothing has to be cleaned up but processes.
"""
import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

from frames_kit import GUEST_MAC

BUILD = os.environ.get("PFFS_BUILD", os.getcwd())
PROGRAM = os.path.join(BUILD, "vmctl", "vmctl-net")
HEADER = 12
PATIENCE = 20
CLONE_NEWNET = 0x40000000
TUNSETIFF, TUNSETVNETHDRSZ = 0x400454CA, 0x400454D8
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 2, 0x1000, 0x4000
libc = ctypes.CDLL(None, use_errno=True)


def skip_unless_root():
    if os.geteuid() == 0:
        return
    if os.environ.get("PFFS_MUST_WORK") == "1":
        print("not ok 1 - root is needed")
        sys.exit(1)
    print("1..0 # SKIP needs root")
    sys.exit(0)


def unshare_net():
    if libc.unshare(CLONE_NEWNET) < 0:
        raise OSError(ctypes.get_errno(), "unshare")


def setns(fd):
    if libc.setns(fd, CLONE_NEWNET) < 0:
        raise OSError(ctypes.get_errno(), "setns")


def sh(*words, check=True):
    return subprocess.run(words, check=check, capture_output=True, text=True)


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


class Namespace:
    """A network namespace, and what is run in it."""

    def __init__(self):
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        unshare_net()
        self.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        setns(here)
        os.close(here)
        self.path = f"/proc/{os.getpid()}/fd/{self.fd}"
        self.run("ip", "link", "set", "lo", "up")

    def run(self, *words, check=True, timeout=20):
        return subprocess.run(["nsenter", f"--net={self.path}", *words], check=check,
                              capture_output=True, text=True, timeout=timeout)

    def inside(self, function, *args):
        """Call it in a thread that is there, and return what it does."""
        result = []

        def main():
            setns(self.fd)
            try:
                result.append(function(*args))
            except Exception as error:  # it is the caller's
                result.append(error)

        thread = threading.Thread(target=main)
        thread.start()
        thread.join(3 * PATIENCE)
        if not result:
            raise TimeoutError(function)
        if isinstance(result[0], Exception):
            raise result[0]
        return result[0]


def make_tap(name):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF,
                struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("i", HEADER))
    return fd


class Guest(Namespace):
    """What is behind a slot's tap."""

    def __init__(self, tap):
        super().__init__()
        self.tap = tap
        self.vm = None
        self.nic = self.inside(make_tap, "eth0")
        self.seen = []  # frames from the slot, when a test looks
        self.look = False
        self.run("sh", "-c", f"""
            sysctl -qw net.ipv6.conf.eth0.accept_dad=0 net.ipv6.conf.eth0.accept_ra=0
            ip link set eth0 address {GUEST_MAC} up
            ip addr add 198.18.0.2/30 dev eth0
            ip route add default via 198.18.0.1
            ip addr add fd70:6666:7300::2/64 dev eth0 nodad
            ip route add default via fd70:6666:7300::1""")
        self.over = False
        self.thread = threading.Thread(target=self.copy, daemon=True)
        self.thread.start()

    def copy(self):
        while not self.over:
            ready, _, _ = select.select([self.tap, self.nic], [], [], 0.2)
            for fd in ready:
                try:
                    frame = os.read(fd, 70000)
                    if fd == self.tap and self.look:
                        self.seen.append(frame[HEADER:])
                    os.write(self.nic if fd == self.tap else self.tap, frame)
                except OSError:
                    pass

    def send(self, frame):
        """A frame as it is, from a guest that has its own ideas."""
        os.write(self.tap, bytes(HEADER) + frame)

    def close(self):
        self.over = True
        self.thread.join()
        for fd in (self.tap, self.nic, self.fd):
            os.close(fd)

    def tcp(self, address, port, timeout=PATIENCE):
        """Connect. Returns the socket, or the name of the error."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET

        def connect():
            sock = socket.socket(family)
            sock.settimeout(timeout)
            try:
                sock.connect((address, port))
            except OSError as error:
                sock.close()
                return type(error).__name__
            return sock

        return self.inside(connect)

    def ping(self, address, timeout=PATIENCE):
        """Does an echo come back?"""
        six = ":" in address

        def echo():
            family, protocol = ((socket.AF_INET6, socket.IPPROTO_ICMPV6) if six
                                else (socket.AF_INET, socket.IPPROTO_ICMP))
            write("/proc/sys/net/ipv4/ping_group_range", "0 0")
            with socket.socket(family, socket.SOCK_DGRAM, protocol) as sock:
                sock.settimeout(timeout)
                try:
                    sock.sendto(struct.pack(">BBHHH", 128 if six else 8, 0, 0, 0, 1) + b"echo",
                                (address, 0))
                    return sock.recv(100)[8:] == b"echo"
                except OSError:
                    return False

        return self.inside(echo)

    def get(self, address, port, timeout=PATIENCE):
        """What a host says to who connects, or the name of the error."""
        sock = self.tcp(address, port, timeout)
        if isinstance(sock, str):
            return sock
        with sock:
            try:
                return sock.recv(100).decode()
            except OSError as error:
                return type(error).__name__


class Net:
    """`vmctl net`, as its broker sees it."""

    program = PROGRAM

    def __init__(self, *args, **who):
        """@who: its user, as subprocess.Popen has it; else root."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock = ours
        self.seq = 0
        self.records = {}
        self.uplink = None
        os.set_inheritable(theirs.fileno(), True)
        self.process = subprocess.Popen(
            [self.program, *args], close_fds=False,
            preexec_fn=lambda: os.dup2(theirs.fileno(), 3), **who)
        theirs.close()

    def send(self, **message):
        self.sock.settimeout(PATIENCE)
        self.sock.send(json.dumps(message).encode())

    def receive(self, timeout=20):
        """The next message that is no news of its own, and the tap that came with it."""
        until = time.monotonic() + timeout
        while True:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError("vmctl net says nothing")
            self.sock.settimeout(left)
            data, fds, _, _ = socket.recv_fds(self.sock, 1 << 21, 4)
            if not data:
                raise EOFError("vmctl net has ended")
            message = json.loads(data)
            if message.get("event") == "net":
                self.records.setdefault(message["vm"], []).extend(message["records"])
            elif message.get("event") == "uplink":
                self.uplink = message
            elif message.get("event") != "slots":
                return message, fds

    def policy(self, vm, egress="on", allow=()):
        self.seq += 1
        self.send(op="policy", vm=vm, seq=self.seq,
                  policy={"egress": egress, "allow": list(allow), "secrets": []})
        message, _ = self.receive()
        assert message.get("seq") == self.seq, message
        return message

    def take(self, vm):
        self.send(op="take", vm=vm)
        message, fds = self.receive()
        assert message.get("event") == "slot" and message["vm"] == vm, message
        os.set_blocking(fds[0], False)
        return fds[0]

    def guest(self, vm, **policy):
        self.policy(vm, **policy)
        guest = Guest(self.take(vm))
        guest.vm = vm
        return guest

    def log(self, vm, want, timeout=PATIENCE):
        """Wait for a record with these values. Returns it, or None."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            for record in self.records.get(vm, []):
                if all(record.get(key) == value for key, value in want.items()):
                    return record
            try:
                self.receive(0.2)
            except TimeoutError:
                pass
        return None

    def log_of_connect(self, guest, address, want, timeout=PATIENCE):
        """Connect again and again, until a record of that has these values, too."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            sock = guest.tcp(address, 80)
            if not isinstance(sock, str):
                sock.close()
            if record := self.log(guest.vm, {"address": address, **want}, 0.5):
                return record
        return None

    def in_hub(self, *words, check=True):
        """Run a program in its namespaces, as root there."""
        return sh("nsenter", "-t", str(self.process.pid), "-U", "-n", "--preserve-credentials", "--setuid", "0",
                  *words, check=check)

    def users(self):
        """All that its process is to the host: real, effective, saved, and for files."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return next(set(map(int, line.split()[1:])) for line in file if line.startswith("Uid:"))

    def close(self):
        self.sock.close()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


# Stands for `dns` and `proxy`: it gives its channel to the test.
STUB = """
import os, socket, sys, time
sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
sock.connect(os.environ["NET_STUB"])
socket.send_fds(sock, [sys.argv[0].encode()], [3])
os.close(3)
sock.recv(1)
"""


class StubbedNet(Net):
    """`vmctl net` whose `dns` and `proxy` the test is: it has their ends of the channels."""

    def __init__(self, *args):
        self.work = tempfile.mkdtemp()
        os.chmod(self.work, 0o755)
        self.program = os.path.join(self.work, "vmctl-net")
        shutil.copy(PROGRAM, self.program)
        # Executed by a descriptor, which a script cannot be: so it is who runs that, and its first argument.
        os.symlink("/usr/bin/python3", os.path.join(self.work, "vmctl-names"))
        for name in ("dns", "proxy"):
            write(os.path.join(self.work, name), STUB)
        self.held = []
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            path = os.path.join(self.work, "stub")
            listener.bind(path)
            os.chmod(path, 0o666)
            listener.listen()
            listener.settimeout(PATIENCE)
            super().__init__(*args, cwd=self.work, env={**os.environ, "NET_STUB": path})
            channels = dict(self.channel(listener) for _ in range(2))
        self.dns, self.proxy = channels["dns"], channels["proxy"]

    def channel(self, listener):
        """Of who comes next: whom it stands for, and its channel."""
        peer, _ = listener.accept()
        self.held.append(peer)  # with it the stub ends
        name, fds, _, _ = socket.recv_fds(peer, 100, 1)
        sock = socket.socket(fileno=fds[0])
        sock.settimeout(PATIENCE)
        return name.decode(), sock

    def hear(self, op):
        """The next message to `dns` with this `op`, or without one."""
        while True:
            data, fds, _, _ = socket.recv_fds(self.dns, 1 << 20, 4)
            for fd in fds:
                os.close(fd)
            message = json.loads(data)
            if message.get("op") == op:
                return message

    @staticmethod
    def drain(channel):
        """What there is to read in one of the channels."""
        messages = []
        while select.select([channel], [], [], 0)[0]:
            data, fds, _, _ = socket.recv_fds(channel, 1 << 20, 4)
            for fd in fds:
                os.close(fd)
            if not data:
                break
            messages.append(json.loads(data))
        return messages

    def resolved(self, slot, name, *addresses, ttl=300):
        """`dns` says so, and waits for its answer."""
        self.dns.send(json.dumps({"op": "open", "seq": 5, "slot": slot, "name": name, "addresses": [
            {"address": address, "ttl": ttl} for address in addresses]}).encode())
        return self.hear(None)["seq"] == 5

    def close(self):
        super().close()
        shutil.rmtree(self.work)


class Host(Namespace):
    """A host of the internet, with services that say its name."""

    def __init__(self, name, number, addresses):
        super().__init__()
        self.name = name
        sh("ip", "link", "add", f"h{number}", "type", "veth", "peer", "name", "eth0")
        sh("ip", "link", "set", "eth0", "netns", self.path)
        sh("ip", "link", "set", f"h{number}", "up")
        sh("ip", "addr", "add", f"192.0.0.{number * 4 + 1}/30", "dev", f"h{number}")
        sh("ip", "-6", "addr", "add", f"fd00:{number:x}::1/64", "dev", f"h{number}", "nodad")
        self.run("ip", "link", "set", "eth0", "up")
        self.run("ip", "addr", "add", f"192.0.0.{number * 4 + 2}/30", "dev", "eth0")
        self.run("ip", "-6", "addr", "add", f"fd00:{number:x}::2/64", "dev", "eth0", "nodad")
        self.run("ip", "route", "add", "default", "via", f"192.0.0.{number * 4 + 1}")
        self.run("ip", "-6", "route", "add", "default", "via", f"fd00:{number:x}::1")
        for address in addresses:
            six = ":" in address
            self.run("ip", "addr", "add", f"{address}/{128 if six else 32}", "dev", "lo")
            sh("ip", "route", "add", address, "via",
               f"fd00:{number:x}::2" if six else f"192.0.0.{number * 4 + 2}")

    def serve(self, port):
        """TCP at this port, on all addresses: it greets with its name, and then echoes."""
        serve(self.inside(listen, port), self.name)


def listen(port):
    sock = socket.socket(socket.AF_INET6)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("::", port))
    sock.listen(256)
    return sock


def serve(sock, name):
    """Greet and echo who connects, in threads."""

    def accept():
        while True:
            peer, _ = sock.accept()
            threading.Thread(target=echo, args=(peer,), daemon=True).start()

    def echo(peer):
        try:
            peer.send(name.encode())
            while data := peer.recv(4096):
                peer.send(data)
        except OSError:
            pass
        peer.close()

    threading.Thread(target=accept, daemon=True).start()


def begin():
    """The test's own process becomes the machine whose network this is."""
    skip_unless_root()
    unshare_net()
    sh("ip", "link", "set", "lo", "up")
    write("/proc/sys/net/ipv6/conf/all/forwarding", "1")


class Tap:
    """TAP, of a test in Python."""

    def __init__(self):
        self.count = self.failed = 0

    def ok(self, good, name):
        self.count += 1
        self.failed += not good
        print(f"{'ok' if good else 'not ok'} {self.count} - {name}", flush=True)

    def is_(self, got, want, name):
        self.ok(got == want, name)
        if got != want:
            print(f"# got {got!r}, want {want!r}", file=sys.stderr)

    def done(self):
        print(f"1..{self.count}", flush=True)
        os._exit(1 if self.failed else 0)  # threads wait for what does not come
