"""What the tests of the broker share: a client, a server, a runner."""
import atexit
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
VMCTL = os.environ.get("VMCTL", os.path.join(HERE, "../../vmctl/vmctl"))
HELLO, CONTROL, DATA, CREDIT, BYE, DISKS, TICK = 1, 2, 3, 4, 5, 6, 7
WINDOW = 384 << 10
PATIENCE = 20
FAKE_VM = os.path.join(HERE, "fake-vm")
FAKE_QEMU = os.path.join(HERE, "fake-qemu")


class Closed(Exception):
    pass


class Client:
    def __init__(self, path, hello=True):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(path)
        self.seq = 0
        self.data = {}  # channel: bytes received
        self.credit = {}
        self.events = []
        self.order = []  # what arrived: ("data", vm), ("dead", vm), ...
        self.replies = {}
        if hello:
            self.hello()

    def send(self, kind, payload=b"", channel=0):
        self.sock.sendall(struct.pack("<IIB3x", len(payload), channel, kind) + payload)

    def hello(self, nonce=None, version=1):
        nonce = nonce or os.urandom(16)
        self.send(HELLO, b"pffslink" + struct.pack("<I", version) + nonce)
        kind, _, payload = self.frame()
        assert kind == HELLO, kind
        return payload

    def exactly(self, count):
        got = b""
        while len(got) < count:
            try:
                piece = self.sock.recv(count - len(got))
            except ConnectionResetError:
                piece = b""
            if not piece:
                raise Closed
            got += piece
        return got

    def frame(self):
        length, channel, kind = struct.unpack("<IIB3x", self.exactly(12))
        return kind, channel, self.exactly(length)

    def take(self):
        """Receive one frame and keep it."""
        kind, channel, payload = self.frame()
        if kind == DATA:
            self.data[channel] = self.data.get(channel, b"") + payload
            self.order.append(("data", channel))
        elif kind == CREDIT:
            self.credit[channel] = self.credit.get(channel, 0) + struct.unpack("<I", payload)[0]
        elif kind == CONTROL:
            message = json.loads(payload)
            if "event" in message:
                self.events.append(message)
                self.order.append((message["event"], message.get("vm")))
            else:
                self.replies[message.get("seq")] = message
        return kind

    def request(self, op, **fields):
        self.seq += 1
        self.send(CONTROL, json.dumps({"op": op, "seq": self.seq, **fields}).encode())
        return self.reply(self.seq)

    def reply(self, seq):
        while seq not in self.replies:
            self.take()
        return self.replies.pop(seq)

    def create(self, mode="echo", **fields):
        fields = {"template": "default", "name": mode, "memory_mib": 256, "vcpus": 1, **fields}
        return self.request("create", **fields)

    def wait_data(self, vm, count):
        while len(self.data.get(vm, b"")) < count:
            self.take()
        return self.data[vm]

    def wait_event(self, event, vm):
        while not any(e["event"] == event and e.get("vm") == vm for e in self.events):
            self.take()
        return next(e for e in self.events if e["event"] == event and e.get("vm") == vm)

    def quiet(self, seconds):
        """Receive for a while."""
        self.sock.settimeout(seconds)
        try:
            while True:
                self.take()
        except (TimeoutError, socket.timeout):
            pass
        self.sock.settimeout(PATIENCE)

    def is_closed(self):
        try:
            while True:
                self.take()
        except Closed:
            return True

    def close(self):
        self.sock.close()


class Server:
    def __init__(self, directory, options=()):
        self.options = list(options)
        self.path = os.path.join(directory, "sock")
        images = os.path.join(directory, "images")
        os.makedirs(os.path.join(images, "templates"))
        for name in ("kernel", "initramfs", "upper.ext4", "templates/default.erofs"):
            open(os.path.join(images, name), "w").close()
        self.process = self.start(directory, images)
        deadline = time.monotonic() + PATIENCE
        while not os.path.exists(self.path) and time.monotonic() < deadline:
            time.sleep(0.01)

    def start(self, _, images):
        return subprocess.Popen([VMCTL, "serve", "--engine", "kvm", "--socket", self.path,
                                 "--images", images, "--vm-program", FAKE_VM] + self.options)

    def end(self):
        return end(self.process)

    def client(self, **fields):
        return Client(self.path, **fields)

    def children(self):
        """But for the keeper, which it always has, and the inits of families."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as f:
            return [pid for pid in f.read().split() if not is_helper(pid) and not gone(pid)]

    def keeper(self):
        """The process that has what a broker that is killed leaves."""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if is_keeper(pid, self.path + ".keep"):
                return int(pid)
        return None

    def restart(self):
        """vmctl is killed, and started again. Its clients have to connect anew."""
        self.process.kill()
        self.process.wait()
        self.process = self.start(os.path.dirname(self.path),
                                  os.path.join(os.path.dirname(self.path), "images"))
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                return self.client()
            except (ConnectionRefusedError, FileNotFoundError):
                time.sleep(0.01)
        raise Closed

    def fds(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


class RelayServer(Server):
    """The same broker behind the relay of the emulated host, without QEMU.

    What the relay starts as QEMU has a broker at the other ends of the ports.
    """

    def start(self, directory, images):
        open(os.path.join(images, "host-initramfs"), "w").close()
        self.bin = os.path.join(directory, "bin")
        os.mkdir(self.bin)
        qemu = os.path.join(self.bin, "qemu-system-x86_64")
        self.images = images
        self.templates = os.path.join(images, "templates")
        with open(qemu, "w") as f:
            f.write("#!/bin/sh\n"
                    'echo "$@" > "$0.args"\n'
                    'echo $$ > "$0.pid"; mv "$0.pid" "${0%/*}/qemu.pid"\n'
                    f"exec '{FAKE_QEMU}' '{self.bin}' '{VMCTL}' serve --engine kvm --ports 4 --images '{images}' "
                    f"--socket '{directory}/inner' --vm-program '{FAKE_VM}'\n")
        os.chmod(qemu, 0o755)
        self.qemus = set()
        atexit.register(self.end_qemus)
        return self.serve()

    def end_qemus(self):
        """Those of a test that failed; nobody else would."""
        for pid in self.qemus:
            if os.path.exists(f"/proc/{pid}") and FAKE_QEMU in open(f"/proc/{pid}/cmdline").read():
                os.kill(pid, signal.SIGKILL)

    def serve(self, **more):
        return subprocess.Popen(
            [VMCTL, "serve", "--engine", "emulated", "--socket", self.path, "--images", self.images],
            env={**os.environ, "PATH": self.bin + ":" + os.environ["PATH"]},
            stderr=subprocess.PIPE, universal_newlines=True, **more)

    def restart(self, **more):
        """Kill vmctl, and start another one."""
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()
        if os.path.exists(os.path.join(self.bin, "qemu.pid")):
            self.qemus.add(self.pid_of("qemu"))
        self.process = self.serve(**more)

    def pid_of(self, what):
        """The process id of "qemu", or of the "broker" in it."""
        with open(os.path.join(self.bin, what + ".pid")) as f:
            return int(f.read())

    def host_wakes(self):
        """How often the broker in the host has slept and been woken."""
        with open(f"/proc/{self.pid_of('broker')}/status") as f:
            return int(f.read().split("\nvoluntary_ctxt_switches:")[1].split()[0])

    def disks(self):
        """The disks that QEMU was told to add: unit and file."""
        commands = [json.loads(line) for line in self.monitor_text().splitlines()]
        files = {c["arguments"]["node-name"]: c["arguments"]["filename"]
                 for c in commands if c["execute"] == "blockdev-add"}
        return [(c["arguments"]["lun"], os.path.basename(files[c["arguments"]["drive"]]))
                for c in commands if c["execute"] == "device_add"]

    def monitor_text(self):
        with open(os.path.join(self.bin, "monitor")) as f:
            return f.read()

    def put_template(self, name):
        """As an image is put there: whole."""
        path = os.path.join(self.templates, name + ".erofs")
        with open(path + ".new", "w"):
            pass
        os.rename(path + ".new", path)


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as f:
            return f.read().split("\0")
    except (OSError, UnicodeDecodeError):
        return []


def is_keeper(pid, path=None):
    words = command_line(pid)
    return words[:2] == ["vmctl", "keep"] and path in (None, words[2])


def is_helper(pid):
    return is_keeper(pid) or command_line(pid)[:2] == ["vmctl", "init"]


def gone(pid):
    """There is no such process, or its parent has yet to wait for it."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def limit(pid, what, most):
    """Set a limit of a process as who it is, since root need not be allowed to.
    Return: what it was."""
    with open(f"/proc/{pid}/status") as f:
        ids = {k: int(v.split()[0]) for k, v in (line.split(":", 1) for line in f) if k in ("Uid", "Gid")}
    who = {"user": ids["Uid"], "group": ids["Gid"], "extra_groups": [], "check": True}
    command = ["prlimit", f"--pid={pid}"]
    was = subprocess.run(command + ["--noheadings", "--raw", "--output=SOFT", f"--{what}"],
                         stdout=subprocess.PIPE, universal_newlines=True, **who).stdout.strip()
    subprocess.run(command + [f"--{what}={most}:"], **who)
    return was


def end(process):
    """See to it that it has ended. Return: what was wrong with that, if anything."""
    if process.poll() is not None:
        return None  # by the test, which knows
    process.terminate()
    name = os.path.basename(process.args[0])
    try:
        code = process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return f"{name} did not end within {PATIENCE} s"
    return f"{name} ended with {code}" if code else None


def run(number, name, test, server_class):
    with tempfile.TemporaryDirectory() as directory:
        server = server_class(directory, getattr(test, "options", ()))
        failure = None
        try:
            test(server)
        except Exception as e:  # of any kind: nothing may be left running
            at = traceback.extract_tb(e.__traceback__)[-1]
            failure = f"{type(e).__name__} {e}\n{at.filename}:{at.lineno}: {at.line}"
        wrong = server.end()
        failure = failure or wrong
    print("not ok" if failure else "ok", number, "-", test.__doc__, flush=True)
    if failure:
        print("#", name, failure.replace("\n", "\n# "), file=sys.stderr, flush=True)


def main(tests, server_class=Server):
    """Run every function that is called test_, each with a server of its own."""
    tests = [(n, t) for n, t in tests.items() if n.startswith("test_")]
    wanted = sys.argv[1:]
    tests = [(n, t) for n, t in tests if not wanted or n in wanted]
    print(f"1..{len(tests)}", flush=True)
    for number, (name, test) in enumerate(tests, 1):
        run(number, name, test, server_class)


def skip(why):
    """Say why nothing is tested. Return: the exit status."""
    if os.environ.get("PFFS_MUST_WORK") == "1":
        print("1..1\nnot ok 1 -", why)
        return 1
    print("1..0 # SKIP", why)
    return 0
