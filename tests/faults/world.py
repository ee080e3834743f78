"""What the tests of faults share: pffs and vmctl as a user has them, over machines that
cost nothing (scripted-vm), and a look at what they hold.

All that a test asks of the mount has a deadline: see within().
"""
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../unit"))
import broker_kit  # noqa: E402

PFFS = os.environ.get("PFFS", os.path.join(HERE, "../../pffs/pffs"))
SCRIPTED_VM = os.path.join(HERE, "scripted-vm")
LIMIT = 60  # seconds that anything may take


class Late(Exception):
    """Something did not answer in time."""


@contextlib.contextmanager
def within(seconds=LIMIT):
    """In the main thread: what blocks for longer is interrupted, and a failure."""
    def late(*_):
        raise Late(f"nothing came in {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def wait(what, *args, seconds=LIMIT):
    deadline = time.monotonic() + seconds
    while not what(*args):
        if time.monotonic() > deadline:
            raise Late(f"{what} {args} did not come true")
        time.sleep(0.01)


def read(*path):
    with open(os.path.join(*path), "rb") as file:
        return file.read().decode()


def values(*path):
    return dict(line.split(" ", 1) for line in read(*path).splitlines())


def open_files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class World:
    """A mount at self.path. broker_kit runs tests with one each."""

    def __init__(self, work, options=()):
        self.work, self.path = work, os.path.join(work, "mnt")
        self.images, self.state = os.path.join(work, "images"), os.path.join(work, "state")
        self.socket = os.path.join(work, "sock")
        os.makedirs(os.path.join(self.images, "templates"))
        for name in ("kernel", "initramfs", "upper.ext4", "templates/default.erofs"):
            open(os.path.join(self.images, name), "w").close()
        self.options = dict(options)
        self.log = open(os.path.join(work, "log"), "wb+")
        self.start_vmctl(self.options.get("vmctl"))
        self.start_pffs(self.options.get("pffs"))

    def start_vmctl(self, environment=None):
        self.vmctl = subprocess.Popen(
            [broker_kit.VMCTL, "serve", "--engine", "kvm", "--socket", self.socket, "--images",
             self.images, "--state", self.state, "--vm-program", SCRIPTED_VM],
            stderr=self.log, env={**os.environ, **(environment or {})})
        wait(lambda: self.vmctl.poll() is not None or os.path.exists(self.socket))

    def start_pffs(self, environment=None):
        self.pffs = subprocess.Popen(
            [PFFS, *self.command(), "--foreground", "--socket", self.socket, "--images",
             self.images, "--state", self.state, *self.options.get("arguments", ())],
            stderr=self.log, env={**os.environ, "TMPDIR": self.work, **(environment or {})})
        wait(lambda: self.pffs.poll() is not None or self.is_up())

    def command(self):
        return "mount", self.path

    def is_up(self):
        try:
            with within(2):
                return os.path.exists(os.path.join(self.path, "host"))
        except (OSError, Late):
            return False

    def end(self):
        """Whatever became of it, nothing is left. Return: what was wrong, if anything."""
        wrong = broker_kit.end(self.pffs)
        subprocess.run(["umount", "-l", self.path], stderr=subprocess.DEVNULL, check=False)
        return broker_kit.end(self.vmctl) or wrong

    def said(self):
        """The log of both."""
        return read(self.log.name)

    def at(self, *names):
        return os.path.join(self.path, *names)

    def make(self, name):
        with within():
            os.mkdir(self.at(name))
        wait(lambda: self.status(name)["state"] != "starting")

    def remove(self, name):
        with within():
            os.rmdir(self.at(name))

    def status(self, name):
        return values(self.at(name, "status"))

    def run(self, name, code):
        """Run code. Return: what it printed, and its exit code."""
        with within():
            with open(self.at(name, "exec"), "w", encoding="utf-8") as file:
                file.write(code)
            return read(self.at(name, "stdout")), int(read(self.at(name, "exit")))

    def machines(self):
        """The processes of machines, but for those of templates."""
        listed = broker_kit.Client(self.socket)
        vms = listed.request("list")["vms"]
        listed.close()
        return [vm for vm in vms if vm["name"] != vm["template"]]

    def holds(self):
        """Descriptors of pffs and of vmctl, when nothing is going on."""
        wait(lambda: not self.machines())
        return open_files(self.pffs.pid), open_files(self.vmctl.pid)


def in_thread(function, *args):
    """A thread that is joined by join(), which has a deadline."""
    thread = threading.Thread(target=function, args=args, daemon=True)
    thread.start()
    return thread


def join(threads, seconds=LIMIT):
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
        if thread.is_alive():
            raise Late(f"{thread.name} hangs")


def main(tests, world=World):
    """Run them, each with a world of its own, where there can be one. Does not return."""
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        sys.exit(broker_kit.skip("mounting takes root and /dev/fuse"))
    if not os.access(PFFS, os.X_OK) or not os.access(broker_kit.VMCTL, os.X_OK):
        sys.exit(broker_kit.skip("pffs and vmctl are not built"))
    sys.exit(broker_kit.main(tests, world))
