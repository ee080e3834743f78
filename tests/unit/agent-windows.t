#!/usr/bin/env python3
"""What the host changes itself in directories that it watches: it is told in the reply, and by that alone."""

import os
import random
import signal
import struct
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from agent_kit import *  # noqa: E402,F403
from agent_files_kit import *  # noqa: E402,F403

ROUNDS = int(os.environ.get("PFFS_ROUNDS", "150"))
NAMES = "abcde"


def is_now(attr, name):
    """Attributes of a reply are those that the file has now."""
    st = os.lstat(path_of(name))
    same((attr.ino, attr.mode, attr.nlink, attr.size), (st.st_ino, st.st_mode, st.st_nlink, st.st_size))
    same((attr.mtime, attr.ctime), (st.st_mtime_ns, st.st_ctime_ns))


class Kept:
    """A directory that is watched, of which nothing but replies is to tell."""

    def __init__(self, agent, name):
        self.agent = agent
        self.name = name
        self.watch = ask(agent, LIST, name, WATCH, size=IO_MAX).watch
        assert self.watch > 0
        self.told = len(agent.changed)

    def ask(self, op, name, flags=0, **kwargs):
        """@name: of the file that the reply tells of; None: it is gone."""
        reply = ask(self.agent, op, flags=flags | WATCH, **kwargs)
        same((reply.error, reply.watch), (0, self.watch))
        if name:
            is_now(reply.attr, name)
        else:
            same(reply.attr, None)
        if reply.dir:
            is_now(reply.dir, self.name)
        return reply

    def holds(self):
        """Nothing was told, and then everything is."""
        same(ask(self.agent, LIST, self.name, WATCH, size=IO_MAX).watch, self.watch)
        assert self.watch not in self.agent.changed[self.told :], "a change of our own was told"
        with open(path_of(self.name + "/foreign"), "w"):
            pass
        ask(self.agent, LOOKUP, self.name)
        assert self.watch in self.agent.changed[self.told :], "no word of a change"


@test
def an_archive_is_unpacked(agent):
    os.mkdir(path_of("tar"))
    top = Kept(agent, "tar")
    made = top.ask(MKDIR, "tar/d", path="tar/d", mode=0o755)
    assert made.dir and made.watch2 > 0 and made.value == 1, "a new directory is empty and watched"
    is_now(made.dir2, "tar/d")
    new = Kept(agent, "tar/d")
    same(new.watch, made.watch2)
    for i in range(50):
        name = "tar/d/%d" % i
        file = new.ask(OPEN, name, O_WRITE | O_CREAT | O_EXCL, path=name)
        assert file.dir, "the directory has another time"
        new.ask(WRITE, name, handle=file.handle, data=b"x" * i)
        new.ask(SETATTR, name, SET_SIZE, handle=file.handle, size=i + 1)
        new.ask(CLOSE, name, handle=file.handle)
        new.ask(SETATTR, name, SET_MODE | SET_MTIME, path=name, mode=0o600, mtime=10**18 + i)
    new.ask(SYMLINK, "tar/d/link", path="tar/d/link", path2="nowhere")
    new.ask(MKNOD, "tar/d/fifo", path="tar/d/fifo", mode=0o010644)
    new.holds()
    top.holds()


@test
def names_come_and_go(agent):
    os.mkdir(path_of("names"))
    for name in NAMES:
        with open(path_of("names/" + name), "w") as file:
            file.write(name)
    kept = Kept(agent, "names")
    reply = kept.ask(RENAME, "names/x", path="names/a", path2="names/x")
    same((reply.watch2, reply.dir), (kept.watch, reply.dir2))
    reply = kept.ask(RENAME, "names/b", EXCHANGE, path="names/x", path2="names/b")
    is_now(reply.attr2, "names/x")
    reply = kept.ask(LINK, "names/y", path="names/x", path2="names/y")
    same((reply.attr.nlink, reply.watch2), (2, kept.watch))
    same(kept.ask(UNLINK, None, path="names/y").dir.mode & 0o170000, 0o040000)
    kept.ask(SETXATTR, "names/x", path="names/x", path2="user.a", data=b"1", mode=0)
    kept.ask(REMOVEXATTR, "names/x", path="names/x", path2="user.a")
    kept.ask(MKDIR, "names/sub", path="names/sub", mode=0o700)
    kept.ask(RMDIR, None, path="names/sub")
    kept.ask(CLOSE, "names/c", handle=kept.ask(OPEN, "names/c", O_WRITE | O_TRUNC, path="names/c").handle)
    kept.holds()


@test
def two_directories_of_a_rename(agent):
    for name in ("from", "to"):
        os.mkdir(path_of(name))
    with open(path_of("from/a"), "w"):
        pass
    source, target = Kept(agent, "from"), Kept(agent, "to")
    reply = source.ask(RENAME, "to/a", path="from/a", path2="to/a")
    same(reply.watch2, target.watch)
    is_now(reply.dir2, "to")
    reply = target.ask(LINK, "from/b", path="to/a", path2="from/b")
    same(reply.watch2, source.watch)
    source.holds()
    target.holds()


@test
def a_directory_that_is_changed_itself(agent):
    os.makedirs(path_of("outer/inner"))
    outer, inner = Kept(agent, "outer"), Kept(agent, "outer/inner")
    outer.ask(SETATTR, "outer/inner", SET_MODE, path="outer/inner", mode=0o700)
    assert inner.watch in agent.changed[inner.told :], "no word of a change"
    outer.holds()
    watch = ask(agent, GETATTR, "", WATCH).watch
    reply = ask(agent, SETATTR, "", SET_MODE | WATCH, mode=0o755)
    same((reply.error, reply.watch), (0, -1))
    assert watch in agent.changed


@test
def what_is_removed_has_no_watch_any_more(agent):
    os.makedirs(path_of("gone/d"))
    outer, inner = Kept(agent, "gone"), Kept(agent, "gone/d")
    outer.ask(RMDIR, None, path="gone/d")
    assert inner.watch in agent.changed[inner.told :]
    assert outer.watch not in agent.changed[outer.told :]


@test
def a_failure_leaves_nothing_known(agent):
    os.makedirs(path_of("fails/d/e"))
    reply = ask(agent, RMDIR, "fails/d", WATCH)
    same((reply.error, reply.watch, reply.attr, reply.dir), (39, -1, None, None))
    same(ask(agent, MKDIR, "fails/d", WATCH).watch, -1)
    reply = ask(agent, RENAME, "fails/none", WATCH, path2="fails/d")
    same((reply.error, reply.watch, reply.watch2), (2, -1, -1))


@test
def a_handle_whose_name_is_another_files(agent):
    os.mkdir(path_of("moved"))
    handle = ask(agent, OPEN, "moved/a", O_WRITE | O_CREAT).handle
    kept = Kept(agent, "moved")
    kept.ask(WRITE, "moved/a", handle=handle, data=b"x")
    os.rename(path_of("moved/a"), path_of("moved/b"))
    with open(path_of("moved/a"), "w"):
        pass
    reply = ask(agent, WRITE, handle=handle, flags=WATCH, data=b"more")
    same((reply.error, reply.watch, reply.attr.size), (0, -1, 4))
    reply = ask(agent, CLOSE, handle=handle, flags=WATCH)
    same((reply.error, reply.watch), (0, -1))


@test
def without_a_watch_all_is_told(agent):
    os.mkdir(path_of("plain"))
    watch = ask(agent, LIST, "plain", WATCH, size=IO_MAX).watch
    ask(agent, MKDIR, "plain/d", mode=0o755)
    ask(agent, STATFS)
    assert watch in agent.changed
    handle = ask(agent, OPEN, "plain/f", O_WRITE | O_CREAT).handle
    watch = ask(agent, LIST, "plain", WATCH, size=IO_MAX).watch
    ask(agent, CLOSE, handle=handle)
    ask(agent, STATFS)
    assert watch in agent.changed


@test
def a_list_in_pieces_beside_changes(agent):
    os.mkdir(path_of("pieces"))
    for i in range(300):
        with open(path_of("pieces/%03d" % i), "w"):
            pass
    first = ask(agent, LIST, "pieces", WATCH | KEEP, size=10000)
    assert first.watch > 0 and first.handle and not first.value
    at = len(first.data)
    offset = struct.unpack_from("<Q", first.data, at - 4 - 3 - 8)[0]
    reply = ask(agent, LIST, handle=first.handle, flags=WATCH, offset=offset, size=10000)
    same(reply.watch, first.watch)
    same(ask(agent, UNLINK, "pieces/000", WATCH).watch, first.watch)
    reply = ask(agent, LIST, handle=first.handle, flags=WATCH, offset=offset, size=10000)
    same((reply.error, reply.watch), (0, -1))
    same(ask(agent, LIST, handle=first.handle, flags=WATCH, size=10000).watch, first.watch)


@test
def a_small_file_comes_with_its_open(agent):
    data = os.urandom(5000)
    with open(path_of("small"), "wb") as file:
        file.write(data)
    for size, whole in ((IO_MAX, True), (5000, True), (4999, False), (0, False)):
        reply = ask(agent, OPEN, "small", O_READ, size=size)
        same((reply.error, reply.value, reply.data), (0, int(whole), data if whole else b""))
        same(ask(agent, READ, handle=reply.handle, size=9).data, data[:9])
        ask(agent, CLOSE, handle=reply.handle)
    open(path_of("empty"), "w").close()
    same(ask(agent, OPEN, "empty", O_READ, size=1).value, 1)
    same(ask(agent, OPEN, "", O_READ, size=IO_MAX).value, 0)
    same(ask(agent, OPEN, "small", O_READ | O_WRITE | O_TRUNC, size=IO_MAX).value, 0)


@test
def a_server_that_dies_in_the_middle(agent):
    os.mkdir(path_of("dies"))
    for _ in range(20):
        watch = ask(agent, LIST, "dies", WATCH, size=IO_MAX).watch
        count = agent.changed.count(ALL)
        streams = [post(agent, OPEN, "dies/%s" % name, WATCH | O_WRITE | O_CREAT) for name in NAMES]
        os.kill(server_pid(agent), signal.SIGKILL)
        agent.pump(lambda: agent.changed.count(ALL) > count)
        for stream in streams:
            reply_to(agent, stream)
        watch = ask(agent, LIST, "dies", WATCH, size=IO_MAX).watch
        with open(path_of("dies/a"), "w"):
            pass
        ask(agent, STATFS)
        assert watch in agent.changed, "no word of a change"


class Host(Agent):
    """An agent, and what its host knows of the files in some directories."""

    def __init__(self, folders):
        super().__init__(root=root.name)
        self.folders = folders
        self.known = {}  # by directory: [watch, names, its own attributes, are these all names]
        self.asked = {}  # by stream: op, path, path2
        self.handles = []  # those that are open, with their paths
        self.written = []  # since the last answer
        self.told = self.hits = 0
        self.wait_seen(READY)

    def knows(self, folder, watch):
        """What is known of a directory by this watch, or None."""
        entry = self.known.get(folder)
        if watch <= 0 or (entry and entry[0] > watch):
            return None
        if not entry or entry[0] != watch:
            entry = self.known[folder] = [watch, {}, None, False]
        return entry

    def learn(self, path, watch, attr, own):
        folder, _, name = path.rpartition("/")
        entry = self.knows(folder, watch)
        if watch <= 0:
            self.known.pop(folder, None)
        elif entry:
            entry[1][name] = attr
            entry[2] = own or entry[2]

    def take_reply(self, op, path, path2, reply):
        if op == LIST:
            entry = self.knows(path, reply.watch)
            if entry and reply.value:
                entry[1:] = [reply.names(), reply.attr, True]
        elif op == LOOKUP:
            if reply.watch > 0:
                self.learn(path, reply.watch, reply.attr, None)
        elif op == RENAME:
            self.learn(path, reply.watch, None, reply.dir)
            self.learn(path2, reply.watch2, reply.attr, reply.dir2)
        else:
            self.learn(path, reply.watch, reply.attr, reply.dir)
            if op == OPEN and not reply.error:
                self.handles.append((reply.handle, path))

    def take(self, stream, type_, payload):
        if type_ == FILES_CHANGED:
            for watch in struct.unpack("<%dI" % (len(payload) // 4), payload):
                for folder in list(self.known):
                    if watch in (ALL, self.known[folder][0]):
                        del self.known[folder]
                        self.told += 1
        elif type_ == FILES_REPLY and stream in self.asked:
            self.take_reply(*self.asked.pop(stream), Reply(payload))
        super().take(stream, type_, payload)

    def post(self, op, path, flags=0, path2="", **kwargs):
        handle = kwargs.get("handle")
        stream = post(self, op, "" if handle else path, flags | WATCH, path2=path2, **kwargs)
        self.asked[stream] = (op, path, path2)

    def any_path(self):
        return random.choice(self.folders) + "/" + random.choice(NAMES)

    def post_one(self, renames):
        """Ask for something, anything."""
        path = self.any_path()
        what = random.randrange(9 if renames else 8)
        if what == 0:
            self.post(LIST, random.choice(self.folders), size=IO_MAX)
        elif what == 1:
            self.post(LOOKUP, path)
        elif what == 2:
            self.post(OPEN, path, O_WRITE | O_CREAT | random.choice((0, O_TRUNC)))
        elif what == 3:
            self.post(SETATTR, path, SET_MODE, mode=random.choice((0o600, 0o644)))
        elif what == 4 and renames:
            self.post(UNLINK, path)
        elif what in (4, 5, 6) and self.handles:
            handle, path = random.choice(self.handles)
            self.written.append((handle, path))
            self.post(WRITE, path, handle=handle, offset=random.randrange(99), data=b"x" * random.randrange(9999))
        elif what == 7 and self.handles:
            handle, path = random.choice(self.handles)
            if any(of == handle for of, _ in self.written):
                return  # the kernel closes a file when nobody writes to it any more
            self.handles.remove((handle, path))
            self.post(CLOSE, path, handle=handle)
        elif what == 8:
            self.post(RENAME, path, path2=self.any_path())

    def check(self):
        """All that is known is so."""
        for folder, (_, names, own, complete) in self.known.items():
            there = set(os.listdir(path_of(folder)))
            for name, attr in names.items():
                if attr:
                    is_now(attr, folder + "/" + name)
                else:
                    assert name not in there, "%s/%s is there" % (folder, name)
            assert not complete or there == {n for n in names if names[n]}, "names of %s" % folder
            if own:
                is_now(own, folder)
            self.hits += len(names)

    def settle(self):
        """Take the answers to all that was asked, and to one thing more: all changes were told."""
        self.pump(lambda: not self.asked)
        ask(self, STATFS)
        del self.written[:]


def meddle(folders):
    """Somebody else changes something."""
    path = path_of(random.choice(folders) + "/" + random.choice(NAMES))
    other = path_of(random.choice(folders) + "/" + random.choice(NAMES))
    what = random.randrange(5)
    try:
        if what == 0:
            with open(path, "w") as file:
                file.write("y" * random.randrange(99))
        elif what == 1:
            os.unlink(path)
        elif what == 2:
            os.chmod(path, random.choice((0o640, 0o660)))
        elif what == 3:
            os.rename(path, other)
        else:
            with open(path, "r+b") as file:
                file.truncate(random.randrange(9))
    except FileNotFoundError:
        pass


def random_host(folders, meddles, renames):
    for folder in folders:
        os.mkdir(path_of(folder))
    host = Host(folders)
    try:
        for _ in range(ROUNDS):
            for _ in range(random.randrange(1, 12)):
                host.post_one(renames)
                if meddles and not random.randrange(4):
                    meddle(folders)
            host.settle()
            host.check()
    finally:
        host.asked.clear()
        host.end()
    return host


@test
def what_is_known_is_so_beside_others(_):
    host = random_host(["one", "two"], True, True)
    assert host.hits > ROUNDS, "it hardly knows anything"


@test
def what_is_known_is_so_of_names_that_move(_):
    host = random_host(["three", "four"], False, True)
    assert host.hits > ROUNDS, "it hardly knows anything"


@test
def who_is_alone_is_told_nothing(_):
    same(random_host(["five", "six"], False, False).told, 0)


main(root.name)
