"""The guest's agent as an ordinary process, and the host's side of its port."""

import fcntl
import functools
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time

import wait_kit

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
AGENT = os.environ.get("PFFS_AGENT", os.path.join(os.getcwd(), "guest/agent/agent"))
if not os.path.exists(AGENT):
    AGENT = os.path.join(TOP, "guest/agent/agent")
REPL = os.path.join(TOP, "guest", "repl.py")

WAKE, RUN, CODE, STDIN, STDIN_EOF, SIGNAL, RESET, FILES, FILES_CANCEL, HOLD = range(1, 11)
TERMINAL, TERMINAL_SIZE, TERMINAL_CLOSE = range(11, 14)
TERMINALS = 0x80000000  # streams of terminals
PORTS = 0x40000000  # streams of connections to ports
PORT_OPEN, PORT_TAKEN, PORT_CLOSE = range(15, 18)
PORT_OPENED, PORT_EOF, PORT_CLOSED = range(78, 81)
READY, STARTED, STDOUT, STDERR, EXIT, STDIN_TAKEN, RESET_DONE, AWAKE = range(64, 72)
FILES_REPLY, FILES_CHANGED, CHANGES, FIGURE, HELD = range(72, 77)
PYTHON, BASH, SCRIPT = 1, 2, 3
INTERRUPT, KILL = 1, 2
HEADER = struct.Struct("<IIBBH")
PATIENCE = 30
until = functools.partial(wait_kit.until, seconds=PATIENCE)


class Run:
    """What the host knows of one run."""

    def __init__(self, agent, stream):
        self.agent = agent
        self.stream = stream
        self.out = self.err = b""
        self.started = False
        self.status = None
        self.taken = 0
        self.figures = {}  # bytes by number
        self.figures_whole = set()
        self.changes = []  # ("A", b"path")..., then ("E",)

    def wait(self, until=lambda run: run.status is not None):
        self.agent.pump(lambda: until(self))
        return self

    def wait_out(self, text):
        return self.wait(lambda run: text in run.out)

    def send(self, data=b"", eof=False):
        for at in range(0, len(data), 16384):
            part = data[at : at + 16384]
            self.agent.send(STDIN, self.stream, part)
        if eof:
            self.agent.send(STDIN_EOF, self.stream)
        return self

    def signal(self, number):
        self.agent.send(SIGNAL, self.stream, bytes([number]))
        return self

    def take_changes(self, payload):
        at = 0
        while at < len(payload):
            kind = payload[at : at + 1].decode()
            at += 1
            if kind in "EU":
                self.changes.append((kind,))
                continue
            (size,) = struct.unpack_from("<I", payload, at)
            self.changes.append((kind, payload[at + 4 : at + 4 + size]))
            at += 4 + size

    def changed(self):
        """Wait for what the run changed. Return: the entries, in order."""
        self.wait(lambda run: run.changes and run.changes[-1] in (("E",), ("U",)))
        return self.changes

    @property
    def code(self):
        """The exit code as a shell would say it."""
        signaled, value = self.status
        return value + 128 if signaled else value


class Connection:
    """What the host knows of a connection to a port."""

    def __init__(self, agent, stream):
        self.agent = agent
        self.stream = stream
        self.status = self.opened = None
        self.out = b""
        self.taken = 0
        self.eof = self.closed = False

    def wait(self, until):
        self.agent.pump(lambda: until(self))
        return self

    def wait_opened(self):
        return self.wait(lambda c: c.opened is not None)

    def send(self, data=b"", eof=False):
        for at in range(0, len(data), 16384):
            self.agent.send(STDIN, self.stream, data[at : at + 16384])
        if eof:
            self.agent.send(STDIN_EOF, self.stream)
        return self

    def room(self, size):
        self.agent.send(PORT_TAKEN, self.stream, struct.pack("<I", size))

    def close(self):
        self.agent.send(PORT_CLOSE, self.stream)

    def take(self, type_, payload):
        assert not self.closed, "a frame behind the last"
        if type_ == PORT_OPENED:
            (self.opened,) = struct.unpack("<I", payload)
        elif type_ == STDOUT:
            assert not self.eof, "bytes behind the end"
            self.out += payload
        elif type_ == STDIN_TAKEN:
            self.taken += struct.unpack("<I", payload)[0]
        elif type_ == PORT_EOF:
            self.eof = True
        elif type_ == PORT_CLOSED:
            self.closed = True
        else:
            raise AssertionError("a frame of type %d" % type_)


class Agent:
    def __init__(self, repl=REPL, root=None, upper=None, lower=None):
        self.dir = tempfile.TemporaryDirectory()
        ours, theirs = socket.socketpair()
        env = dict(os.environ, PFFS_RUN_DIR=self.dir.name, PFFS_REPL=repl)
        if root:
            env["PFFS_FILES_ROOT"] = root
        if upper:
            env["PFFS_FILES_UPPER"] = upper
        if lower:
            env["PFFS_FILES_LOWER"] = lower
        self.process = subprocess.Popen(
            [AGENT, "--port", str(theirs.fileno())], env=env, pass_fds=[theirs.fileno()]
        )
        theirs.close()
        self.port = ours
        self.data = b""
        self.runs = {}
        self.seen = []  # types of the frames of stream 0
        self.replies = {}  # payloads of replies about files, by stream
        self.held = []  # the answers to HOLD
        self.changed = []  # numbers of watches, as the agent reported them
        self.changed_before = {}  # how many there were before the reply, by stream
        self.order = []  # types of all frames
        self.epochs = set()
        self.late = []  # frames of a stream after its exit
        self.next = 0

    def send(self, type_, stream=0, payload=b""):
        self.port.sendall(HEADER.pack(len(payload), stream, type_, 0, 7) + payload)

    def wait_read(self):
        """Until the agent has read all that was sent."""
        deadline = time.monotonic() + PATIENCE
        while struct.unpack("i", fcntl.ioctl(self.port, termios.TIOCOUTQ, bytes(4)))[0]:
            if time.monotonic() > deadline:
                raise TimeoutError("the agent does not read")
            time.sleep(0.01)

    def send_wake(self, epoch, frozen=False):
        wake = struct.pack("<HQ64s", epoch, time.time_ns(), os.urandom(64))
        for text in (b"demo", b"sbx_" + b"0" * 32):
            wake += struct.pack("<I", len(text)) + text
        self.send(WAKE, 0, wake + bytes([frozen]))

    def wake(self, epoch):
        count = self.seen.count(AWAKE)
        self.send_wake(epoch)
        self.wait_seen(AWAKE, count + 1)

    def begin(self, language, code, stdin=None):
        """Start a run; stdin None: end of file, otherwise bytes to begin with."""
        if isinstance(code, str):
            code = code.encode()
        self.next += 1
        run = self.runs[self.next] = Run(self, self.next)
        request = struct.pack("<BBI", language, stdin is not None, len(code))
        self.send(RUN, run.stream, request)
        for at in range(0, len(code), 65536):
            self.send(CODE, run.stream, code[at : at + 65536])
        return run.send(stdin or b"")

    def terminal(self, command="", rows=24, cols=80):
        self.next += 1
        stream = TERMINALS | self.next
        terminal = self.runs[stream] = Run(self, stream)
        command = command.encode()
        request = struct.pack("<HHI", rows, cols, len(command)) + command
        self.send(TERMINAL, stream, request)
        return terminal

    def connect(self, port):
        self.next += 1
        stream = PORTS | self.next
        connection = self.runs[stream] = Connection(self, stream)
        self.send(PORT_OPEN, stream, struct.pack("<H", port))
        return connection

    def run(self, language, code, stdin=None):
        return self.begin(language, code, stdin).wait()

    def python(self, code):
        return self.run(PYTHON, code)

    def bash(self, code):
        return self.run(BASH, code)

    def take(self, stream, type_, payload):
        self.order.append(type_)
        if type_ == FILES_REPLY:
            assert stream not in self.replies, "a second reply"
            self.replies[stream] = payload
            self.changed_before[stream] = len(self.changed)
            return
        if type_ == FILES_CHANGED:
            self.changed += struct.unpack("<%dI" % (len(payload) // 4), payload)
        if type_ == HELD:
            self.held += payload
        if stream == 0:
            self.seen.append(type_)
            return
        run = self.runs[stream]
        if PORTS <= stream < TERMINALS:
            run.take(type_, payload)
        elif type_ == CHANGES and run.status is not None:
            run.take_changes(payload)
        elif run.status is not None:
            self.late.append((stream, type_))
        elif type_ == STARTED:
            run.started = True
        elif type_ == STDOUT:
            run.out += payload
        elif type_ == STDERR:
            run.err += payload
        elif type_ == FIGURE:
            (number,) = struct.unpack_from("<I", payload)
            assert number not in run.figures_whole, number
            run.figures[number] = run.figures.get(number, b"") + payload[4:]
            if len(payload) == 4:
                run.figures_whole.add(number)
        elif type_ == EXIT:
            run.status = tuple(payload)
        elif type_ == STDIN_TAKEN:
            run.taken += struct.unpack("<I", payload)[0]

    def pump(self, done, patience=PATIENCE):
        """Take frames until done(). Return: whether it came to that in time."""
        deadline = time.monotonic() + patience
        while not done():
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.port], [], [], left)[0]:
                if patience == PATIENCE:
                    raise TimeoutError("the agent does not answer: %r" % [r.out[-300:] for r in self.runs.values() if r.status is None])
                return False
            data = self.port.recv(1 << 20)
            if not data:
                raise EOFError("the agent has ended")
            self.data += data
            while len(self.data) >= HEADER.size:
                size, stream, type_, _zero, epoch = HEADER.unpack_from(self.data)
                if len(self.data) < HEADER.size + size:
                    break
                self.epochs.add(epoch)
                payload = self.data[HEADER.size : HEADER.size + size]
                self.data = self.data[HEADER.size + size :]
                self.take(stream, type_, payload)
        return True

    def changed_after(self, stream):
        return self.changed[self.changed_before[stream] :]

    def wait_changed(self, number):
        self.pump(lambda: number in self.changed)

    def wait_seen(self, type_, count=1):
        self.pump(lambda: self.seen.count(type_) >= count)

    def end(self):
        """A REPL whose run did not end would outlive the agent, and be busy for ever."""
        try:
            count = self.seen.count(RESET_DONE)
            self.send(RESET)
            self.wait_seen(RESET_DONE, count + 1)
        except (OSError, EOFError):
            pass
        self.port.close()
        return self.process.wait(PATIENCE)


tests = []


def test(function):
    tests.append(function)
    return function


def same(got, wanted):
    assert got == wanted, "got %r, wanted %r" % (got, wanted)


def same_run(run, out, err=b"", code=0):
    same((run.out, run.err, run.code), (out, err, code))


def gone(pid):
    for _ in range(200):
        try:
            with open("/proc/%d/stat" % pid) as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def is_stopped(thread):
    try:
        with open(thread + "/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "T"
    except OSError:  # it has ended
        return True


def stop(pid):
    """Stop the server, and wait until all its threads have stopped."""
    os.kill(pid, signal.SIGSTOP)
    tasks = "/proc/%d/task/" % pid
    until(lambda: all(is_stopped(tasks + task) for task in os.listdir(tasks)), "the server does not stop")


def open_files(agent):
    return len(os.listdir("/proc/%d/fd" % agent.process.pid))


def main(root=None, upper=None, lower=None):
    agent = Agent(root=root, upper=upper, lower=lower)
    agent.wait_seen(READY)
    chosen = [t for t in tests if len(sys.argv) < 2 or t.__name__ in sys.argv[1:]]
    print("1..%d" % (len(chosen) + 1))
    for number, function in enumerate(chosen, 1):
        name = function.__name__.replace("_", " ")
        try:
            function(agent)
            print("ok %d - %s" % (number, name), flush=True)
        except Exception as error:
            print("not ok %d - %s" % (number, name))
            print("# %s: %s" % (type(error).__name__, error), file=sys.stderr, flush=True)
    ended = agent.end() == 0
    print("%s %d - the agent ends with its port" % ("ok" if ended else "not ok", len(chosen) + 1))

