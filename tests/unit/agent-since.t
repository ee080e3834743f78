#!/usr/bin/env python3
"""Which files changed since a moment, as the guest's agent tells it: of an overlay over an ext4."""

import mmap
import os
import struct
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from agent_files_kit import *  # noqa: E402,F403
from agent_kit import *  # noqa: E402,F403

TREE, MARK, SINCE = 29, 30, 31
NAME, NAMES, ALL = 1, 2, 3
ENODATA = 61
TICK = 0.15  # a moment is said to be some ticks earlier than it is
dir = tempfile.TemporaryDirectory()
os.chdir(dir.name)


def shell(code):
    return subprocess.run(code, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).returncode == 0


def make_overlay():
    return shell(
        "mkdir disk below root; mkdir -p below/b/c below/gone/d; echo 1 | tee below/b/f below/b/c/g below/gone/d/h"
        " && truncate -s 64M image && mkfs.ext4 -q -N 30000 image && mount -o loop,noatime image disk"
        " && mkdir disk/upper disk/work"
        " && mount -t overlay none -o noatime,lowerdir=below,upperdir=disk/upper,workdir=disk/work root"
    )


def mark(agent):
    time.sleep(TICK)
    reply = ask(agent, MARK)
    same(reply.error, 0)
    return reply.value


def since(agent, moment):
    """Return: how each path is picked, or None when it is not known."""
    reply = ask(agent, SINCE, offset=moment)
    at, picks = 0, {}
    while at < len(reply.data):
        how, size = struct.unpack_from("<BI", reply.data, at)
        picks[reply.data[at + 5 : at + 4 + size].decode()] = how
        at += 5 + size
    assert reply.error in (0, ENODATA), reply.error
    return picks if reply.error == 0 else None


def tree(agent, picks=None):
    """Return: for each path, whether it is there now and whether it is below."""
    data = b"".join(
        struct.pack("<BI", how, len(path) + 1) + path.encode() + b"\0" for path, how in (picks or {}).items()
    )
    opened = ask(agent, TREE, data=data)
    same(opened.error, 0)
    data = ask(agent, READ, handle=opened.handle, size=IO_MAX).data
    ask(agent, CLOSE, handle=opened.handle)
    at, entries = 0, {}
    while at < len(data):
        has, size = struct.unpack_from("<BI", data, at)
        path = data[at + 5 : at + 4 + size].decode()
        at += 5 + size
        for _ in range(bin(has).count("1")):
            (mode,) = struct.unpack_from("<I", data, at)
            at += 52
            if mode >> 12 == 0o12:
                at += 4 + struct.unpack_from("<I", data, at)[0]
        entries[path] = (bool(has & 1), bool(has & 2))
    return entries


@test
def nothing_changes_by_itself(agent):
    shell("mkdir -p root/p/q; echo 1 | tee root/p/f root/p/q/g root/p/names")
    moment = mark(agent)
    shell("sync; cat root/p/f root/b/f; ls -R root")
    same(since(agent, moment), {})


@test
def a_file_that_is_written_is_picked(agent):
    for code in ("echo 2 > root/p/f", "echo 2 >> root/p/f", "truncate -s 0 root/p/f", "chmod 600 root/p/f",
                 "chown 7 root/p/f", "fallocate -l 8192 root/p/f", "touch root/p/f"):
        moment = mark(agent)
        assert shell(code), code
        same(since(agent, moment), {"p/f": NAME})


@test
def also_through_a_mapping_that_stays(agent):
    with open("root/p/f", "r+b") as file, mmap.mmap(file.fileno(), 4096) as pages:
        moment = mark(agent)
        pages[0] = 65
        same(since(agent, moment), {"p/f": NAME})


@test
def and_one_that_stays_open(agent):
    with open("root/p/f", "r+b", buffering=0) as file:
        moment = mark(agent)
        file.write(b"x")
        same(since(agent, moment), {"p/f": NAME})


@test
def a_directory_whose_names_change_is_picked_with_them(agent):
    moment = mark(agent)
    shell("echo > root/p/new; rm root/p/names")
    same(since(agent, moment), {"p": NAMES, "p/new": NAME})
    same(tree(agent, since(agent, moment)), {"p": (True, False), "p/f": (True, False), "p/new": (True, False), "p/q": (True, False)})


@test
def so_it_is_by_a_rename(agent):
    moment = mark(agent)
    shell("mv root/p/q root/moved")
    same(since(agent, moment), {"": NAMES, "p": NAMES, "moved": NAMES})
    same(tree(agent, {"moved": ALL}), {"moved": (True, False), "moved/g": (True, False)})
    shell("mv root/moved root/p/q")


@test
def what_the_image_has_too(agent):
    moment = mark(agent)
    shell("echo 2 > root/b/c/g; rm -r root/gone; mkdir -p root/gone; echo > root/gone/new")
    picks = since(agent, moment)
    same(picks, {"": NAMES, "b": NAMES, "b/c": NAMES, "b/c/g": NAME, "gone": NAMES, "gone/new": NAME})
    entries = tree(agent, picks)
    same(entries["gone/d"], (False, True))
    assert "gone/d/h" not in entries, "it was not picked"
    same(tree(agent, {"gone": ALL})["gone/d/h"], (False, True))
    same(entries["b/c/g"], (True, True))
    assert "b/f" not in entries, "it is as the image has it"


@test
def picks_tell_what_the_whole_tree_does(agent):
    shell("mkdir -p root/s/t/u; echo | tee root/s/1 root/s/t/2 root/s/t/u/3; rm root/b/f; ln -s x root/s/link")
    whole = tree(agent)
    same({path: entry for path, entry in tree(agent, {"": ALL}).items()}, whole)
    for path in whole:
        same(tree(agent, {path: NAME})[path], whole[path])


@test
def a_file_with_two_names_is_not_known(agent):
    moment = mark(agent)
    shell("ln root/p/f root/p/hard")
    same(since(agent, moment), None)
    moment = mark(agent)
    same(since(agent, moment), {})


@test
def what_was_before_another_moment_is_known_as_well(agent):
    first = mark(agent)
    shell("rm root/p/hard; echo > root/p/one")
    second = mark(agent)
    shell("echo > root/s/1")
    same(since(agent, second), {"s/1": NAME})
    same(since(agent, first), {"p": NAMES, "p/f": NAME, "p/one": NAME, "s/1": NAME})


@test
def too_many_are_not_known_until_the_next_moment(agent):
    moment = mark(agent)
    os.mkdir("root/many")
    for n in range(17000):
        os.mknod("root/many/%d" % n)
    same(since(agent, moment), None)
    moment = mark(agent)
    same(since(agent, moment), {})
    shell("echo > root/s/1")
    same(since(agent, moment), {"s/1": NAME})


@test
def what_is_written_while_room_is_made_is_known(agent):
    """Some files are written to once, others all the time, also while the former are put back."""
    os.makedirs("root/busy")
    files = ["root/busy/%d" % n for n in range(400)]
    for path in files:
        open(path, "w").close()
    known, deadline = 0, time.monotonic() + 300
    while known < 5 and time.monotonic() < deadline:
        before = make_room(agent)
        for _ in range(8000):  # with the files below there are enough
            os.utime("disk/upper/busy/0")
        time.sleep(TICK)
        known += written_once_is_known(agent, files[:200], files[200:], before)
    assert known == 5, "no two moments were near enough to one another"


def make_room(agent):
    for _ in range(9000):
        os.utime("disk/upper/busy/0")
    return mark(agent)


def written_once_is_known(agent, once, always, before):
    """Return: whether room was made at the second of two moments, and something is known of the first."""
    assert since(agent, before) is not None, "there was room"
    wake, waker = os.pipe()
    writer = os.fork()
    if not writer:
        os.read(wake, 1)
        while True:
            for path in always:
                os.utime(path.replace("root", "disk/upper"))
    try:
        moment = ask(agent, MARK).value
        kept = since(agent, before) is not None
        os.write(waker, b"x")
        for path in once:
            os.utime(path)
        ask(agent, MARK)
        picks = since(agent, moment)
    finally:
        os.kill(writer, 9)
        os.waitpid(writer, 0)
        os.close(wake)
        os.close(waker)
    if not kept or picks is None or since(agent, before) is not None:
        return False
    lost = [path for path in once if path[len("root/"):] not in picks]
    same(lost[:3], [])
    return True


@test
def bad_picks_are_refused(agent):
    for data in (b"\x01", b"\x04\x02\0\0\0a\0", b"\x01\x03\0\0\0/a\0", b"\x01\x03\0\0\0..\0", b"\x01\xff\xff\xff\xffa"):
        same(ask(agent, TREE, data=data).error, 71)


def cannot(why):
    if os.environ.get("PFFS_MUST_WORK") == "1":
        print("1..1\nnot ok 1 - " + why)
        sys.exit(1)
    print("1..0 # SKIP " + why)


try:
    if os.geteuid() != 0 or not make_overlay():
        cannot("only root can mount, where loop devices are")
    elif not shell("test -e /sys/kernel/tracing/events/ext4 || mount -t tracefs none /sys/kernel/tracing"):
        cannot("there is no tracefs")
    else:
        here = dir.name + "/"
        main(root=here + "root", upper=here + "disk/upper", lower=here + "below")
finally:
    shell("umount root; umount disk")
    os.chdir("/")
