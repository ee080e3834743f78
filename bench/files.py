#!/usr/bin/env python3
"""A sandbox's fs/ against sshfs, on the same tree of the same guest.

sshfs talks to an sftp-server that runs inside the sandbox: a run, whose stdin and stdout
are the transport. So both go through the same machine, link and agent. Run it by
`make bench`, or under tests/mount/setup. docs/benchmarks.md says what each row means.
"""
import argparse
import contextlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time

sys.dont_write_bytecode = True
# The other benchmark of the mount has what this one shares with it.
# pylint: disable=wrong-import-position
import mount as bench  # noqa: E402

SFTP_SERVER = "/usr/lib/openssh/sftp-server"
WAIT = 1800  # seconds that any one step may take
PIECE = 1 << 20
FILE_BYTES = 2000  # of a small file, about


@contextlib.contextmanager
def limit(what):
    """As bench.limit(), for what takes minutes where machines are emulated."""
    signal.alarm(WAIT)
    try:
        yield
    except bench.TooLong:
        sys.exit("bench: %s took more than %d s" % (what, WAIT))
    finally:
        signal.alarm(0)


def shell(command, *paths):
    """Run a pipeline of the shell, in which "$1" is the first path."""
    with limit(command):
        subprocess.run(["bash", "-o", "pipefail", "-c", command, "bash", *paths], check=True)


def seconds(what, *arguments):
    start = time.monotonic()
    what(*arguments)
    return time.monotonic() - start


def write_file(path, size):
    piece = os.urandom(PIECE)
    with limit("writing a large file"):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        for _ in range(size // PIECE):
            os.write(fd, piece)
        os.close(fd)


def read_file(path):
    with limit("reading a large file"):
        fd = os.open(path, os.O_RDONLY)
        while os.read(fd, PIECE):
            pass
        os.close(fd)


def drop_cache(path):
    """The next read of a file comes from where it is."""
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def make_archive(path, files):
    """A tar of so many small files in directories of a hundred."""
    tree = path + ".d"
    for number in range(files):
        directory = os.path.join(tree, "d%03d" % (number // 100))
        os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, "f%05d" % number), "wb") as file:
            file.write(os.urandom(FILE_BYTES + number % 1000))
    shell('tar -C "$1" -cf "$2" .', tree, path)
    shutil.rmtree(tree)


class Sshfs:
    """sshfs at an sftp-server that is a run of the sandbox."""

    def __init__(self, box, work):
        self.box = box
        self.path = os.path.join(work, "sshfs")
        os.mkdir(self.path)

    def __enter__(self):
        to = os.open(os.path.join(self.box, "stdin"), os.O_WRONLY)
        bench.write("exec /root/sftp-server", self.box, "bash")
        back = os.open(os.path.join(self.box, "stdout"), os.O_RDONLY)
        self.process = subprocess.Popen(["sshfs", "-f", "-o", "passive", ":/", self.path],
                                        stdin=back, stdout=to)
        os.close(to)
        os.close(back)
        with bench.limit("sshfs"):
            while not os.path.ismount(self.path):
                if self.process.poll() is not None:
                    sys.exit("bench: sshfs: " + bench.read(self.box, "stderr"))
                time.sleep(0.02)
        return self

    def __exit__(self, *_):
        subprocess.run(["fusermount3", "-uz", self.path], check=False)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        self.process.kill()
        self.process.wait()


class Side:
    """One of the two that are compared: a name and the guest's root as it shows it."""

    def __init__(self, name, root):
        self.name = name
        self.root = root

    def __truediv__(self, name):
        return os.path.join(self.root, "root", self.name, name)

    def of_guest(self, tree):
        return os.path.join(self.root, tree)


def rows(archive, options):
    """What is measured: a name, how often, what makes ready, what is timed."""
    nothing = lambda side: None
    size, rounds, tree = options.mib << 20, options.rounds, options.tree
    grep = '{ grep -Ir "import os" "$1" || [ $? = 1 ]; } | cat > /dev/null'
    return [
        ("write %d MiB" % options.mib, rounds, nothing,
         lambda side: write_file(side / "large", size)),
        ("read %d MiB" % options.mib, rounds, lambda side: drop_cache(side / "large"),
         lambda side: read_file(side / "large")),
        ("read it again", rounds, nothing, lambda side: read_file(side / "large")),
        ("tar of %d files in" % options.files, rounds,
         lambda side: shell('rm -rf "$1" && mkdir "$1"', side / "small"),
         lambda side: shell('tar -C "$1" -xf "$2"', side / "small", archive)),
        ("tar of them out", rounds, nothing,
         lambda side: shell('tar -C "$1" -cf - . | cat > /dev/null', side / "small")),
        ("rm -r of them", 1, nothing, lambda side: shell('rm -r "$1"', side / "small")),
        ("find /%s, first" % tree, 1, nothing,
         lambda side: shell('find "$1" -type f -size +0 | cat > /dev/null', side.of_guest(tree))),
        ("find, again", rounds, nothing,
         lambda side: shell('find "$1" -type f -size +0 | cat > /dev/null', side.of_guest(tree))),
        ("grep -r in it, first", 1, nothing, lambda side: shell(grep, side.of_guest(tree))),
        ("grep -r, again", rounds, nothing, lambda side: shell(grep, side.of_guest(tree))),
    ]


def measure_row(sides, rounds, prepare, run):
    """Take turns, so that both meet the same machine. Return: the medians."""
    taken = [[] for _ in sides]
    for _ in range(rounds):
        for side, times in zip(sides, taken):
            prepare(side)
            times.append(seconds(run, side))
    return [statistics.median(times) for times in taken]


def measure(box, work, options):
    archive = os.path.join(work, "small.tar")
    make_archive(archive, options.files)
    shutil.copy(options.sftp_server, os.path.join(box, "fs/root/sftp-server"))
    # Neither is to be the one for which the guest reads its disk.
    bench.write("find /%s -type f -exec cat {} + > /dev/null" % options.tree, box, "bash")
    bench.read(box, "exit")
    print("\n%-28s %3s %10s %10s  %s" % ("seconds, medians", "n", "fs/", "sshfs", "sshfs / fs/"))
    with Sshfs(box, work) as sshfs:
        sides = [Side("fs", os.path.join(box, "fs")), Side("sshfs", sshfs.path)]
        for side in sides:
            os.mkdir(side / "")
        for name, rounds, prepare, run in rows(archive, options):
            ours, theirs = measure_row(sides, rounds, prepare, run)
            print("%-28s %3d %10.3f %10.3f %10.2f" % (name, rounds, ours, theirs, theirs / ours),
                  flush=True)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, metavar="N",
                        help="how often each thing is done (3)")
    parser.add_argument("--mib", type=int, default=256, help="size of the large file (256)")
    parser.add_argument("--files", type=int, default=5000, help="how many small ones (5000)")
    parser.add_argument("--tree", default="usr/lib/python3", metavar="PATH",
                        help="of the guest, for find and grep (usr/lib/python3)")
    parser.add_argument("--sftp-server", default=SFTP_SERVER, metavar="PROGRAM",
                        help="what is copied into the guest (%s)" % SFTP_SERVER)
    return parser.parse_args()


def main():
    options = parse()
    if "PFFS_TEST_SOCKET" not in os.environ:
        print("bench: not measured: " + os.environ.get(
            "PFFS_TEST_SKIP", "run me under tests/mount/setup"), file=sys.stderr)
        return bench.SKIP
    for program in "sshfs", options.sftp_server:
        if not shutil.which(program):
            print("bench: not measured: there is no %s" % program, file=sys.stderr)
            return bench.SKIP
    signal.signal(signal.SIGALRM, bench.on_alarm)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for line in bench.machine_lines():
        print(line, flush=True)
    with bench.Mount(bench.MEMORY_MIB) as mount:
        print("engine   " + bench.values(mount / "host")["engine"], flush=True)
        bench.make(mount / "box")
        bench.first_byte(mount / "box")
        measure(mount / "box", mount.work, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
