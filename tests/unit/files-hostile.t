#!/usr/bin/python3
"""Guests that lie about their files: the mount lives, and nobody else notices."""
import ctypes
import errno
import os
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from liar_kit import (CHANGED, GETATTR, GETXATTR, LIMIT, LIST, LISTXATTR, LOOKUP, MARK, OPEN,  # noqa: E402
                      PFFS, READ, READLINK, RENAME, REPLY, SINCE, STATFS, TEXT, TREE, WRITE, attr,
                      directory, entry, error_of, honest, reply, run)


def lying(op, *answers):
    """Honest, but for one operation; its answers come in turn."""
    turn = [0]

    def answer(request):
        if request.op != op:
            return honest(request)
        turn[0] += 1
        one = answers[(turn[0] - 1) % len(answers)]
        return one(request) if callable(one) else one
    return answer


def ends(*command, limit=LIMIT):
    """Run a program to its end. Return: its exit status and output."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=limit, check=False)
    return done.returncode, done.stdout


def uses_little(mount):
    """Resident memory, and what a sanitizer may keep of what was freed."""
    with open("/proc/%d/status" % mount.process.pid) as file:
        used = int(file.read().split("VmRSS:")[1].split()[0]) >> 10
    with open(PFFS, "rb") as file:
        limit = 600 if b"__asan_init" in file.read() else 200
    assert used < limit, "%d MiB" % used


def others_live(mount):
    """Another sandbox answers, and the mount does."""
    assert mount.process.poll() is None, "pffs ended"
    path = os.path.join(mount.path, "other")
    if not os.path.exists(path):
        mount.sandbox("other")
    status, text = ends("cat", os.path.join(path, "fs/file"))
    assert (status, text) == (0, TEXT), text
    assert ends("ls", mount.path)[0] == 0


def test_honest(mount):
    "a guest that does not lie: its file is listed and read"
    fs = mount.sandbox("demo")
    assert os.listdir(fs) == ["file"]
    with open(fs + "/file", "rb") as file:
        assert file.read() == TEXT
    others_live(mount)


def test_names(mount):
    "names with slashes, dots, zero bytes or too many bytes are never shown"
    bad = [b"a/b", b"/", b"..", b".", b"", b"a\0b", b"n" * 256, b"n" * 4096, b"../../etc/passwd"]
    for number, name in enumerate(bad):
        fs = mount.sandbox("demo%d" % number, lying(LIST, reply(
            value=1, data=entry(b"good", 1) + entry(name, 2))))
        status, text = ends("ls", "-fU", fs)
        assert name == b"." or name == b".." or not name or name not in text.split(b"\n"), text
        assert status != 0 or b"good" in text, (name, status, text)
    others_live(mount)


def test_truncated_entries(mount):
    "a listing that ends in the middle of an entry is an error"
    whole = entry(b"good", 1)
    for cut in 1, 20, len(whole) - 1:
        fs = mount.sandbox("demo%d" % cut, lying(LIST, reply(value=1, data=whole[:cut])))
        assert error_of(os.listdir, fs) == errno.EIO
    others_live(mount)


def test_endless_directory(mount):
    "a directory that never ends fills no memory, and its reader can be killed"
    def endless(request):
        return reply(value=0, data=b"".join(
            entry(b"n%016d" % (request.offset + i), request.offset + i + 1) for i in range(500)))
    fs = mount.sandbox("demo", lying(LIST, endless))
    reader = subprocess.Popen(["find", fs, "-maxdepth", "1", "-name", "none"])
    time.sleep(2)
    others_live(mount)
    assert reader.poll() is None, "it came to an end"
    reader.kill()
    reader.wait(LIMIT)
    uses_little(mount)


def test_directory_in_a_circle(mount):
    "nor does one whose places go round, or that has nothing and more of it"
    fs = mount.sandbox("demo", lying(LIST, reply(value=0, data=entry(b"again", 1))))
    empty = mount.sandbox("empty", lying(LIST, reply(value=0)))
    readers = [subprocess.Popen(["find", path, "-name", "none"], stderr=subprocess.DEVNULL)
               for path in (fs, empty)]
    time.sleep(2)
    others_live(mount)
    for reader in readers:
        reader.kill()
        reader.wait(LIMIT)
    uses_little(mount)


def test_attributes(mount):
    "attributes that no file has are an error or are shown; nothing else happens"
    lies = [attr(mode=0), attr(mode=0xffffffff), attr(size=1 << 63), attr(size=(1 << 64) - 1),
            attr(ino=0), attr(ino=(1 << 64) - 1), attr(nlink=0), attr(nlink=0xffffffff),
            attr(stat.S_IFDIR | 0o755, size=1 << 62), attr(stat.S_IFSOCK),
            attr(time_ns=-(1 << 63)), attr(time_ns=(1 << 63) - 1)]
    for number, lie in enumerate(lies):
        fs = mount.sandbox("demo%d" % number, lying(LOOKUP, reply(attr=lie)))
        assert error_of(os.stat, fs + "/x") in (
            0, errno.EIO, errno.EOVERFLOW, errno.ENOENT, errno.ESTALE)
        ends("ls", "-la", fs)
        ends("cat", fs + "/x")
    fs = mount.sandbox("none", lying(LOOKUP, reply()))
    assert error_of(os.stat, fs + "/x") == errno.EIO, "a file without attributes"
    others_live(mount)


def test_changing_type(mount):
    "a name that is a file, a directory and a link in turn, under one number"
    fs = mount.sandbox("demo", lambda request: reply(handle=3, attr=turns[next(counter)])
                       if request.op in (LOOKUP, GETATTR, OPEN) and request.path
                       else honest(request))
    turns = [attr(), directory(7), attr(stat.S_IFLNK | 0o777)]
    counter = iter(i % 3 for i in range(1 << 20))
    for _ in range(30):
        for command in ["cat", fs + "/x"], ["ls", fs + "/x/"], ["readlink", fs + "/x"]:
            ends(*command)
    others_live(mount)


def test_devices(mount):
    "a device is shown as one and cannot be opened"
    for number, kind in enumerate((stat.S_IFCHR, stat.S_IFBLK)):
        fs = mount.sandbox("demo%d" % number, lying(LOOKUP, reply(attr=attr(kind | 0o666, rdev=0x103))))
        assert error_of(os.open, fs + "/null", os.O_RDWR) in (errno.EACCES, errno.EIO, errno.EPERM)
    others_live(mount)


def test_sizes(mount):
    "a file that says it is 4 EiB and has nothing ends where it ends"
    big = attr(size=1 << 62)
    fs = mount.sandbox("demo", lambda request: reply(handle=3, attr=big)
                       if request.op in (LOOKUP, GETATTR, OPEN) and request.path == b"big"
                       else reply() if request.op == READ else honest(request))
    status, text = ends("head", "-c", "100000", fs + "/big")
    assert status == 0 and not text.strip(b"\0"), (status, text[:100])
    others_live(mount)


def test_too_much_data(mount):
    "more data than were asked for are an error, and less are the end"
    fs = mount.sandbox("demo", lying(READ, lambda request: reply(data=b"x" * (request.size + 1))))
    status, text = ends("cat", fs + "/file")
    assert status != 0 or len(text) <= len(TEXT), (status, len(text))
    fs = mount.sandbox("demo2", lying(READ, reply(data=b"wh"), reply()))
    status, text = ends("cat", fs + "/file")
    assert status != 0 or len(text) <= len(TEXT), text[:100]
    others_live(mount)


def test_written(mount):
    "who is told that more or less was written than he wrote is not led astray"
    for number, value in enumerate((0, 1, 5, 1 << 40, (1 << 64) - 1)):
        fs = mount.sandbox("demo%d" % number, lying(WRITE, reply(value=value, attr=attr())))
        ends("bash", "-c", 'printf xyz >> "$1"', "bash", fs + "/file")
    others_live(mount)


def test_links(mount):
    "no target leads out of fs/, whatever the guest says"
    link = attr(stat.S_IFLNK | 0o777, size=9)
    targets = [b"/etc/passwd", b"../../../../etc/passwd", b"a/../../../../../etc/passwd", b"",
               b"x\0/etc/passwd", b"/" * 4000 + b"etc/passwd", b"../" * 1300 + b"etc/passwd",
               b"n" * 5000, b"./.././../etc/passwd", b"//etc//passwd", b"..", b"."]
    for number, target in enumerate(targets):
        fs = mount.sandbox("demo%d" % number, lambda request, target=target:
                           reply(data=target) if request.op == READLINK else
                           reply(attr=link) if request.op in (LOOKUP, GETATTR)
                           and request.path.endswith(b"link") else
                           reply(2) if request.op == LOOKUP else honest(request))
        if error_of(os.readlink, fs + "/link"):
            continue
        shown = os.path.normpath(os.path.join(fs, os.readlink(fs + "/link")))
        assert shown == fs or shown.startswith(fs + "/"), (target[:50], shown[:200])
        with open("/etc/passwd", "rb") as file:
            assert file.read() not in ends("cat", fs + "/link")[1], target[:50]
    others_live(mount)


def test_links_of_two_mounts(mount):
    "nor does one of a directory that went deeper in another mount"
    kinds = {b"link": attr(stat.S_IFLNK | 0o777, size=9, ino=30)}
    kinds.update((name, directory(ino)) for ino, name in enumerate((b"a", b"b", b"d", b"c"), 20))
    paths = {b"a", b"a/b", b"d", b"d/link", b"c", b"c/link"}

    def answer(request):
        if request.op == RENAME:
            moved = {path for path in paths if path.split(b"/")[0] == request.path}
            paths.symmetric_difference_update(moved)
            paths.update(path.replace(request.path, request.path2, 1) for path in moved)
            return reply()
        if request.op == READLINK:
            return reply(data=b"/etc/passwd")
        if request.path:
            name = request.path.split(b"/")[-1]
            return reply(attr=kinds[name]) if request.path in paths else reply(errno.ENOENT)
        return honest(request)
    fs = mount.sandbox("demo", answer)
    only = os.path.join(os.path.dirname(mount.path), "only")
    os.mkdir(only)
    subprocess.run([PFFS, "mount", "--only", os.path.dirname(fs), only], check=True,
                   timeout=LIMIT, stderr=subprocess.DEVNULL)
    try:
        for name, where in ("d", only + "/fs/d"), ("c", fs + "/c"):
            os.chdir(where)
            assert os.readlink("link") == "../etc/passwd"
            os.rename(fs + "/" + name, fs + "/a/b/" + name)
            try:
                assert os.readlink("link") == "../etc/passwd" or name == "c"
            except OSError as error:
                assert error.errno in (errno.ENOENT, errno.ESTALE), error
            assert os.readlink("%s/a/b/%s/link" % (fs, name)) == "../../../etc/passwd"
            assert os.readlink("%s/fs/a/b/%s/link" % (only, name)) == "../../../etc/passwd"
    finally:
        os.chdir("/")
        subprocess.run([PFFS, "umount", only], check=True, timeout=LIMIT)
    others_live(mount)


def test_errors(mount):
    "only errors that a program may see are passed on"
    for number, error in enumerate((512, 4095, 516, errno.ENOSYS, 513)):
        fs = mount.sandbox("demo%d" % number, lying(LOOKUP, reply(error)))
        assert error_of(os.stat, fs + "/x") in (errno.EIO, errno.EOPNOTSUPP, errno.ENOENT), error
    fs = mount.sandbox("enosys", lying(OPEN, reply(errno.ENOSYS)))
    ends("cat", fs + "/file")
    others_live(mount)  # the kernel has not learned that nobody can open


def test_attributes_of_names(mount):
    "sizes of extended attributes that lie allocate nothing"
    libc = ctypes.CDLL(None, use_errno=True)
    for number, value in enumerate((1 << 62, (1 << 64) - 1, 70000)):
        fs = mount.sandbox("demo%d" % number, lambda request, value=value: reply(value=value)
                           if request.op in (GETXATTR, LISTXATTR) else honest(request))
        size = libc.getxattr((fs + "/file").encode(), b"user.x", None, 0)
        assert size <= 1 << 20, size
        libc.listxattr((fs + "/file").encode(), None, 0)
    fs = mount.sandbox("long", lying(GETXATTR, reply(value=3, data=b"x" * 70000)))
    room = ctypes.create_string_buffer(16)
    assert libc.getxattr((fs + "/file").encode(), b"user.x", room, 16) <= 16
    others_live(mount)


def test_file_system(mount):
    "what a file system has is numbers or an error"
    for number, data in enumerate((b"", b"\xff" * 52, b"\xff" * 51, b"\0" * 52, b"\xff" * 60)):
        fs = mount.sandbox("demo%d" % number, lying(STATFS, reply(data=data)))
        error_of(os.statvfs, fs)
        ends("df", fs)
    others_live(mount)


def test_no_answer(mount):
    "who asks a guest that does not answer waits, and can be killed; others do not wait"
    fs = mount.sandbox("demo", lambda request: None)
    readers = [subprocess.Popen(["cat", fs + "/x%d" % i], stderr=subprocess.DEVNULL)
               for i in range(200)]
    others_live(mount)
    assert ends("cat", mount.path + "/demo/status")[0] == 0
    assert ends("ls", mount.path + "/demo")[0] == 0
    for reader in readers:
        assert reader.poll() is None
        reader.kill()
    for reader in readers:
        assert reader.wait(LIMIT) == -signal.SIGKILL
    reader = subprocess.Popen(["cat", fs + "/x"], stderr=subprocess.DEVNULL)
    time.sleep(0.3)
    os.rmdir(mount.path + "/demo")
    assert reader.wait(LIMIT) == 1, "the end of the sandbox ends it"
    others_live(mount)


def test_stray_replies(mount):
    "replies that nobody asked for, or twice, are nobody's"
    def twice(request):
        guest = mount.guests_by_name["demo"]
        for stream in 0xffffffff, 77, 12345:
            guest.send(REPLY, honest(request), stream)
        return honest(request)
    fs = mount.sandbox("demo", twice)
    assert ends("cat", fs + "/file") == (0, TEXT)
    assert os.listdir(fs) == ["file"]
    others_live(mount)


def test_changes(mount):
    "changes by the thousand, of watches that nobody set, make nothing worse than slow"
    fs = mount.sandbox("demo")
    os.listdir(fs)
    guest = mount.guests_by_name["demo"]
    for number in range(2000):
        guest.send(CHANGED, struct.pack("<8I", *range(number, number + 8)))
    guest.send(CHANGED, struct.pack("<I", 0xffffffff))
    assert ends("cat", fs + "/file") == (0, TEXT)
    others_live(mount)


def test_replaced_directory(mount):
    "what is known of a directory ends when one above it is replaced, and nobody says so"
    new, watch = [False], {b"": 1, b"a": 2, b"a/b": 3}

    def answer(request):
        inodes = {b"": 1, b"a": 12, b"a/b": 13} if new[0] else {b"": 1, b"a": 2, b"a/b": 3}
        name = b"new" if new[0] else b"old"
        number = watch.get(request.path, -1)
        if new[0] and number > 0:
            number += 10
        if request.op in (LOOKUP, GETATTR) and request.path in inodes:
            above = os.path.dirname(request.path) if request.op == LOOKUP else request.path
            return reply(attr=directory(inodes[request.path]), watch=watch[above] + 10 * new[0])
        if request.op == LIST:
            inside = {b"": (b"a", directory(inodes[b"a"])), b"a": (b"b", directory(inodes[b"a/b"])),
                      b"a/b": (name, attr())}[request.path]
            return reply(value=1, watch=number, attr=directory(inodes[request.path]),
                         data=entry(inside[0], 1, inside[1]))
        if request.op in (LOOKUP, GETATTR) and request.path == b"a/b/" + name:
            return reply(attr=attr(), watch=watch[b"a/b"] + 10 * new[0])
        return reply(errno.ENOENT)
    fs = mount.sandbox("demo", answer)
    for path, names in (fs, ["a"]), (fs + "/a", ["b"]), (fs + "/a/b", ["old"]):
        assert os.listdir(path) == names
    os.stat(fs + "/a/b/old")
    new[0] = True
    mount.guests_by_name["demo"].send(CHANGED, struct.pack("<2I", 1, 2))
    until = time.monotonic() + LIMIT  # the frame and the look-up come by different ways
    while error_of(os.stat, fs + "/a/b/new") and time.monotonic() < until:
        time.sleep(0.01)
    assert os.listdir(fs + "/a/b") == ["new"]
    assert error_of(os.stat, fs + "/a/b/old") == errno.ENOENT


def tree_entry(path):
    """Of a directory that the image does not have."""
    return (struct.pack("<BI", 1, len(path) + 1) + path + b"\0"
            + struct.pack("<IIIIIQQqq", stat.S_IFDIR | 0o755, 1, 0, 0, 0, 7, 0, 0, 0))


def pick(path, how):
    return struct.pack("<BI", how, len(path) + 1) + path + b"\0"


def differences(mount, number, tree, picks):
    """A sandbox has that tree, whatever is asked for, and its fork nothing.
    Return: what is different, and what the sandbox was asked: for picks of its tree, or for all."""
    name, fork, asked = "demo%d" % number, "fork%d" % number, []

    def answer(request, tree=tree, picks=picks):
        if request.op == SINCE:
            return reply(data=picks)
        if request.op == READ:
            return reply(data=tree[request.offset:request.offset + request.size])
        return reply(handle=3, value=10**9) if request.op in (MARK, TREE) else honest(request)

    def remember(request):
        if request.op in (MARK, SINCE, TREE):
            asked.append((request.op, len(request.data) > 0))
        return answer(request)
    mount.sandbox(name, remember)
    mount.lies[fork] = lambda request: answer(request, b"", b"")
    os.mkdir("%s/%s/forks/%s" % (mount.path, name, fork))
    with tempfile.TemporaryFile() as out:
        reader = subprocess.Popen(["cat", "%s/%s/diff/%s" % (mount.path, name, fork)], stdout=out)
        until = time.monotonic() + LIMIT
        while reader.poll() is None and time.monotonic() < until:
            others_live(mount)
        assert reader.wait(LIMIT) == 0
        out.seek(0)
        return out.read(), asked


def test_deep_differences(mount):
    "long paths that were not asked for, and picks that are like them, keep nobody waiting"
    above = b"a/" * 1990
    tree = b"".join(tree_entry(above + b"%06d" % number) for number in range(6000))
    picks = b"".join(pick(above + b"%d" % number, 3) for number in range(60))
    for number, more, kinds in (1, b"", [True, False]), (2, pick(b"", 3), [True]):
        text, asked = differences(mount, number, tree, picks + more)
        assert asked == [(MARK, False), (SINCE, False)] + [(TREE, kind) for kind in kinds], asked
        assert text.count(b"\n") == 6000 and text.startswith(b"D a/a/"), text[:100]
    others_live(mount)


def test_no_frames(mount):
    "a reply that is none ends the guest's machine, and that alone"
    for number, bad in enumerate((b"", b"\0" * 10, reply()[:-1], reply() + b"\0", reply(5000),
                                  b"\xff" * 200)):
        name = "demo%d" % number
        fs = mount.sandbox(name, lying(LOOKUP, bad))
        assert error_of(os.stat, fs + "/x") == errno.EIO
        with open(os.path.join(mount.path, name, "status")) as file:
            assert "state dead" in file.read()
    fs = mount.sandbox("changed")
    os.listdir(fs)
    mount.guests_by_name["changed"].send(CHANGED, b"\1\2\3")
    deadline = time.monotonic() + LIMIT
    while "state dead" not in open(mount.path + "/changed/status").read():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    others_live(mount)


run(globals())
