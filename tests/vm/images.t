#!/usr/bin/env python3
"""Templates that come, change and go while vmctl runs, on either engine."""
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../unit"))
import broker_kit as kit  # noqa: E402

IMAGES = os.environ.get("PFFS_IMAGES", "/var/cache/pffs")
DEFAULT = os.path.join(IMAGES, "templates/default.erofs")
HEADER = struct.Struct("<IIBBH")
WAKE, RUN, CODE, READY, STDOUT, EXIT = 1, 2, 3, 64, 66, 68
BASH = 2
PATIENCE = 180
MORE = 1 << 20


class Guest:
    """A machine of a template, and just enough of the agent's protocol to ask it."""

    def __init__(self, client, template):
        self.client = client
        made = client.create("guest", template=template, memory_mib=512)
        assert "error" not in made, made
        self.vm = made["vm"]

    def frame(self):
        data = self.client.wait_data(self.vm, HEADER.size)
        length, _, kind, _, _ = HEADER.unpack_from(data)
        data = self.client.wait_data(self.vm, HEADER.size + length)
        self.client.data[self.vm] = data[HEADER.size + length:]
        return kind, data[HEADER.size:HEADER.size + length]

    def send(self, kind, payload, stream=0, epoch=1):
        self.client.send(kit.DATA, HEADER.pack(len(payload), stream, kind, 0, epoch) + payload,
                         self.vm)

    def ask(self, command):
        while self.frame()[0] != READY:
            pass
        self.send(WAKE, struct.pack("<HQ", 1, time.time_ns()) + os.urandom(64) +
                  struct.pack("<I", 1) + b"g" + struct.pack("<I", 1) + b"g")
        self.send(RUN, struct.pack("<BBI", BASH, 0, len(command)), 1)
        self.send(CODE, command.encode(), 1)
        said, kind = b"", None
        while kind != EXIT:
            kind, payload = self.frame()
            said += payload if kind == STDOUT else b""
        return said.decode()


def disk_size(client, template):
    """Boot a machine and ask it how large its template is."""
    guest = Guest(client, template)
    size = int(guest.ask("cat /sys/block/vda/size")) * 512
    client.request("destroy", vm=guest.vm)
    return size


def put(images, name, extra=0):
    """Put an image there as guest/images/build does: whole, by rename."""
    path = os.path.join(images, "templates", name + ".erofs")
    shutil.copyfile(DEFAULT, path + ".new")
    os.truncate(path + ".new", os.path.getsize(DEFAULT) + extra)
    os.rename(path + ".new", path)


def test_later(client, images):
    "a template that came while vmctl runs is listed, and boots"
    assert client.request("stat")["templates"] == ["default"]
    assert client.create(template="later")["errno"] == 2
    put(images, "later")
    assert disk_size(client, "later") == os.path.getsize(DEFAULT)
    assert client.request("stat")["templates"] == ["default", "later"]


def test_replaced(client, images):
    "a machine that boots after an image was replaced has the new one; others keep theirs"
    old = Guest(client, "later")
    put(images, "later", MORE)
    assert disk_size(client, "later") == os.path.getsize(DEFAULT) + MORE
    assert int(old.ask("cat /sys/block/vda/size; cat /dev/vda > /dev/null")) * 512 == \
        os.path.getsize(DEFAULT)
    client.request("destroy", vm=old.vm)


def test_removed(client, images):
    "a template that was removed is gone at once"
    os.unlink(os.path.join(images, "templates/later.erofs"))
    assert client.request("stat")["templates"] == ["default"]
    assert client.create(template="later")["errno"] == 2


def test_many(client, images):
    "templates have no number at which they end"
    for number in range(60):
        os.symlink(DEFAULT, os.path.join(images, f"templates/many{number:02}.erofs"))
    assert len(client.request("stat")["templates"]) == 61
    assert disk_size(client, "many59") == os.path.getsize(DEFAULT)


def link_images(images):
    os.makedirs(os.path.join(images, "templates"))
    for name in ("kernel", "initramfs", "host-initramfs", "upper.ext4", "templates/default.erofs"):
        if os.path.exists(os.path.join(IMAGES, name)):
            os.symlink(os.path.join(IMAGES, name), os.path.join(images, name))


def start(directory, images):
    path = os.path.join(directory, "sock")
    process = subprocess.Popen([kit.VMCTL, "serve", "--socket", path, "--images", images, "--engine",
                                os.environ.get("PFFS_ENGINE", "auto")])
    deadline = time.monotonic() + PATIENCE
    while not os.path.exists(path) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return process, kit.Client(path)


def main():
    if not os.path.exists(DEFAULT) or not os.path.exists(kit.VMCTL):
        return kit.skip(f"no vmctl or no images in {IMAGES}: make, guest/images/build all")
    kit.PATIENCE = PATIENCE
    tests = [t for n, t in globals().items() if n.startswith("test_")]
    failed = 0
    print(f"1..{len(tests)}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        images = os.path.join(directory, "images")
        link_images(images)
        process, client = start(directory, images)
        for number, test in enumerate(tests, 1):
            try:
                test(client, images)
                print("ok", number, "-", test.__doc__, flush=True)
            except (AssertionError, kit.Closed, OSError, KeyError) as error:
                failed += 1
                print("not ok", number, "-", test.__doc__, flush=True)
                print("#", type(error).__name__, json.dumps(str(error)), flush=True)
        process.terminate()
        process.wait(PATIENCE)
    return 1 if failed else 0


sys.exit(main())
