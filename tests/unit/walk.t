#!/usr/bin/python3
"""What the guest says of its overlay is what the overlay shows: random trees on a real one."""
import ctypes
import json
import os
import random
import shutil
import stat
import subprocess
import sys
import tempfile
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
WALK = os.path.join(os.environ.get("PFFS_BUILD", os.path.join(HERE, "../..")), "tests/unit/walk")
SEEDS = 40
CLONE_NEWNS = 0x20000
NAMES = [b"a", b"b", b"c.txt", b"with space", b"new\nline", b"\xff\xfe", b"d", b"e-", b"e"]
libc = ctypes.CDLL(None, use_errno=True)


def must(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def mount(source, target, kind, options=""):
    must(libc.mount(source.encode(), target.encode(), kind.encode(), 0, options.encode()))


class Overlay:
    """lower, upper and the two together, in a file system of its own."""

    def __init__(self, rng):
        self.top = tempfile.mkdtemp()
        mount("walk", self.top, "tmpfs")
        for name in ("lower", "upper", "work", "root"):
            os.mkdir(self.path(name))
            setattr(self, name, os.fsencode(self.path(name)))
        self.rng = rng
        for _ in range(60):
            self.step(self.lower)
        mount("overlay", self.path("root"), "overlay",
              "lowerdir=%s,upperdir=%s,workdir=%s"
              % tuple(map(self.path, ("lower", "upper", "work"))))

    def path(self, name):
        return os.path.join(self.top, name)

    def remove(self):
        must(libc.umount2(self.path("root").encode(), 2))
        must(libc.umount2(self.top.encode(), 2))
        os.rmdir(self.top)

    def any_path(self, top):
        path = top
        for _ in range(self.rng.randint(1, 3)):
            path += b"/" + self.rng.choice(NAMES)
        return path

    def step(self, top):
        "one random change"
        path, other = self.any_path(top), self.any_path(top)
        action = self.rng.choice([self.write, self.write, self.write, self.mkdir, self.mkdir,
                                  self.link, self.mode, self.rename, self.remove_all,
                                  self.touch_up, self.fifo])
        try:
            action(path, other)
        except OSError:
            pass  # it was not possible there

    def write(self, path, _):
        how = self.rng.choice([os.O_TRUNC, os.O_APPEND])
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | how)
        os.write(fd, bytes(self.rng.randrange(256) for _ in range(self.rng.randint(0, 9))))
        os.close(fd)

    @staticmethod
    def mkdir(path, _):
        os.mkdir(path)

    @staticmethod
    def link(path, other):
        os.symlink(os.path.basename(other), path)

    def mode(self, path, _):
        if not os.path.islink(path):
            os.chmod(path, self.rng.choice([0o644, 0o755, 0o600]))
        os.lchown(path, self.rng.choice([0, 5]), 0)

    @staticmethod
    def rename(path, other):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.copytree(path, other, symlinks=True)  # as mv does when told EXDEV
            shutil.rmtree(path)
        else:
            os.rename(path, other)

    @staticmethod
    def remove_all(path, _):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)

    @staticmethod
    def touch_up(path, _):
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))

    @staticmethod
    def fifo(path, _):
        os.mkfifo(path)


def state(path):
    "as the walk prints it"
    try:
        st = os.lstat(path)
    except OSError:
        return None
    target = os.readlink(path) if stat.S_ISLNK(st.st_mode) else b""
    return {"mode": st.st_mode, "uid": st.st_uid, "gid": st.st_gid, "size": st.st_size,
            "target": target.decode("latin-1")}


def every_path(top):
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            yield os.path.relpath(os.path.join(folder, name), top)


def walk(overlay, what):
    done = subprocess.run([WALK, overlay.upper, overlay.lower, what], stdout=subprocess.PIPE,
                          check=True, timeout=20)
    entries = {}
    for line in done.stdout.splitlines():
        entry = json.loads(line)
        entries[entry["path"].encode("latin-1")] = entry
    return entries


def essence(st):
    "what must agree: the size of a directory is its layer's own"
    if st and stat.S_ISDIR(st["mode"]):
        return dict(st, size=0)
    return st


def check_tree(overlay):
    entries = walk(overlay, "tree")
    paths = set(every_path(overlay.root)) | set(every_path(overlay.lower)) | set(entries)
    for path in paths:
        below = essence(state(os.path.join(overlay.lower, path)))
        now = essence(state(os.path.join(overlay.root, path)))
        if path in entries:
            assert essence(entries[path]["below"]) == below, (path, entries[path], below)
            assert essence(entries[path]["now"]) == now, (path, entries[path], now)
        else:
            assert now == below, (path, now, below)
    whole = walk(overlay, "image")
    assert set(whole) == set(every_path(overlay.lower))
    for path, entry in whole.items():
        assert not entry["below"]
        assert essence(entry["now"]) == essence(state(os.path.join(overlay.lower, path)))


def snapshot(top):
    "what a run's changes are told by"
    found = {}
    for path in every_path(top):
        full = os.path.join(top, path)
        st = os.lstat(full)
        found[path] = [st.st_mode, st.st_uid, st.st_gid]
        if stat.S_ISLNK(st.st_mode):
            found[path].append(os.readlink(full))
        elif stat.S_ISREG(st.st_mode):
            with open(full, "rb") as file:
                found[path].append(file.read())
    return found


def told(process, line):
    process.stdin.write(line.encode() + b"\n")
    process.stdin.flush()
    lines = []
    while True:
        entry = json.loads(process.stdout.readline())
        if entry[0] in ("begun", "E"):
            return lines
        lines.append((entry[0], entry[1].encode("latin-1")))


def check_runs(overlay):
    "each run's changes, of random runs one after the other"
    with subprocess.Popen([WALK, overlay.upper, overlay.lower, "runs"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        for number in range(6):
            told(process, "begin")
            before = snapshot(overlay.root)
            for _ in range(overlay.rng.choice([0, 1, 5, 20])):
                overlay.step(overlay.root)
            after = snapshot(overlay.root)
            lines = told(process, "end quiet" if number % 2 else "end")
            if number % 2 == 0:
                overlay.step(overlay.root)  # between two runs: nobody's
            assert len({path for _, path in lines}) == len(lines)
            assert lines == sorted(lines, key=lambda line: line[1].split(b"/")), lines
            got = {kind: {path for k, path in lines if k == kind} for kind in "ADM"}
            both = set(before) & set(after)
            assert got["A"] == set(after) - set(before), (got, set(after) - set(before))
            assert got["D"] == set(before) - set(after), (got, set(before) - set(after))
            missing = {path for path in both if before[path] != after[path]} - got["M"]
            assert not missing, missing
            assert all(path in both for path in got["M"]), got
        process.stdin.close()


def test_trees():
    "the tree of changes is what differs from the image, on random overlays"
    for seed in range(SEEDS):
        overlay = Overlay(random.Random(seed))
        try:
            for _ in range(40):
                overlay.step(overlay.root)
            check_tree(overlay)
        except AssertionError as error:
            raise AssertionError("seed %d" % seed) from error
        finally:
            overlay.remove()


def test_runs():
    "what runs change, six on each of random overlays"
    for seed in range(SEEDS):
        overlay = Overlay(random.Random(1000 + seed))
        try:
            check_runs(overlay)
        except AssertionError as error:
            raise AssertionError("seed %d" % (1000 + seed)) from error
        finally:
            overlay.remove()


def fork(overlay):
    "a second overlay over the same image, whose upper layer is a copy"
    other = object.__new__(Overlay)
    other.top, other.rng = overlay.top, overlay.rng
    for name in ("upper2", "work2", "root2"):
        os.mkdir(overlay.path(name))
        setattr(other, name[:-1], os.fsencode(overlay.path(name)))
    subprocess.run(["cp", "-a", overlay.path("upper") + "/.", overlay.path("upper2")], check=True)
    mount("overlay", overlay.path("root2"), "overlay", "lowerdir=%s,upperdir=%s,workdir=%s"
          % tuple(map(overlay.path, ("lower", "upper2", "work2"))))
    return other


def check_diff(overlay):
    for _ in range(20):
        overlay.step(overlay.root)
    other = fork(overlay)
    try:
        for one in (overlay, other):
            for _ in range(overlay.rng.choice([0, 3, 20])):
                one.step(one.root)
        done = subprocess.run([WALK, overlay.upper, overlay.lower, "diff", other.upper,
                               overlay.root, other.root], stdout=subprocess.PIPE, check=True)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        got = [(kind, path.encode("latin-1")) for kind, path in lines]
        before, after = snapshot(overlay.root), snapshot(other.root)
        want = [("A", path) for path in set(after) - set(before)]
        want += [("D", path) for path in set(before) - set(after)]
        want += [("M", path) for path in set(before) & set(after) if before[path] != after[path]]
        assert got == sorted(want, key=lambda line: line[1].split(b"/")), (got, want)
    finally:
        must(libc.umount2(overlay.path("root2").encode(), 2))


def test_diffs():
    "what two forks of one overlay differ in"
    for seed in range(SEEDS + 20):
        overlay = Overlay(random.Random(2000 + seed))
        try:
            check_diff(overlay)
        except AssertionError as error:
            raise AssertionError("seed %d" % (2000 + seed)) from error
        finally:
            overlay.remove()


def test_copy_up():
    "a file that is copied up and not changed is not modified; a restored time hides nothing"
    overlay = Overlay(random.Random(1))
    try:
        with open(overlay.lower + b"/same", "wb") as file:
            file.write(b"same")
        shutil.copy(overlay.lower + b"/same", overlay.lower + b"/other")
        must(libc.umount2(overlay.path("root").encode(), 2))
        mount("overlay", overlay.path("root"), "overlay", "lowerdir=%s,upperdir=%s,workdir=%s"
              % tuple(map(overlay.path, ("lower", "upper", "work"))))
        with subprocess.Popen([WALK, overlay.upper, overlay.lower, "runs"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            told(process, "begin")
            overlay.touch_up(overlay.root + b"/same", None)
            times = os.stat(overlay.root + b"/other")
            with open(overlay.root + b"/other", "wb") as file:
                file.write(b"emas")
            os.utime(overlay.root + b"/other", ns=(times.st_atime_ns, times.st_mtime_ns))
            assert told(process, "end") == [("M", b"other")]
            told(process, "begin")
            os.link(overlay.root + b"/other", overlay.root + b"/another")
            assert told(process, "end") == [("A", b"another")]
            process.stdin.close()
    finally:
        overlay.remove()


def main():
    tests = [test_trees, test_runs, test_diffs, test_copy_up]
    if os.geteuid() != 0 or libc.unshare(CLONE_NEWNS) < 0:
        print("1..0 # SKIP mounts need root")
        sys.exit(os.environ.get("PFFS_MUST_WORK") == "1")
    must(libc.mount(b"none", b"/", None, 0x44000, None))  # MS_REC | MS_PRIVATE
    print("1..%d" % len(tests))
    failed = 0
    for number, test in enumerate(tests, 1):
        try:
            test()
            print("ok %d - %s" % (number, test.__doc__ or test.__name__))
        except Exception:
            failed += 1
            print("not ok %d - %s" % (number, test.__name__))
            traceback.print_exc()
    sys.exit(failed > 0)


main()
