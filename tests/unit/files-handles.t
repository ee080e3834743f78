#!/usr/bin/python3
"""Handles of the guest's: replaced when it forgot them, let go of with all their locks, and
not needed for what is in the page cache."""
import errno
import fcntl
import os
import signal
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from held_kit import (O_APPEND, O_READ, O_WRITE, UNLOCK, File, HeldGuest, Later, program,  # noqa: E402
                      until)
from liar_kit import (CLOSE, FLOCK, LIMIT, OPEN, READ, SETLK, TEXT, WRITE, error_of, reply,  # noqa: E402
                      run)

BAD = reply(errno.EBADF)
F_OFD_SETLK = 37


def open_direct(guest):
    """Past the page cache: each read is one of the guest's."""
    return os.open(guest.fs + "/file", os.O_RDONLY | os.O_DIRECT)


def test_reopened(mount):
    "a handle that the guest forgot is replaced by opening the path again, and only once"
    guest = HeldGuest(mount)
    fd = open_direct(guest)
    assert os.pread(fd, 100, 0) == TEXT
    guest.forget_handles()
    assert os.pread(fd, 100, 0) == TEXT
    assert os.pread(fd, 100, 0) == TEXT
    assert [(o.path, o.flags & O_READ) for o in guest.of(OPEN)] == [(b"file", O_READ)] * 2
    assert [r.handle for r in guest.of(READ)] == [1, 1, 2, 2]
    os.close(fd)
    assert [c.handle for c in guest.wait(CLOSE, 1)] == [2]


def test_reopened_flags(mount):
    "it is not created, emptied or to be a new one then"
    guest = HeldGuest(mount)
    for flags, kept in ((os.O_CREAT | os.O_EXCL | os.O_RDWR, O_READ | O_WRITE),
                        (os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_APPEND, O_WRITE | O_APPEND)):
        fd = os.open(guest.fs + "/new", flags)
        os.write(fd, b"kept")
        os.fsync(fd)
        guest.forget_handles()
        os.write(fd, b" too")
        os.fsync(fd)
        assert guest.of(OPEN)[-1].flags == kept, hex(guest.of(OPEN)[-1].flags)
        assert guest.files[b"new"].data == b"kept too"
        os.close(fd)
    assert len(guest.of(OPEN)) == 4


def test_several_at_once(mount):
    "requests that lose the same handle share the new one; what else came is closed"
    guest = HeldGuest(mount)
    fd = open_direct(guest)
    guest.held = {READ}
    readers = [Later(os.pread, fd, 100, 0) for _ in range(4)]
    reads = guest.wait(READ, 4)
    guest.forget_handles()
    guest.held = {READ, OPEN}
    for read in reads:
        guest.answer(read, BAD)
    guest.settle()
    guest.held = {READ}
    guest.release(OPEN)
    reads = guest.wait(READ, 8)[4:]
    assert len({read.handle for read in reads}) == 1, [read.handle for read in reads]
    guest.release(READ)
    assert [reader.end() for reader in readers] == [TEXT] * 4
    until(lambda: len(guest.handles) == 1, "handles are left: %s" % list(guest.handles))
    os.close(fd)
    until(lambda: not guest.handles, "the handle is left")


def test_late_refusal(mount):
    "who hears of it when there is a new one takes that"
    guest = HeldGuest(mount)
    fd = open_direct(guest)
    guest.held = {READ}
    readers = [Later(os.pread, fd, 100, 0) for _ in range(2)]
    first, second = guest.wait(READ, 2)
    guest.forget_handles()
    guest.answer(first, BAD)
    assert guest.wait(READ, 3)[2].handle == 2
    guest.answer(second, BAD)
    assert guest.wait(READ, 4)[3].handle == 2
    guest.release(READ)
    assert [reader.end() for reader in readers] == [TEXT] * 2
    assert len(guest.of(OPEN)) == 2
    os.close(fd)


def replaced(guest, request):
    """The file is another one when the guest says that it does not know the handle."""
    guest.held = set()
    guest.forget_handles()
    guest.files[b"file"] = File(8, b"another one")
    guest.answer(request, BAD)
    until(lambda: len(guest.of(OPEN)) == 2 and not guest.handles, "its handle is left")


def test_another_file(mount):
    "another file that has the name meanwhile does not take its place: who reads is told"
    guest = HeldGuest(mount)
    fd = open_direct(guest)
    guest.held = {READ}
    reader = Later(os.pread, fd, 100, 0)
    replaced(guest, guest.wait(READ, 1)[0])
    assert reader.end() == errno.ESTALE
    os.close(fd)
    with open(guest.fs + "/file", "rb") as file:
        assert file.read() == b"another one"


def test_another_file_written(mount):
    "and who writes"
    guest = HeldGuest(mount)
    fd = os.open(guest.fs + "/file", os.O_WRONLY)
    guest.held = {WRITE}
    os.write(fd, b"lost")
    replaced(guest, guest.wait(WRITE, 1)[0])
    assert error_of(os.close, fd) == errno.ESTALE
    assert guest.files[b"file"].data == b"another one"


def test_refused_twice(mount):
    "a handle that is refused when it is new is an error, and no circle"
    guest = HeldGuest(mount)
    fds = open_direct(guest), os.open(guest.fs + "/file", os.O_WRONLY)
    guest.held = {READ, WRITE}
    reader = Later(os.pread, fds[0], 100, 0)
    for number in range(2):
        guest.answer(guest.wait(READ, number + 1)[number], BAD)
    assert reader.end() == errno.EIO
    os.write(fds[1], b"lost")
    writer = Later(os.fsync, fds[1])
    for number in range(2):
        guest.answer(guest.wait(WRITE, number + 1)[number], BAD)
    assert writer.end() == errno.EIO
    assert len(guest.of(OPEN)) == 4 and len(guest.of(READ)) == 2 and len(guest.of(WRITE)) == 2
    for fd in fds:
        os.close(fd)


def test_too_late(mount):
    "a handle for a program that does not wait any more is closed"
    guest = HeldGuest(mount)
    guest.held = {OPEN}
    reader = program("import sys; open(sys.argv[1])", guest.fs + "/file")
    request = guest.wait(OPEN, 1)[0]
    reader.kill()
    assert reader.wait(LIMIT) == -signal.SIGKILL
    guest.answer(request)
    assert guest.wait(CLOSE, 1)[0].handle == 1


def unlocks(guest, op=SETLK, mode=UNLOCK):
    return [request for request in guest.of(op) if request.mode == mode]


def test_close_unlocks(mount):
    "close(2) lets go of the POSIX locks of its process, by whatever descriptor, alone"
    guest = HeldGuest(mount)
    fds = [os.open(guest.fs + "/file", os.O_RDWR) for _ in range(3)]
    os.close(fds[0])
    assert not guest.of(SETLK), "nothing was locked"
    fcntl.lockf(fds[1], fcntl.LOCK_EX)
    lock = guest.of(SETLK)[0]
    other = program("import os, sys; os.close(os.open(sys.argv[1], os.O_RDWR))", guest.fs + "/file")
    assert other.wait(LIMIT) == 0
    assert not unlocks(guest), "another process closed it"
    os.close(fds[2])
    assert [(u.owner, u.offset, u.size) for u in unlocks(guest)] == [(lock.owner, 0, 0)]
    os.close(fds[1])
    guest.settle()
    assert len(unlocks(guest)) == 1, "it had no lock any more"


def test_close_unlocks_reopened(mount):
    "also when the handle of the lock is forgotten, and when unlocking fails once"
    guest = HeldGuest(mount)
    fd = os.open(guest.fs + "/file", os.O_RDWR)
    fcntl.lockf(fd, fcntl.LOCK_EX)
    guest.forget_handles()
    os.close(fd)
    assert [u.handle for u in unlocks(guest)] == [1, 2]
    until(lambda: not guest.handles, "the handle is left")


def test_open_file_unlocks(mount):
    "locks of the open file itself end with it"
    guest = HeldGuest(mount)
    fd = os.open(guest.fs + "/file", os.O_RDWR)
    whole = b"\1\0\0\0" + bytes(28)  # struct flock: F_WRLCK, all of it
    fcntl.fcntl(fd, F_OFD_SETLK, whole)
    assert not unlocks(guest)
    os.close(fd)
    guest.wait(CLOSE, 1)
    assert [u.owner for u in unlocks(guest)] == [guest.of(SETLK)[0].owner]


# Says when it was interrupted, and keeps the file open.
INTERRUPTED = """
import fcntl, os, signal, sys
class Interrupted(Exception):
    pass
def handler(*_):
    raise Interrupted
signal.signal(signal.SIGUSR1, handler)
fd = os.open(sys.argv[1], os.O_RDWR)
%s
print("go", flush=True)
try:
    %s
except Interrupted:
    print("interrupted", flush=True)
    %s
    sys.stdin.read()
"""


def in_kernel(runs):
    """The number of the system call in which the program waits."""
    with open("/proc/%d/syscall" % runs.pid) as file:
        return file.read().split()[0]


def interrupt(guest, before, call, op, count, after="pass"):
    """Run the call in a program, and interrupt it once the guest was asked for it."""
    runs = program(INTERRUPTED % (before, call, after), guest.fs + "/file")
    assert runs.stdout.readline() == "go\n"
    asked = guest.wait(op, count)
    until(lambda: in_kernel(runs) in ("72", "73"), "it does not wait")  # fcntl, flock
    runs.send_signal(signal.SIGUSR1)
    assert runs.stdout.readline() == "interrupted\n"
    return runs, asked[-1]


def end(runs):
    runs.kill()
    runs.wait(LIMIT)


def test_lock_granted_to_nobody(mount):
    "a lock that is granted when its program does not wait any more is let go of"
    guest = HeldGuest(mount)
    guest.held = {SETLK, FLOCK}
    for op, mode, call in ((SETLK, UNLOCK, "fcntl.lockf(fd, fcntl.LOCK_EX)"),
                           (FLOCK, fcntl.LOCK_UN, "fcntl.flock(fd, fcntl.LOCK_EX)")):
        runs, asked = interrupt(guest, "", call, op, 1)
        guest.settle()
        assert not unlocks(guest, op, mode)
        guest.answer(asked, reply())
        guest.wait(op, 2)
        gone = unlocks(guest, op, mode)
        assert len(gone) == 1 and gone[0].handle == asked.handle and gone[0].owner == asked.owner
        guest.release(op)
        end(runs)


def test_close_unlocks_interrupted(mount):
    "close(2) lets go also of one whose request was interrupted"
    guest = HeldGuest(mount)
    guest.held = {SETLK}
    runs, asked = interrupt(guest, "", "fcntl.lockf(fd, fcntl.LOCK_EX)", SETLK, 1,
                            "os.close(os.dup(fd))")
    guest.wait(SETLK, 2)
    assert [u.owner for u in unlocks(guest)] == [asked.owner]
    guest.release(SETLK)
    end(runs)


def test_unlocking_goes_on(mount):
    "an unlocking that was interrupted while it waited for writes is done all the same"
    guest = HeldGuest(mount)
    guest.held = {WRITE}
    runs, asked = interrupt(guest, "fcntl.lockf(fd, fcntl.LOCK_EX); os.write(fd, b'x')",
                            "fcntl.lockf(fd, fcntl.LOCK_UN)", WRITE, 1)
    guest.settle()
    assert not unlocks(guest), "it did not wait"
    guest.answer(asked)
    guest.wait(SETLK, 2)
    assert len(unlocks(guest)) == 1
    assert runs.poll() is None, "it was closing that did it"
    guest.held = set()
    end(runs)


def cached(mount):
    """A guest whose file the kernel has in its page cache."""
    guest = HeldGuest(mount)
    guest.watch = 5
    with open(guest.fs + "/file", "rb") as file:
        assert file.read() == TEXT
    guest.wait(CLOSE, 1)
    guest.held = {OPEN}
    return guest


def test_cached(mount):
    "what is in the page cache is opened and read without the guest, and with it when kept"
    guest = cached(mount)
    with open(guest.fs + "/file", "rb") as file:
        assert file.read() == TEXT
        request = guest.wait(OPEN, 2)[1]
        assert (request.path, request.flags & ~O_READ, request.size) == (b"file", 0, 0)
        guest.answer(request)
        guest.settle()
    assert guest.wait(CLOSE, 2)[1].handle == 2
    assert len(guest.of(READ)) == 1
    assert len(guest.of(OPEN)) == 2
    assert not guest.handles


def test_cached_closed_soon(mount):
    "who closes it soon has not opened it in the guest"
    guest = cached(mount)
    guest.held = set()
    count = 100
    for _ in range(count):
        with open(guest.fs + "/file", "rb") as file:
            assert file.read() == TEXT
    guest.settle()
    assert len(guest.of(OPEN)) < count / 2, len(guest.of(OPEN))
    assert len(guest.of(READ)) == 1
    until(lambda: not guest.handles, "handles are left")


def test_cached_closed_while_opening(mount):
    "the handle of one that is closed while the guest opens it is closed"
    guest = cached(mount)
    with open(guest.fs + "/file", "rb"):
        request = guest.wait(OPEN, 2)[1]
    guest.settle()
    guest.answer(request)
    assert guest.wait(CLOSE, 2)[1].handle == 2


def test_cached_changed(mount):
    "what the guest says has changed is not opened without it"
    guest = cached(mount)
    guest.files[b"file"].put(0, b"THIS")
    guest.changed(5)
    guest.settle()
    reader = Later(os.open, guest.fs + "/file", os.O_RDONLY)
    request = guest.wait(OPEN, 2)[1]
    assert reader.waits()
    guest.answer(request)
    fd = reader.end()
    assert os.read(fd, 100) == b"THIS" + TEXT[4:]
    os.close(fd)


def test_ahead(mount):
    "a small file that came with its being opened is not asked for again"
    guest = HeldGuest(mount)
    guest.ahead, guest.watch = True, 5
    with open(guest.fs + "/file", "rb") as file:
        assert file.read() == TEXT
    assert guest.of(OPEN)[0].size >= len(TEXT)
    assert not guest.of(READ)


def test_ahead_changed(mount):
    "but is when the guest says that its directory has changed before it is read"
    guest = HeldGuest(mount)
    guest.ahead, guest.watch = True, 5
    fd = os.open(guest.fs + "/file", os.O_RDONLY)
    guest.files[b"file"].put(0, b"THIS")
    guest.changed(5)
    guest.settle()
    assert os.read(fd, 100) == b"THIS" + TEXT[4:]
    assert len(guest.of(READ)) == 1
    os.close(fd)


run(globals())
