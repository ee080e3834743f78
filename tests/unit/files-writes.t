#!/usr/bin/python3
"""Writes that were answered before the guest had them: their order, their errors, and that
whoever looks waits for them."""
import errno
import os
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from held_kit import DROP_SUID, O_APPEND, File, HeldGuest, Later, program, until  # noqa: E402
from liar_kit import (GETATTR, LIMIT, LOOKUP, READ, SETATTR, TEXT, WRITE, error_of, reply,  # noqa: E402
                      run)

MIB = 1 << 20
FULL = reply(errno.ENOSPC)


def holding(mount, data=b""):
    """A guest that keeps writes for itself, and its file, open."""
    guest = HeldGuest(mount)
    guest.files[b"file"].data[:] = data
    guest.held = {WRITE}
    return guest, os.open(guest.fs + "/file", os.O_RDWR)


def sent(guest):
    """What the guest was asked to write: (offset, data)."""
    return [(request.offset, request.data) for request in guest.of(WRITE)]


def end(guest, fd):
    guest.release(WRITE)
    os.close(fd)


def test_answered_at_once(mount):
    "writes are answered when they are queued, and are in the guest when close(2) returns"
    guest, fd = holding(mount)
    assert os.write(fd, b"one") == 3
    assert os.pwrite(fd, b"two", 5000) == 3
    assert guest.files[b"file"].data == b""
    closing = Later(os.close, fd)
    assert closing.waits()
    guest.release(WRITE)
    assert not closing.end()
    assert guest.files[b"file"].data == b"one" + bytes(4997) + b"two"


def test_joined(mount):
    "writes that continue each other become one"
    guest, fd = holding(mount)
    for number in range(101):
        os.write(fd, b"%09d\n" % number)
    guest.settle()
    assert sent(guest) == [(0, b"000000000\n")]
    guest.answer(guest.of(WRITE)[0])
    guest.wait(WRITE, 2)
    assert sent(guest)[1] == (10, b"".join(b"%09d\n" % number for number in range(1, 101)))
    end(guest, fd)
    assert len(guest.of(WRITE)) == 2


def test_at_once(mount):
    "eight are in flight at most; the others follow in order"
    guest, fd = holding(mount)
    for number in range(30):
        os.pwrite(fd, b"x", number * 10000)
    guest.settle()
    assert len(guest.of(WRITE)) == 8
    for number in 5, 0, 7:
        guest.answer(guest.of(WRITE)[number])
    guest.wait(WRITE, 11)
    guest.settle()
    assert [offset for offset, _ in sent(guest)] == [n * 10000 for n in range(11)]
    end(guest, fd)
    assert len(guest.of(WRITE)) == 30
    assert bytes(guest.files[b"file"].data) == (b"x" + bytes(9999)) * 29 + b"x"


def test_overlapping(mount):
    "those that overlap go in their order, and others past them"
    guest, fd = holding(mount)
    os.pwrite(fd, b"aaaa", 0)
    os.pwrite(fd, b"bb", 2)
    os.pwrite(fd, b"c", 3)
    os.pwrite(fd, b"d", 4000)
    os.pwrite(fd, b"e", 8000)
    guest.settle()
    assert sent(guest) == [(0, b"aaaa"), (4000, b"d")]
    guest.answer(guest.of(WRITE)[1])
    guest.settle()
    assert (2, b"bb") not in sent(guest)
    guest.answer(guest.of(WRITE)[0])
    guest.settle()
    assert (2, b"bb") in sent(guest) and (3, b"c") not in sent(guest)
    end(guest, fd)
    assert guest.files[b"file"].data[:4] == b"aabc"


def test_appends(mount):
    "appends go one by one, in order, of all who append"
    guest = HeldGuest(mount)
    guest.held = {WRITE}
    flags = os.O_WRONLY | os.O_APPEND
    fds = [os.open(guest.fs + "/file", flags) for _ in range(2)]
    for number in range(10):
        os.write(fds[number % 2], b"%d" % number * 5000)
    for number in range(10):
        request = guest.wait(WRITE, number + 1)[number]
        guest.settle()
        assert len(guest.of(WRITE)) == number + 1
        assert request.flags & O_APPEND and request.data == b"%d" % number * 5000
        guest.answer(request)
    for fd in fds:
        os.close(fd)
    assert guest.files[b"file"].data == TEXT + b"".join(b"%d" % n * 5000 for n in range(10))


def test_errors(mount):
    "an error is told once, by the next write, fsync or close of the same open file"
    guest, fd = holding(mount)
    other = os.open(guest.fs + "/file", os.O_RDWR)
    for number, call in enumerate((os.write, os.fsync, os.close)):
        assert os.write(fd, b"lost") == 4
        guest.answer(guest.wait(WRITE, number + 1)[number], FULL)
        guest.settle()
        assert error_of(os.fsync, other) == 0
        assert error_of(call, fd, *([b"no"] if call == os.write else [])) == errno.ENOSPC
        if call != os.close:
            assert error_of(os.fsync, fd) == 0
    assert error_of(os.close, other) == 0
    assert len(guest.of(WRITE)) == 3, "what was answered with the error was written"


def test_errors_while_waiting(mount):
    "also by fsync or close that waits for it; of several errors the first"
    guest, fd = holding(mount)
    for number, call in enumerate((os.fsync, os.close)):
        os.pwrite(fd, b"lost", 0)
        os.pwrite(fd, b"lost", 9000)
        waiting = Later(call, fd)
        guest.wait(WRITE, 2 * number + 2)
        guest.answer(guest.of(WRITE)[2 * number], FULL)
        assert waiting.waits()
        guest.answer(guest.of(WRITE)[2 * number + 1], reply(errno.EDQUOT))
        assert waiting.end() == errno.ENOSPC


def test_short(mount):
    "a write of which a part was written goes on behind that"
    guest, fd = holding(mount)
    os.write(fd, b"0123456789")
    for number, (offset, size) in enumerate(((0, 3), (3, 1), (4, 6))):
        request = guest.wait(WRITE, number + 1)[number]
        assert (request.offset, request.data) == (offset, b"0123456789"[offset:])
        guest.answer(request, guest.write(guest.files[b"file"], request, size))
    assert error_of(os.fsync, fd) == 0
    assert guest.files[b"file"].data == b"0123456789"
    os.close(fd)


def test_wrong_sizes(mount):
    "nothing written is an error, and so is more than was asked for"
    guest, fd = holding(mount)
    for number, value in enumerate((0, 5, 1 << 40, (1 << 64) - 1)):
        os.write(fd, b"four")
        guest.answer(guest.wait(WRITE, number + 1)[number],
                     reply(value=value, attr=guest.files[b"file"].attr()))
        assert error_of(os.fsync, fd) == errno.EIO, value
        assert error_of(os.fsync, fd) == 0, value
    assert len(guest.of(WRITE)) == 4
    os.close(fd)


def test_looking_waits(mount):
    "stat, read and truncate wait for what was written before, also by other open files"
    guest, fd = holding(mount, TEXT)
    other = os.open(guest.fs + "/file", os.O_RDONLY | os.O_DIRECT)
    for number, (call, op) in enumerate((
            (lambda: os.fstat(other).st_size, (GETATTR, LOOKUP)),
            (lambda: os.stat(guest.fs + "/file").st_size, (GETATTR, LOOKUP)),
            (lambda: len(os.pread(other, 100000, 0)), (READ,)),
            (lambda: os.truncate(guest.fs + "/file", 50000), (SETATTR,)))):
        size = 1000 * number + 1000
        os.pwrite(fd, b"x", size - 1)
        before = asked(guest, op)
        looking = Later(call)
        request = guest.wait(WRITE, number + 1)[number]
        assert looking.waits()
        guest.settle()
        assert asked(guest, op) == before, "the guest was asked before it had the write"
        guest.answer(request)
        seen = looking.end()
        assert seen in (size, None), (number, seen)
        assert asked(guest, op) > before
    os.close(other)
    os.close(fd)


def asked(guest, ops):
    """How often about the file."""
    return len([1 for op in ops for request in guest.of(op)
                if not request.path.startswith(b"none")])


def test_others_do_not_wait(mount):
    "who looks at another file does not, and what is written after who looks is not waited for"
    guest, fd = holding(mount)
    guest.files[b"second"] = File(9, b"second")
    os.write(fd, b"first")
    with open(guest.fs + "/second", "rb") as file:
        assert file.read() == b"second"
    looking = Later(lambda: os.fstat(fd).st_size)
    assert looking.waits()
    os.pwrite(fd, b"more", 9000)
    guest.answer(guest.wait(WRITE, 1)[0])
    assert looking.end() in (5, 9004)
    end(guest, fd)


WRITER = """
import os, sys
fd, count = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT), 0
print("open", flush=True)
sys.stdin.readline()
while True:
    print(count, flush=True)
    count += os.write(fd, bytes(1 << 20))
"""


def writing(guest, names):
    """Programs that write to files, open before the guest holds what they write."""
    writers = [program(WRITER, "%s/%s" % (guest.fs, name)) for name in names]
    for writer in writers:
        assert writer.stdout.readline() == "open\n"
    guest.held = {WRITE}
    for writer in writers:
        writer.stdin.close()
    return writers


def stalled(writers):
    """Wait until none of them gets on. Return: how many bytes they have written."""
    counts, still = [None] * len(writers), 0
    for writer in writers:
        os.set_blocking(writer.stdout.fileno(), False)
    limit = time.monotonic() + LIMIT
    while still < 10:
        before = list(counts)
        time.sleep(0.1)
        for number, writer in enumerate(writers):
            try:
                text = os.read(writer.stdout.fileno(), MIB)
            except BlockingIOError:
                continue
            assert text, "it ended"
            counts[number] = int(text.split()[-1])
        still = still + 1 if counts == before and None not in counts and any(counts) else 0
        assert time.monotonic() < limit, "they go on for ever: %s" % counts
    return sum(counts)


def killed(writers):
    for writer in writers:
        writer.kill()
    for writer in writers:
        assert writer.wait(LIMIT) == -signal.SIGKILL


def test_bound(mount):
    "a guest that does not answer gets so much for a file; its writer can be killed"
    guest = HeldGuest(mount)
    writers = writing(guest, ["file"])
    count = stalled(writers)
    assert 2 * MIB <= count <= 6 * MIB, count
    killed(writers)
    guest.release(WRITE)
    until(lambda: len(guest.files[b"file"].data) >= count, "what was answered was not written")


def test_bound_of_all(mount):
    "and so much for a sandbox, however many files there are; another one is written to"
    guest = HeldGuest(mount)
    writers = writing(guest, ["file-%d" % number for number in range(40)])
    count = stalled(writers)
    assert 32 * MIB <= count <= 72 * MIB, count
    other = HeldGuest(mount, "second")
    with open(other.fs + "/file", "wb") as file:
        file.write(bytes(8 * MIB))
    assert len(other.files[b"file"].data) == 8 * MIB
    killed(writers)
    guest.release(WRITE)


def test_room_again(mount):
    "a writer for whom there was no room goes on when the guest answers"
    guest = HeldGuest(mount)
    writers = writing(guest, ["file"])
    count = stalled(writers)
    guest.release(WRITE)
    until(lambda: len(guest.files[b"file"].data) > count + 8 * MIB, "it does not go on")
    killed(writers)


def test_several_names(mount):
    "what is written to a file of several names arrives before it is answered, or fails"
    guest = HeldGuest(mount)
    guest.files[b"file"].nlink = 2
    guest.files[b"again"] = guest.files[b"file"]
    guest.held = {WRITE}
    fd = os.open(guest.fs + "/file", os.O_WRONLY)
    writing = Later(os.write, fd, b"WHAT")
    request = guest.wait(WRITE, 1)[0]
    assert writing.waits()
    guest.answer(request)
    assert writing.end() == 4
    writing = Later(os.write, fd, b"lost")
    guest.answer(guest.wait(WRITE, 2)[1], FULL)
    assert writing.end() == errno.ENOSPC
    assert error_of(os.close, fd) == 0
    with open(guest.fs + "/again", "rb") as file:
        assert file.read() == b"WHAT" + TEXT[4:]


def test_suid(mount):
    "the guest is told to take setuid bits away when it is not root who writes"
    guest = HeldGuest(mount)
    fd = os.open(guest.fs + "/file", os.O_WRONLY)
    for number, user in enumerate((0, 65534)):
        subprocess.run(["printf", "x"], stdout=fd, user=user, check=True, timeout=LIMIT)
        request = guest.wait(WRITE, number + 1)[number]
        assert bool(request.flags & DROP_SUID) == bool(user)
    os.close(fd)


run(globals())
