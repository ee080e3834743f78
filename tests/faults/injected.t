#!/usr/bin/python3
"""pffs and vmctl when there is no memory, and no descriptor, for one of the calls that
they make: what was asked for is refused, or done; nothing hangs, nothing crashes, and
soon everything works again.
"""
import mmap
import os
import random
import struct
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from world import HERE, Late, World, main, read, wait, within  # noqa: E402

SHIM = os.environ.get("PFFS_FAIL_NTH", os.path.join(HERE, "../tools/fail-nth.so"))
MANY = 1 << 30
MOST = 1000 if os.environ.get("PFFS_LONG") == "1" else 120  # places that are tried, of each kind


class Orders:
    """What is to fail: see tests/tools/fail-nth.c."""

    def __init__(self, program):
        self.file = tempfile.NamedTemporaryFile()
        self.file.write(bytes(8))
        self.file.flush()
        self.map = mmap.mmap(self.file.fileno(), 8)
        self.environment = {"LD_PRELOAD": SHIM, "PFFS_FAIL_FILE": self.file.name,
                            "PFFS_FAIL_PROGRAM": program}

    def fail(self, kind, number):
        struct.pack_into("<i", self.map, kind * 4, number)

    def left(self, kind):
        return struct.unpack_from("<i", self.map, kind * 4)[0]


MEMORY, DESCRIPTOR = 0, 1


def use(world, name):
    """Something of all that there is to a sandbox."""
    sandbox = world.at(name)
    os.mkdir(sandbox)
    with open(os.path.join(sandbox, "exec"), "w", encoding="utf-8") as file:
        file.write("n = 41\nprint(n + 1)\n")
    assert read(sandbox, "stdout") == "42\n"
    assert read(sandbox, "exit") == "0\n"
    fork = os.path.join(sandbox, "forks/x")
    os.mkdir(fork)
    with open(os.path.join(fork, "exec"), "w", encoding="utf-8") as file:
        file.write("print(n)\n")
    assert read(fork, "output") == "41\n"
    for file in ("status", "stats", "events", "error"):
        with open(os.path.join(sandbox, file), "rb") as opened:
            os.set_blocking(opened.fileno(), False)
            opened.read(4096)
    os.listdir(sandbox)
    read(world.at("metrics"))
    os.rmdir(fork)
    os.rmdir(sandbox)


def remove(world):
    """All that is there."""
    for name in os.listdir(world.path):
        if not name.startswith("box"):
            continue
        for fork in set(os.listdir(world.at(name, "forks"))) - {".n"}:
            os.rmdir(world.at(name, "forks", fork))
        os.rmdir(world.at(name))


def was_libfuse(world):
    """libfuse itself had no memory for a request: it refuses it, also one that gives
    something back, which nobody hears of. What it began can be ended.
    """
    frames = [line for line in world.said().splitlines() if line.endswith("]")]
    while frames and "fail-nth" not in frames[-1]:
        frame = frames.pop()
    return "libfuse" in frame


def try_once(world, orders, kind, number):
    orders.fail(kind, number)
    try:
        with within(20):
            use(world, f"box{number}")
    except OSError:
        pass  # it was refused
    except AssertionError:
        pass  # a run that could not be; its output says so by not being there
    except Late:
        if not was_libfuse(world):
            raise
    finally:
        orders.fail(kind, 0)
    for process in (world.pffs, world.vmctl):
        assert process.poll() is None, f"{process.args[0]} ended with {process.poll()}: {world.said()}"


def works(world):
    """All that is left can be removed, and made anew. A link that broke is made anew, too."""
    try:
        with within():
            remove(world)
            use(world, "box")
    except (OSError, AssertionError):
        return False
    return True


def walk(world, orders, kind):
    """Let each call fail in turn, as far as there is time for it."""
    with within():
        use(world, "box")
        orders.fail(kind, MANY)
        use(world, "box")
    total = MANY - orders.left(kind)
    orders.fail(kind, 0)
    before = world.holds()
    random.seed(8)
    numbers = range(1, total + 1)
    for number in sorted(random.sample(numbers, min(len(numbers), MOST))):
        try:
            try_once(world, orders, kind, number)
            wait(works, world)
        except (Late, AssertionError, OSError) as error:
            raise AssertionError(f"call {number} of {total}: {type(error).__name__} {error}"
                                 f"\n{world.said()[-3000:]}") from error
    try:
        wait(lambda: world.holds() == before)
    except Late as error:
        raise AssertionError(f"{before} before, {world.machines()} now\n{world.said()}") from error


class FailingWorld(World):
    """One of whose programs has the library."""

    def __init__(self, work, options=()):
        self.orders = Orders(options)
        super().__init__(work, {options: self.orders.environment})


def test_pffs_memory(world):
    "pffs without memory"
    walk(world, world.orders, MEMORY)


def test_pffs_descriptors(world):
    "pffs without a descriptor"
    walk(world, world.orders, DESCRIPTOR)


def test_vmctl_memory(world):
    "vmctl without memory"
    walk(world, world.orders, MEMORY)


def test_vmctl_descriptors(world):
    "vmctl without a descriptor"
    walk(world, world.orders, DESCRIPTOR)


test_pffs_memory.options = test_pffs_descriptors.options = "pffs"
test_vmctl_memory.options = test_vmctl_descriptors.options = "vmctl"
main(globals(), FailingWorld)
