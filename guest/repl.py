"""The REPL of a sandbox: runs pieces of Python that share their variables.

The agent starts it with a socket as descriptor 3 and hands it one run at a time:
a message "run N" with four descriptors (stdin, stdout, stderr, code). It answers
"started" when an interrupt would reach the code, "figure" with the descriptor of a PNG
for each figure that was drawn, and "done CODE" at its end, with
" alone" behind when nothing of the user's can run before the next run.

Theory of operation

The user's code lives in a module of its own that is called __main__, so that
pickle and multiprocessing find its classes there. Between runs, descriptors 0 to 2
are /dev/null; for a run they are the run's. The objects sys.stdout and sys.stderr
stay the same from run to run, since a logging handler made in one run is used in
the next; sys.stdin is new each time, since what one run did not read must not be
read by the next.

SIGINT may arrive at any moment, and must end the user's code and nothing else.
So its handler looks at the frame it interrupts: it raises KeyboardInterrupt in the
user's code and in what that code called, and only takes a note in this file's own.
SIGURG, which the agent sends after it, just interrupts a system call that began
between the arrival of SIGINT and Python's next look for signals.
"""

import __future__
import _signal
import builtins
import faulthandler
import io
import linecache
import os
import signal
import socket
import struct
import sys
import traceback
import types

SOCKET_FD = 3
FDS = struct.Struct("4i")  # stdin, stdout, stderr, code
STARTUP = "/etc/pffs/repl-startup.py"
KEPT_SOURCE = 32 << 20  # characters of old code that tracebacks can still quote
INTERRUPTED = 130  # 128 + SIGINT

# The values of ast.PyCF_ALLOW_TOP_LEVEL_AWAIT and inspect.CO_COROUTINE, whose modules
# take long to import.
ALLOW_TOP_LEVEL_AWAIT = 0x2000
CO_COROUTINE = 0x80

# The code may replace what it finds in modules. _signal's returns plain numbers for
# what is no function, ten times as fast as signal's.
current_frames = sys._current_frames
getsignal = _signal.getsignal

OWN = globals()
OWN_MODULE = sys.modules["__main__"]  # its variables live as long as it does


class Interrupts:
    """What SIGINT means at this moment.

    While armed, nothing but built-in functions may be called from this file that
    is not ready for a KeyboardInterrupt.
    """

    def __init__(self, poked):
        self.poked = poked
        self.armed = False  # the user's code runs, or is about to
        self.noted = False  # one came while it was about to
        self.held = False  # what runs now is ours, whoever wrote it

    def handle(self, _number, frame):
        if not self.armed:
            return
        if self.held or frame is None or frame.f_globals is OWN:
            self.noted = True
        else:
            raise KeyboardInterrupt

    def install(self):
        signal.signal(signal.SIGINT, self.handle)
        signal.signal(signal.SIGURG, self.poked)

    def check(self):
        if self.noted:
            self.noted = False
            raise KeyboardInterrupt

    def release(self, frame):
        """No longer held: what came meanwhile is for the code that goes on."""
        self.held = False
        if self.noted and frame is not None:
            self.noted = False
            self.handle(signal.SIGINT, frame)


class Sources:
    """The code of past runs, for tracebacks and inspect.getsource()."""

    def __init__(self):
        self.names = []
        self.total = 0

    def add(self, name, source):
        text = source.decode("utf-8", "replace")
        linecache.cache[name] = (len(text), None, text.splitlines(True), name)
        self.names.append((name, len(text)))
        self.total += len(text)
        while self.total > KEPT_SOURCE and len(self.names) > 1:
            old, size = self.names.pop(0)
            self.total -= size
            if old != name:
                linecache.cache.pop(old, None)


def text_stream(fd, errors):
    raw = io.FileIO(fd, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding="utf-8", errors=errors, line_buffering=True
    )


class Streams:
    """sys.stdin, sys.stdout, sys.stderr over descriptors 0, 1, 2."""

    def __init__(self):
        self.null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self.out = self.err = None

    @staticmethod
    def usable(stream):
        try:
            return not stream.closed and stream.fileno() >= 0
        except (ValueError, AttributeError, OSError):  # detached
            return False

    def install(self):
        """Undo what the code may have done to the three names."""
        if not self.usable(self.out):
            self.out = text_stream(1, "surrogateescape")
        if not self.usable(self.err):
            self.err = text_stream(2, "backslashreplace")
        reader = io.BufferedReader(io.FileIO(0, "r", closefd=False))
        stdin = io.TextIOWrapper(reader, encoding="utf-8", errors="surrogateescape")
        sys.stdin = sys.__stdin__ = stdin
        sys.stdout = sys.__stdout__ = self.out
        sys.stderr = sys.__stderr__ = self.err

    def connect(self, fds):
        """Let descriptors 0 to 2 be @fds, or /dev/null without any."""
        for number in range(3):
            os.dup2(fds[number] if fds else self.null, number)

    def flush(self):
        for stream in (sys.stdout, sys.stderr, self.out, self.err):
            try:
                stream.flush()
            except BaseException:  # a stream of the user's may do anything
                pass
        if "ctypes" in sys.modules:  # printf() in a C library of the user's
            try:
                sys.modules["ctypes"].CDLL(None).fflush(None)
            except BaseException:
                pass


class Figures:
    """What pyplot has drawn, shown or left open, as PNGs for the host.

    pyplot is not imported for this, but met when the code imports it.
    """

    def __init__(self, send):
        self.send = send
        self.pyplot = None

    def find_spec(self, name, path=None, target=None):
        """A finder of sys.meta_path that lets others find pyplot, and takes note."""
        if name != "matplotlib.pyplot":
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                break
        else:
            return None
        execute = spec.loader.exec_module

        def met(module):
            execute(module)
            self.meet(module)

        spec.loader.exec_module = met
        return spec

    def meet(self, module):
        def show(*_args, **_kwargs):
            self.show()

        module.show = show  # pyplot gives it a signature, which a method cannot have
        self.pyplot = module

    def show(self):
        """In place of pyplot.show(), and at the end of a run."""
        if self.pyplot is None:
            return
        for number in self.pyplot.get_fignums():
            figure = self.pyplot.figure(number)
            png = io.BytesIO()
            try:
                figure.savefig(png, format="png")
            finally:
                self.pyplot.close(figure)
            self.send(png.getbuffer())


class Repl:
    def __init__(self, sock):
        self.sock = sock
        self.pid = os.getpid()
        self.interrupts = Interrupts(self.poked)
        self.busy = False  # with a run: no other can be among the messages
        self.streams = Streams()
        self.sources = Sources()
        self.figures = Figures(self.send_figure)
        self.flags = ALLOW_TOP_LEVEL_AWAIT
        self.loop = None  # the event loop of top-level await
        self.main = types.ModuleType("__main__")
        self.main.__builtins__ = builtins
        sys.modules["__main__"] = self.main

    # Running code

    def execute(self, code):
        """Run compiled code; top-level await runs on a loop that is kept."""
        self.interrupts.check()
        if code.co_flags & CO_COROUTINE:
            self.drive(eval(code, self.main.__dict__))
        else:
            exec(code, self.main.__dict__)

    def drive(self, coroutine):
        import asyncio

        if self.loop is None or self.loop.is_closed():
            self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        task = self.loop.create_task(coroutine)
        try:
            self.interrupts.check()
            self.loop.run_until_complete(task)
        except BaseException:
            self.settle(task)
            raise

    def settle(self, task):
        """After an interrupt: let the task's finally clauses run."""
        if not task.done():
            task.cancel()
            try:
                self.loop.run_until_complete(task)
            except Exception:
                pass
            except BaseException as error:
                if isinstance(error, (KeyboardInterrupt, SystemExit)):
                    raise
        if task.done() and not task.cancelled():
            task.exception()  # so that the loop does not report it once more

    def attempt(self, action, *args):
        """Call, with interrupts armed. Return: the exception that ended it, or None."""
        self.interrupts.armed = True
        try:
            action(*args)
        except BaseException as error:
            self.interrupts.armed = False
            return error
        self.interrupts.armed = False
        return None

    def compile(self, name, source):
        code = compile(source, name, "exec", self.flags, True)
        for feature in __future__.all_feature_names:  # they hold from now on
            self.flags |= code.co_flags & getattr(__future__, feature).compiler_flag
        return code

    def run_source(self, name, source):
        sys.argv = [""]
        self.sources.add(name, source)
        try:
            code = self.compile(name, source)
        except BaseException as error:
            self.interrupts.armed = False
            return self.report(error.with_traceback(None))
        code = self.report(self.attempt(self.execute, code))
        return self.report(self.attempt(self.figures.show)) or code

    # Ends of runs

    def report(self, error):
        """Say what ended the code. Return: its exit code."""
        if error is None:
            return 0
        if isinstance(error, SystemExit):
            return self.exit_code(error.code)
        try:
            self.show(error)
        except BaseException as second:  # no memory, a broken __str__, a closed stream
            text = "%s (%s)\n" % (type(error).__name__, type(second).__name__)
            os.write(2, text.encode("utf-8", "replace"))
        return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1

    @staticmethod
    def exit_code(code):
        if code is None:
            return 0
        if isinstance(code, int):
            return code & 0xFF
        try:
            print(code, file=sys.stderr)
        except BaseException:
            os.write(2, b"SystemExit\n")
        return 1

    def show(self, error):
        self.trim(error)
        if sys.excepthook is not sys.__excepthook__:
            hook = self.attempt(
                sys.excepthook, type(error), error, error.__traceback__
            )
            if hook is None:
                return
        self.streams.flush()
        text = "".join(
            traceback.format_exception(type(error), error, error.__traceback__)
        )
        stream = sys.stderr if self.streams.usable(sys.stderr) else self.streams.err
        stream.write(text)
        stream.flush()

    def trim(self, error):
        """Leave the user's frames, and what they called: here, and in the causes."""
        error.__traceback__ = without_own(error.__traceback__)
        tb = error.__traceback__
        while tb is not None and tb.tb_frame.f_globals is not self.main.__dict__:
            tb = tb.tb_next  # the event loop's frames
        error.__traceback__ = tb
        seen = {id(error)}
        causes = [error.__cause__, error.__context__]
        while causes:
            error = causes.pop()
            if error is not None and id(error) not in seen:
                seen.add(id(error))
                error.__traceback__ = without_own(error.__traceback__)
                causes += [error.__cause__, error.__context__]

    # One run, from message to answer

    def serve_one(self, number, fds):
        stdio, code_fd = fds[:3], fds[3]
        self.streams.connect(stdio)
        for fd in stdio:
            os.close(fd)
        with open(code_fd, "rb") as file:
            file.seek(0)
            source = file.read()
        self.streams.install()
        self.interrupts.install()
        self.interrupts.noted = False
        self.interrupts.armed = True
        self.say("started")
        self.busy = True
        self.poked(None, None)  # nobody looked while it was not
        code = self.run_source("<run %s>" % number, source)
        self.busy = False
        self.streams.flush()
        if os.getpid() != self.pid:
            os._exit(code)  # a child that the code forked, and that came out of it
        self.streams.install()
        self.streams.connect(None)
        self.say("done %d%s" % (code, self.alone()))

    def alone(self):
        """What to add when no thread and no signal's handler of the user's is there."""
        ours = (self.interrupts.handle, self.poked)
        handlers = [h for h in map(getsignal, range(1, signal.NSIG)) if callable(h)]
        if len(current_frames()) > 1 or any(h not in ours for h in handlers):
            return ""
        return " alone"

    def send_figure(self, png):
        if os.getpid() != self.pid:
            return
        fd = os.memfd_create("figure")
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(png)
            socket.send_fds(self.sock, [b"figure"], [fd])
        finally:
            os.close(fd)

    def say(self, word):
        self.sock.send(word.encode())

    # Fresh entropy: this machine was forked, and its twin has the same generators

    def poked(self, _number, frame):
        """SIGURG: the agent may have said "reseed" in the middle of a run."""
        if not self.busy or os.getpid() != self.pid:
            return
        self.interrupts.held = True
        try:
            if self.sock.recv(64, socket.MSG_DONTWAIT) == b"reseed":
                self.reseed()
        except OSError:  # it has said nothing
            pass
        finally:
            self.interrupts.release(frame)

    def reseed(self):
        for name, action in (
            ("random", lambda module: module.seed()),
            ("numpy.random", lambda module: module.seed()),
            ("_ssl", lambda module: module.RAND_add(os.urandom(64), 64.0)),
        ):
            if name in sys.modules:
                try:
                    action(sys.modules[name])
                except BaseException:  # a module of the user's by that name
                    pass
        self.say("reseeded")

    def startup(self):
        """What the image wants to find imported."""
        try:
            with open(STARTUP, "rb") as file:
                source = file.read()
        except FileNotFoundError:
            return
        self.run_source(STARTUP, source)

    def serve(self):
        os.register_at_fork(after_in_child=self.sock.close)
        self.interrupts.install()
        self.streams.install()
        sys.meta_path.insert(0, self.figures)
        self.startup()
        self.streams.flush()
        if os.getpid() != self.pid:
            os._exit(0)
        self.streams.connect(None)
        self.say("warm" + self.alone())
        while True:
            message, ancillary, _flags, _address = self.sock.recvmsg(
                64, socket.CMSG_SPACE(FDS.size), socket.MSG_CMSG_CLOEXEC
            )
            if not message:
                os._exit(0)
            if message == b"reseed":
                self.reseed()
                continue
            fds = FDS.unpack(ancillary[0][2])
            self.serve_one(message.decode().split()[1], fds)


def without_own(tb):
    """Cut the frames of this file out of a traceback."""
    while tb is not None and tb.tb_frame.f_globals is OWN:
        tb = tb.tb_next
    at = tb
    while at is not None:
        while at.tb_next is not None and at.tb_next.tb_frame.f_globals is OWN:
            at.tb_next = at.tb_next.tb_next
        at = at.tb_next
    return tb


def main():
    sock = socket.socket(fileno=SOCKET_FD)
    sock.set_inheritable(False)
    sys.path[0] = ""
    faulthandler.enable(2)  # a crash shows where it happened
    Repl(sock).serve()


main()
