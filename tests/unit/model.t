#!/usr/bin/env python3
"""diff and merge against rsync and diff3: random trees on overlays, with the real guest and host code.

PFFS_TEST_SEEDS says how many (200), PFFS_TEST_SEED with which number they begin (0).
"""
import ctypes
import multiprocessing
import os
import random
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import traceback

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import model_kit as kit  # noqa: E402

BUILD = os.environ.get("PFFS_BUILD", os.path.join(HERE, "../.."))
MODEL = os.path.join(BUILD, "tests/unit/model")
AGENT = os.environ.get("PFFS_AGENT", os.path.join(BUILD, "guest/agent/agent"))
SEEDS = int(os.environ.get("PFFS_TEST_SEEDS", "200"))
FIRST = int(os.environ.get("PFFS_TEST_SEED", "0"))
LARGE = 33 << 20  # bytes of a file that is compared without being held in memory
CLONE_NEWNS = 0x20000
EBUSY = 16
WORKERS = 4  # who wait for processes most of the time
MACHINES = ("point", "demo", "a", "b")
libc = ctypes.CDLL(None, use_errno=True)


def must(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def mount(source, target, kind, options=""):
    must(libc.mount(source.encode(), target.encode(), kind.encode(), 0, options.encode()))


def unmount(path):
    must(libc.umount2(path.encode(), 0))


class Blank:
    "an empty file system, as the disk of a new machine has it"

    def __init__(self, mib=8):
        self.file = tempfile.NamedTemporaryFile(prefix="pffs-model-")
        self.file.truncate(mib << 20)
        self.name = self.file.name
        subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", "-I", "256", self.name], check=True)


class World:
    """An image, and over it four machines with disks of their own: that of the fork point is made
    first, and the others are copies of it, with inodes and times, as forks have them."""

    def __init__(self, rng, blank, large=False):
        self.rng = rng
        self.maker = kit.Maker(rng)
        self.mounted = []
        self.top = tempfile.mkdtemp()
        try:
            self.mount("model", self.top, "tmpfs")
            os.mkdir(self.path("lower"))
            with open(self.path("idle.py"), "w", encoding="utf-8") as file:
                file.write("import os; os.read(3, 1)\n")  # a REPL that waits for its agent's end
            self.steps(os.fsencode(self.path("lower")), 40)
            self.make_point(blank, large)
            for name in MACHINES[1:]:
                self.copy_disk(self.path("point.disk"), name)
                self.attach(name)
            self.attach("point")
        except BaseException:
            self.remove()
            raise

    def path(self, *names):
        return os.path.join(self.top, *names)

    def root(self, name):
        return os.fsencode(self.path(name, "root"))

    def steps(self, top, count):
        for _ in range(count):
            self.maker.step(top)

    def mount(self, source, target, kind, options=""):
        mount(source, target, kind, options)
        self.mounted.append(target)

    def unmount(self, path):
        unmount(path)
        self.mounted.remove(path)

    def attach(self, name):
        "mount a disk, and an overlay with it"
        disk, root = self.path(name), self.path(name, "root")
        os.makedirs(disk, exist_ok=True)
        subprocess.run(["mount", "-o", "loop", disk + ".disk", disk], check=True)
        self.mounted.append(disk)
        for folder in ("upper", "work", "root"):
            os.makedirs(os.path.join(disk, folder), exist_ok=True)
        self.mount("overlay", root, "overlay", "lowerdir=%s,upperdir=%s/upper,workdir=%s/work"
                   % (self.path("lower"), disk, disk))

    def copy_disk(self, disk, name):
        subprocess.run(["cp", "--sparse=always", disk, self.path(name + ".disk")], check=True)

    def detach(self, name):
        self.unmount(self.path(name, "root"))
        self.unmount(self.path(name))

    def make_point(self, blank, large):
        self.copy_disk(blank, "point")
        self.attach("point")
        self.steps(self.root("point"), 30)
        if self.rng.randrange(2):
            time.sleep(0.12)  # what was made before is not of the moment of the fork
        self.steps(self.root("point"), 3)
        if large:
            with open(self.root("point") + b"/large", "wb") as file:
                file.truncate(LARGE)
        self.detach("point")

    def remove(self):
        for path in reversed(self.mounted):
            must(libc.umount2(path.encode(), 2))
        os.rmdir(self.top)


class Pffs:
    "the program that has sandboxes over these machines"

    def __init__(self, top):
        self.process = subprocess.Popen([MODEL, top], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env=dict(os.environ, PFFS_AGENT=AGENT))

    def order(self, *words):
        "Return: what came of it, and its errno"
        self.process.stdin.write(" ".join(words).encode() + b"\n")
        self.process.stdin.flush()
        lines = []
        while True:
            line = self.process.stdout.readline()
            assert line.endswith(b"\n"), "the program has ended"
            if line[:1].isdigit():
                return b"".join(lines), int(line)
            lines.append(line)

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=kit.PATIENCE)


class Plain:
    "copies of all machines in plain directories, each as long as its machine does not change"

    def __init__(self, world):
        self.world = world
        self.copies = {}
        self.count = 0

    def __getitem__(self, name):
        if name not in self.copies:
            self.copies[name] = self.empty()
            kit.copy(self.world.root(name), self.copies[name])
        return self.copies[name]

    def empty(self):
        self.count += 1
        path = os.fsencode(self.world.path("plain%d" % self.count))
        os.mkdir(path)
        return path

    def changed(self, name):
        del self.copies[name]


def check_diff(pffs, here, there, *words):
    text, code = pffs.order(*words)
    want = kit.rsync_lines(here, there)
    assert (kit.told_lines(text), code) == (want, 0), (words, code, text, want)


def check_files(want, top):
    assert not (lines := kit.rsync_lines(want, top)), lines


def check_merge(pffs, world, plain, fork):
    "one merge; conflicts change nothing, and the fork gives up what is in one. Return: conflicts"
    base, ours, theirs = (kit.scan(plain[name]) for name in ("point", "demo", fork))
    want = kit.Merge(base, ours, theirs)
    text, code = pffs.order("merge", fork)
    if not want.conflicts:
        assert code == 0, (code, text)
        merged = plain.empty()
        kit.build(want.result, merged)
        check_files(merged, world.root("demo"))
        plain.changed("demo")
        for path in want.taken & set(want.result):
            entry = want.result[path]
            if entry.type != stat.S_IFDIR and entry.mtime:
                assert os.lstat(world.root("demo") + b"/" + path).st_mtime_ns == entry.mtime, path
        return set()
    told = {path for letter, path in kit.told_lines(text) if letter == b"C"}
    assert (code, told) == (EBUSY, want.conflicts), (code, text, want.conflicts)
    check_files(plain["demo"], world.root("demo"))
    return want.conflicts


def give_up(world, plain, fork, conflicts):
    "the fork has, where there is a conflict, what it had at first"
    for path in sorted({path.split(b"/")[0] for path in conflicts}):
        full = world.root(fork) + b"/" + path
        subprocess.run(["rm", "-rf", full], check=True)
        if os.path.lexists(world.root("point") + b"/" + path):
            subprocess.run(["cp", "-a", world.root("point") + b"/" + path, full], check=True)
    plain.changed(fork)


def try_seed(seed, blank):
    "Return: how many merges were well, None when something was not, and how many had conflicts."
    try:
        return run_seed(seed, blank)
    except Exception:
        sys.stderr.write("# seed %d\n%s" % (seed, traceback.format_exc()))
        return None, 0


def run_seed(seed, blank):
    merged = conflicting = 0
    rng = random.Random(seed)
    world = World(rng, blank)
    pffs = None
    try:
        plain = Plain(world)
        pffs = Pffs(world.top)
        for name in MACHINES[1:]:
            world.steps(world.root(name), rng.choice([1, 5, 20, 40]))
        check_diff(pffs, plain["demo"], plain["a"], "diff", "demo", "a")
        check_diff(pffs, plain["a"], plain["b"], "diff", "a", "b")
        check_diff(pffs, plain["point"], plain["a"], "changes", "a")
        for fork in ("a", "b"):
            while (conflicts := check_merge(pffs, world, plain, fork)):
                conflicting += 1
                give_up(world, plain, fork, conflicts)
            merged += 1
        check_diff(pffs, plain["demo"], plain["a"], "diff", "demo", "a")
    finally:
        if pffs:
            pffs.end()
        world.remove()
    return merged, conflicting


def put_byte(world, name, at, byte=b""):
    "change a byte of a large file; or only its times"
    path = world.root(name) + b"/large"
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(byte)
    os.utime(path)


def merge_large(change_demo, change_a, want):
    "a file that is too large to be merged by lines, of which two sides change bytes, or none"
    blank = Blank(160)
    world = World(random.Random(1), blank.name, True)
    pffs = Pffs(world.top)
    try:
        for name, byte in (("demo", change_demo), ("a", change_a)):
            put_byte(world, name, LARGE - 1 if name == "a" else 5, byte)
        text, code = pffs.order("merge", "a")
        with open(world.root("demo") + b"/large", "rb") as file:
            content = file.read()
        assert len(content) == LARGE
        return (code, content[5:6], content[-1:], (b"M", b"large") in kit.told_lines(text)) == want
    finally:
        pffs.end()
        world.remove()


def large_files():
    zero = b"\0"
    return (merge_large(b"", b"", (0, zero, zero, False)) and  # both touched it
            merge_large(b"x", b"", (0, b"x", zero, False)) and
            merge_large(b"", b"y", (0, zero, b"y", True)) and
            merge_large(b"x", b"y", (EBUSY, b"x", zero, False)))


def main():
    for program in ("rsync", "diff3", "mkfs.ext4"):
        if not shutil.which(program):
            print("1..0 # SKIP no %s" % program)
            sys.exit(os.environ.get("PFFS_MUST_WORK") == "1")
    if os.geteuid() != 0 or libc.unshare(CLONE_NEWNS) < 0:
        print("1..0 # SKIP mounts need root")
        sys.exit(os.environ.get("PFFS_MUST_WORK") == "1")
    must(libc.mount(b"none", b"/", None, 0x44000, None))  # MS_REC | MS_PRIVATE
    blank = Blank()
    seeds = range(FIRST, FIRST + SEEDS)
    with multiprocessing.Pool(WORKERS) as pool:
        found = pool.starmap(try_seed, [(seed, blank.name) for seed in seeds], chunksize=1)
    failed = sum(merged is None for merged, _ in found)
    merged = sum(merged or 0 for merged, _ in found)
    conflicts = sum(conflicts for _, conflicts in found)
    print("1..4")
    for number, (good, name) in enumerate((
            (not failed, "diff says what rsync says, and merge makes what diff3 makes, of %d random trees" % SEEDS),
            (merged > SEEDS, "%d merges were well" % merged),
            (conflicts > SEEDS // 4, "%d had conflicts first" % conflicts),
            (large_files(), "so have files of 33 MiB that both changed, and no others")), 1):
        print("%s %d - %s" % ("ok" if good else "not ok", number, name))
    sys.exit(failed > 0)


main()
