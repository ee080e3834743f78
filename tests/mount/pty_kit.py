"""For pty.t: terminals by their files, and pffs shell at a real one."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

PATIENCE = float(os.environ.get("PFFS_TEST_WAIT", 120)) / 2  # of one wait, within that for all of a script
PFFS = os.path.join(os.environ.get("PFFS_BUILD") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."), "pffs/pffs")


class Screen:
    """What comes out of a descriptor, and what was waited for in it."""

    def __init__(self, fd):
        self.fd = fd
        self.seen = b""  # all that came
        self.at = 0  # what was waited for is before this

    def take(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self.fd], [], [], left)[0]:
            raise TimeoutError("waited for more than %r" % self.seen[-2000:])
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return True
        except OSError:  # EIO: the other end of a pty has closed
            return False
        self.seen += data
        return bool(data)

    def wait(self, pattern, patience=PATIENCE):
        """Until what came since the last wait matches. Return: the match."""
        deadline = time.monotonic() + patience
        while True:
            match = re.compile(pattern, re.S).search(self.seen, self.at)
            if match:
                self.at = match.end()
                return match
            if not self.take(deadline):
                raise EOFError("no %r in %r" % (pattern, self.seen[-2000:]))

    def rest(self):
        """Until the end. Return: all that came since the last wait."""
        deadline = time.monotonic() + PATIENCE
        while self.take(deadline):
            pass
        at, self.at = self.at, len(self.seen)
        return self.seen[at:]


class Terminal(Screen):
    def __init__(self, path, command=None, size=None):
        self.path = path
        if not os.path.isdir(path):
            os.mkdir(path)
        if command:
            self.put("command", command)
        if size:
            self.put("size", size)
        super().__init__(os.open(path + "/data", os.O_RDONLY | os.O_NONBLOCK))
        self.keys = os.open(path + "/data", os.O_WRONLY)

    def put(self, name, value):
        with open(self.path + "/" + name, "w") as file:
            file.write(value + "\n")

    def get(self, name):
        with open(self.path + "/" + name) as file:
            return file.read()

    def type(self, text):
        os.write(self.keys, text.encode())

    def run(self, line, pattern):
        self.type(line + "\n")
        return self.wait(pattern)

    def close(self):
        os.close(self.fd)
        os.close(self.keys)


class Shell(Screen):
    """pffs shell, at a terminal of its own."""

    def __init__(self, *arguments, rows=24, cols=80):
        master, slave = pty.openpty()
        super().__init__(master)
        self.resize(rows, cols, tell=False)
        self.slave = slave
        self.before = termios.tcgetattr(slave)

        def own():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen([PFFS, "shell", *arguments], stdin=slave, stdout=slave, stderr=slave, preexec_fn=own)

    def resize(self, rows, cols, tell=True):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def type(self, text):
        os.write(self.fd, text.encode())

    def run(self, line, pattern):
        self.type(line + "\r")
        return self.wait(pattern)

    def insist(self, keys, pattern):
        """Type until it is answered: who has just come back forgets what was typed too early."""
        deadline = time.monotonic() + PATIENCE
        while True:
            self.type(keys)
            try:
                return self.wait(pattern, 5)
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise

    def is_raw(self):
        return not termios.tcgetattr(self.slave)[3] & termios.ICANON

    def code(self):
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            if select.select([self.fd], [], [], 0.05)[0]:
                self.take(deadline)
            elif time.monotonic() > deadline:
                raise TimeoutError("pffs shell does not end: %r" % self.seen[-2000:])
        while select.select([self.fd], [], [], 0)[0] and self.take(deadline):
            pass
        return self.process.returncode

    def is_restored(self):
        return termios.tcgetattr(self.slave) == self.before

    def leave(self):
        self.type("\x1dd")
        same(self.code(), 0)
        assert self.is_restored()
        os.close(self.slave)
        os.close(self.fd)

    def kill(self, number):
        self.process.send_signal(number)


def same(got, want):
    assert got == want, "got %r, wanted %r" % (got, want)


def fails(errno_, function, *arguments):
    try:
        function(*arguments)
    except OSError as e:
        same(e.errno, errno_)
        return
    raise AssertionError("it succeeded")


def python(sandbox, code):
    """What code printed, in the sandbox's REPL."""
    fd = os.open(sandbox + "/exec", os.O_RDWR)
    os.write(fd, code.encode())
    out = b""
    while True:
        data = os.read(fd, 65536)
        if not data:
            os.close(fd)
            return out.decode()
        out += data


def wait_for(what):
    deadline = time.monotonic() + PATIENCE
    while not what():
        if time.monotonic() > deadline:
            raise TimeoutError("waited in vain")
        time.sleep(0.1)
