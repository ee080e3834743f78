#!/usr/bin/env python3
"""What sandboxes cost, as a program that uses a mount sees it.

Run it by `make bench`, or under tests/mount/setup, which starts the vmctl that the mounts of
this program use. docs/benchmarks.md says what each row means.
"""
import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PFFS = os.path.join(os.environ.get("PFFS_BUILD", TOP), "pffs/pffs")
SKIP = 77
WAIT = 300          # seconds that any one step may take
MEMORY_MIB = 512    # of a sandbox, unless its parent is to touch more
MEMORY_SPARE = 384  # MiB that a guest needs beside what is touched
IDLE_SECONDS = 5    # until a fork counts as idle
MIB = 1 << 20
ROW_SECONDS = 25    # after which no other round of the same thing begins
BATCH = 50          # forks that one write asks for, when there are to be many
STATS_READS = 1000
DESIGN_HOST = 24 << 30


class TooLong(Exception):
    pass


def on_alarm(_signal, _frame):
    raise TooLong


@contextlib.contextmanager
def limit(what):
    """A step that hangs ends the program instead, and is named."""
    signal.alarm(WAIT)
    try:
        yield
    except TooLong:
        sys.exit("bench: %s took more than %d s" % (what, WAIT))
    finally:
        signal.alarm(0)


def read(*path):
    with limit("reading " + path[-1]), open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def write(text, *path):
    with limit("writing " + path[-1]), open(os.path.join(*path), "w", encoding="utf-8") as file:
        file.write(text)


def values(*path):
    """A file of KEY VALUE lines."""
    return dict(line.split(" ", 1) for line in read(*path).splitlines())


def make(path):
    with limit("mkdir"):
        os.mkdir(path)


def remove(path):
    with limit("rmdir"):
        os.rmdir(path)


def milliseconds(start):
    return (time.monotonic() - start) * 1000


def first_byte(box, code="print(1)"):
    """Have @box run code, and wait for what that says first."""
    write(code, box, "exec")
    with limit("the first byte of a run"), open(os.path.join(box, "stdout"), "rb", 0) as out:
        if not out.read(1):
            sys.exit("bench: %s: %s" % (box, read(box, "stderr") or read(box, "error")))


def pause_usec(box):
    """How long the parent stood still when @box was forked."""
    fd = os.open(os.path.join(box, "events"), os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(fd, "rb", 0) as events:
        for line in events.read(1 << 20).decode().splitlines():
            event = json.loads(line)
            if "pause_usec" in event:
                return event["pause_usec"]
    sys.exit("bench: %s has no event that tells of a pause" % box)


def repeat(rounds):
    """Numbers of rounds; on a slow machine fewer than asked for."""
    until = time.monotonic() + ROW_SECONDS
    for number in range(rounds):
        yield number
        if time.monotonic() > until:
            return


class Mount:
    """A mount of its own, with nothing booted yet."""

    def __init__(self, memory_mib):
        self.memory_mib = memory_mib

    def __enter__(self):
        self.work = tempfile.mkdtemp(prefix="pffs-bench.")
        self.path = os.path.join(self.work, "mnt")
        self.process = subprocess.Popen(
            [PFFS, "mount", "--foreground", "--socket", os.environ["PFFS_TEST_SOCKET"],
             "--memory-mib", str(self.memory_mib), self.path],
            stderr=subprocess.PIPE)
        with limit("pffs mount"):
            while not os.path.exists(os.path.join(self.path, "host")):
                if self.process.poll() is not None:
                    sys.exit("bench: no mount: " + self.process.stderr.read().decode())
                time.sleep(0.02)
        return self

    def __exit__(self, *_):
        subprocess.run([PFFS, "umount", self.path], stderr=subprocess.DEVNULL, timeout=WAIT,
                       check=False)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
        shutil.rmtree(self.work, ignore_errors=True)

    def __truediv__(self, name):
        return os.path.join(self.path, name)


class Table:
    """Rows of percentiles; @cold is what each is held against."""

    def __init__(self, title, cold=None):
        self.cold = cold
        print("\n%-48s %5s %10s %10s %10s  %-4s %s"
              % (title, "n", "p50", "p95", "p99", "", "of a cold boot" if cold else ""))

    def row(self, name, samples, unit="ms"):
        """Return: the median."""
        found = [percentile(samples, percent) for percent in (50, 95, 99)]
        ratio = "%13.2f%%" % (100 * found[0] / self.cold) if self.cold and unit == "ms" else ""
        print("%-48s %5d %10.2f %10.2f %10.2f  %-4s %s"
              % (name, len(samples), *found, unit, ratio), flush=True)
        return found[0]

    @staticmethod
    def line(name, value):
        print("%-48s %s" % (name, value), flush=True)


def percentile(samples, percent):
    """The smallest sample that so many of 100 do not exceed."""
    return sorted(samples)[max(0, -(-len(samples) * percent // 100) - 1)]


def machine_lines():
    cpu = next((line.split(":", 1)[1].strip() for line in read("/proc/cpuinfo").splitlines()
                if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    load = os.getloadavg()[0]
    version = os.environ.get("BENCH_VERSION", "unknown")
    yield "machine  %s, %d CPUs, %d GiB" % (cpu, os.cpu_count(), round(memory / (1 << 30)))
    yield "kernel   %s %s" % (platform.system(), platform.release())
    yield "load     %.1f before the start" % load
    yield "version  " + version


def boot():
    """Return: milliseconds of a cold boot, and whether by the emulated engine."""
    with Mount(MEMORY_MIB) as mount:
        start = time.monotonic()
        make(mount / "cold")
        first_byte(mount / "cold")
        return milliseconds(start), values(mount / "host")["engine"]


def measure_use(mount, table, rounds):
    """Sandboxes one after the other, and what goes on in one."""
    made, answered, runs, bash, gone = [], [], [], [], []
    for _ in repeat(rounds):
        box = mount / "box"
        start = time.monotonic()
        make(box)
        made.append(milliseconds(start))
        first_byte(box)
        answered.append(milliseconds(start))
        for samples, file, code in (runs, "exec", "print(1)"), (bash, "bash", "echo 1"):
            for _ in range(5):
                start = time.monotonic()
                write(code, box, file)
                read(box, "stdout")
                samples.append(milliseconds(start))
        start = time.monotonic()
        remove(box)
        gone.append(milliseconds(start))
    table.row("create: mkdir returns", made)
    table.row("create: until the REPL's first byte", answered)
    table.row("exec: code written, until its output ended", runs)
    table.row("bash: the same", bash)
    table.row("destroy: rmdir returns", gone)


def measure_stats(mount, table, reads):
    """What a monitor reads."""
    box = mount / "box"
    make(box)
    first_byte(box)
    for name, path in ("stats", box + "/stats"), ("metrics", mount / "metrics"):
        samples = []
        for _ in range(reads):
            start = time.monotonic()
            read(path)
            samples.append(milliseconds(start) * 1000)
        table.row("%s: one of %d reads" % (name, reads), samples, "us")
    remove(box)


def measure_live(mount, table, touched_mib, rounds):
    """Forks of a running parent that has touched so much memory."""
    parent = mount / ("touched%d" % touched_mib)
    make(parent)
    first_byte(parent, "held = bytearray(b'x') * (%d << 20); print(1)" % touched_mib)
    made, answered, pauses = [], [], []
    for number in repeat(rounds):
        child = os.path.join(parent, "forks", "x%d" % number)
        start = time.monotonic()
        make(child)
        made.append(milliseconds(start))
        first_byte(child, "print(len(held))")
        answered.append(milliseconds(start))
        pauses.append(pause_usec(child) / 1000)
        remove(child)
        first_byte(parent)
    remove(parent)
    size = "%d MiB touched: " % touched_mib
    table.row(size + "mkdir forks/x returns", made)
    table.row(size + "until the child's first byte", answered)
    table.row(size + "pause of the parent", pauses)


def measure_many(parent, table, count, rounds):
    """So many children by one write."""
    forks = os.path.join(parent, "forks")
    made, answered, pauses = [], [], []
    for _ in repeat(rounds):
        start = time.monotonic()
        write("%d\n" % count, forks, ".n")
        made.append(milliseconds(start))
        children = [os.path.join(forks, name) for name in os.listdir(forks) if name[0] != "."]
        for child in children:
            write("print(1)", child, "exec")
        for child in children:
            read(child, "stdout")
        answered.append(milliseconds(start))
        pauses.append(pause_usec(children[0]) / 1000)
        for child in children:
            remove(child)
    size = "%d child%s: " % (count, "ren" if count > 1 else "")
    table.row(size + "the write to forks/.n returns", made)
    table.row(size + "until each has answered", answered)
    table.row(size + "pause of the parent", pauses)


def fill(parent, bound):
    """Make forks until there are so many, or no more can be made. Return: them, and why not."""
    forks = os.path.join(parent, "forks")
    why = ""
    left = bound
    while left and not why:
        try:
            write("%d\n" % min(left, BATCH), forks, ".n")
            left -= min(left, BATCH)
        except OSError as error:
            why = "%s: %s" % (error.strerror, read(parent, "error").strip())
    return [os.path.join(forks, name) for name in os.listdir(forks) if name[0] != "."], why


def show_fit(table, private, made, bound, why):
    table.line("idle forks made, and there at once",
               "%d%s" % (made, ", then " + why if why else " (no more were tried)"
                         if made == bound else ""))
    table.line("idle forks that would fit into 24 GiB",
               "%d, by their private memory alone (extrapolated)" % (DESIGN_HOST / private / MIB))


def measure_idle(mount, table, bound):
    """What forks take that nobody uses."""
    parent = mount / "idle"
    make(parent)
    first_byte(parent)
    children, why = fill(parent, bound)
    time.sleep(IDLE_SECONDS)
    used = [values(child, "stats") for child in children]
    for child in children[::max(1, len(children) // 10)]:
        first_byte(child)
    private = table.row("an idle fork: private memory",
                        [int(u["memory_private"]) / MIB for u in used], "MiB")
    table.row("an idle fork: its share of shared memory",
              [int(u["memory_shared"]) / MIB for u in used], "MiB")
    table.row("an idle fork: disk", [int(u["disk_bytes"]) / MIB for u in used], "MiB")
    show_fit(table, private, len(children), bound, why)
    start = time.monotonic()
    for child in children:
        remove(child)
    table.line("destroying all of them", "%.0f ms" % milliseconds(start))


def numbers(text):
    return [int(word) for word in text.split(",")]


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, metavar="N",
                        help="how often each thing is done (100; 10 on the emulated engine)")
    parser.add_argument("--touched", type=numbers, default=[64, 512, 2048], metavar="MIB,...",
                        help="memory that the parents of live forks have touched")
    parser.add_argument("--children", type=numbers, default=[1, 2, 5, 32, 100], metavar="N,...",
                        help="how many children are made by one write")
    parser.add_argument("--idle", type=int, default=200, metavar="N",
                        help="make at most so many idle forks")
    return parser.parse_args()


def measure_all_live(mount, options, cold, rounds):
    table = Table("a live fork", cold)
    for touched_mib in options.touched:
        measure_live(mount, table, touched_mib, rounds)


def measure(options):
    colds = [boot() for _ in range(min(options.rounds or 3, 3))]
    engine = colds[0][1]
    rounds = options.rounds or (10 if engine == "emulated" else 100)
    memory_mib = max(options.touched) + MEMORY_SPARE
    print("engine   " + engine, flush=True)
    table = Table("cold boot")
    cold = table.row("mkdir of a template that is not booted", [ms for ms, _ in colds])
    with Mount(MEMORY_MIB) as mount:
        make(mount / "first")
        first_byte(mount / "first")
        table = Table("a sandbox", cold)
        measure_use(mount, table, rounds)
        measure_stats(mount, table, STATS_READS)
        table = Table("many forks at once", cold)
        for count in options.children:
            measure_many(mount / "first", table, count, min(rounds, max(3, 50 // count)))
        measure_idle(mount, Table("idle forks", cold), options.idle)
        if memory_mib <= MEMORY_MIB:
            measure_all_live(mount, options, cold, rounds)
    if memory_mib > MEMORY_MIB:
        with Mount(memory_mib) as mount:
            measure_all_live(mount, options, cold, rounds)


def main():
    options = parse()
    if "PFFS_TEST_SOCKET" not in os.environ:
        print("bench: not measured: " + os.environ.get(
            "PFFS_TEST_SKIP", "run me under tests/mount/setup"), file=sys.stderr)
        return SKIP
    signal.signal(signal.SIGALRM, on_alarm)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for line in machine_lines():
        print(line, flush=True)
    measure(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
