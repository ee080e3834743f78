"""Real guests, as pffs has them: their agents' frames, over a broker's link.

Uses KVM, or an emulated host, as `vmctl probe` decides; $PFFS_ENGINE overrides
that, and $PFFS_IMAGES says where the images are. Arguments are names of tests.
"""
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../unit"))
sys.dont_write_bytecode = True
import broker_kit as kit  # noqa: E402 # pylint: disable=wrong-import-position

IMAGES = os.environ.get("PFFS_IMAGES", "/var/cache/pffs")
ENGINE = os.environ.get("PFFS_ENGINE", "auto")
WAKE, RUN, CODE = 1, 2, 3
READY, STARTED, STDOUT, STDERR, EXIT, STDIN_TAKEN, RESET_DONE, AWAKE = range(64, 72)
LAST = 75  # of the frames that a guest sends
HEADER = struct.Struct("<IIBBH")
PATIENCE = 180
kit.PATIENCE = PATIENCE


class Run:
    def __init__(self):
        self.out = self.err = b""
        self.status = None

    def copy(self):
        run = Run()
        run.out, run.err, run.status = self.out, self.err, self.status
        return run


class Guest:
    """The host's end of a conversation with an agent, as pffs holds it."""

    def __init__(self, client, vm, pid):
        self.client, self.vm, self.pid = client, vm, pid
        self.partial = b""
        self.runs = {}
        self.last = 0
        self.epoch = 0
        self.ready = False
        self.awake = 0

    def take(self):
        data = self.client.data.pop(self.vm, b"")
        if not data:
            return
        self.client.send(kit.CREDIT, struct.pack("<I", len(data)), self.vm)
        self.partial += data
        while len(self.partial) >= HEADER.size:
            length, stream, kind, zero, _ = HEADER.unpack_from(self.partial)
            assert not zero and length <= 280 << 10, "the stream is out of step"
            if len(self.partial) < HEADER.size + length:
                return
            payload = self.partial[HEADER.size:HEADER.size + length]
            self.partial = self.partial[HEADER.size + length:]
            self.frame(kind, stream, payload)

    def frame(self, kind, stream, payload):
        assert READY <= kind <= LAST, (kind, "the stream is out of step")
        if kind == READY:
            self.ready = True
        elif kind == AWAKE:
            self.awake += 1
        elif kind == STDOUT:
            self.runs[stream].out += payload
        elif kind == STDERR:
            self.runs[stream].err += payload
        elif kind == EXIT:
            self.runs[stream].status = tuple(payload)

    def wait(self, until, seconds=PATIENCE):
        deadline = time.monotonic() + seconds
        self.take()
        while not until():
            assert time.monotonic() < deadline, (self.vm, "waited too long", self.runs and self.runs[self.last].out[-200:])
            self.client.sock.settimeout(max(0.1, deadline - time.monotonic()))
            self.client.take()
            for guest in self.client.guests:
                guest.take()
            for event in self.client.events:
                assert event.get("vm") != self.vm or event["event"] == "net", event
        self.client.sock.settimeout(PATIENCE)

    def send(self, kind, stream=0, payload=b""):
        self.client.send(kit.DATA, HEADER.pack(len(payload), stream, kind, 0, self.epoch) + payload, self.vm)

    def wake(self, epoch=1):
        self.epoch = epoch
        name, ident = b"host%d" % self.vm, b"sbx_" + b"%032x" % self.vm
        self.send(WAKE, 0, struct.pack("<HQ", epoch, time.time_ns()) + os.urandom(64) +
                  struct.pack("<I", len(name)) + name + struct.pack("<I", len(ident)) + ident + b"\0")
        wakes = self.awake + 1
        self.wait(lambda: self.awake == wakes)

    def begin(self, code, language=1):
        self.last += 1
        run = self.runs[self.last] = Run()
        code = code.encode()
        self.send(RUN, self.last, struct.pack("<BBI", language, 0, len(code)))
        self.send(CODE, self.last, code)
        return run

    def run(self, code, language=1):
        run = self.begin(code, language)
        self.wait(lambda: run.status is not None)
        assert run.status == (0, 0), (run.status, run.out, run.err)
        return run.out.decode()

    def fork(self, name="child"):
        return self.fork_many([name])[0]

    def fork_many(self, names):
        """All that came before the reply is the parent's past."""
        self.client.seq += 1
        seq = self.client.seq
        start = time.monotonic()
        self.client.send(kit.CONTROL, json.dumps(
            {"op": "fork", "seq": seq, "vm": self.vm, "names": names}).encode())
        # a frame at a time: what stands behind the reply is not looked at yet
        while seq not in self.client.replies:
            self.client.take()
        reply = self.client.replies.pop(seq)
        assert "error" not in reply, reply
        reply["seconds"] = time.monotonic() - start
        self.take()
        return [self.twin(vm, reply) for vm in reply["vms"]]

    def twin(self, vm, reply):
        child = Guest(self.client, vm["vm"], vm["pid"])
        child.partial, child.last, child.epoch = self.partial, self.last, self.epoch
        child.runs = {number: run.copy() for number, run in self.runs.items()}
        child.ready = self.ready
        child.reply = reply
        self.client.guests.append(child)
        return child

    def destroy(self):
        reply = self.client.request("destroy", vm=self.vm)
        assert "error" not in reply, reply
        self.client.guests.remove(self)


class Server:
    def __init__(self, directory):
        self.path = os.path.join(directory, "sock")
        self.process = subprocess.Popen(
            [kit.VMCTL, "serve", "--engine", ENGINE, "--socket", self.path, "--images", IMAGES])
        deadline = time.monotonic() + PATIENCE
        while not os.path.exists(self.path) and self.process.poll() is None:
            assert time.monotonic() < deadline, "vmctl does not listen"
            time.sleep(0.01)
        self.client = kit.Client(self.path)
        self.client.guests = []

    def boot(self, memory_mib=512, vcpus=1):
        made = self.client.create("guest", memory_mib=memory_mib, vcpus=vcpus)
        assert "error" not in made, made
        guest = Guest(self.client, made["vm"], made["pid"])
        self.client.guests.append(guest)
        guest.wait(lambda: guest.ready)
        guest.wake()
        return guest

    def clean(self):
        for guest in list(self.client.guests):
            guest.destroy()
        left = self.client.request("list")["vms"]
        assert left == [], left


def explain(server, name, error):
    """Say what failed, and what the newest guests had said. Begin anew."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    print("#", name, type(error).__name__, error, where.line, flush=True)
    try:
        for guest in server.client.guests[-2:]:
            log = server.client.request("log", vm=guest.vm).get("log", "")
            print("# VM", guest.vm, log[-1500:].replace("\n", "\n# "), flush=True)
    except (kit.Closed, OSError):
        pass
    server.client.close()
    server.client = kit.Client(server.path)
    server.client.guests = []
    for left in server.client.request("list")["vms"]:
        server.client.request("destroy", vm=left["vm"])


def run(server, number, name, test):
    start = time.monotonic()
    failure = None
    try:
        test(server)
        server.clean()
    except (AssertionError, kit.Closed, OSError, KeyError, ValueError) as error:
        failure = error
    print("not ok" if failure is not None else "ok", number, "-", test.__doc__, flush=True)
    print("# %s took %.1f s" % (name, time.monotonic() - start), flush=True)
    if failure is not None:
        explain(server, name, failure)
    return failure is None


def main(tests):
    if not os.path.exists(kit.VMCTL) or not os.path.exists(os.path.join(IMAGES, "kernel")):
        return kit.skip(f"no vmctl or no images in {IMAGES}: make, guest/images/build all")
    wanted = sys.argv[1:]
    tests = [(n, t) for n, t in tests.items()
             if n.startswith("test_") and (not wanted or n in wanted)]
    print("1..%d" % len(tests), flush=True)
    with tempfile.TemporaryDirectory() as directory:
        server = Server(directory)
        try:
            good = [run(server, number, *test) for number, test in enumerate(tests, 1)]
        finally:
            server.process.terminate()
            server.process.wait(PATIENCE)
    return 0 if all(good) else 1
