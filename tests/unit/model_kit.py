"""Random trees of files, and what rsync and diff3 make of them: the model of diff and merge.

A merge is done by diff3 for each text, as docs/files.md has the rules for everything else. Lines of
a text are never twice in it, so that there is one way to find what two texts have in common.
"""

import os
import re
import shutil
import stat
import subprocess
import tempfile

NAMES = [b"a", b"b.txt", b"with space", b"new\nline", b"\xff\xfe", b"d", b"e-", b"e"]
BINARY_LOOK = 8000
PATIENCE = 60


class Maker:
    "makes and changes files below a directory; what it does depends on its random numbers alone"

    def __init__(self, rng):
        self.rng = rng
        self.serial = 0

    def any_path(self, top):
        "of something that is there, more often than not"
        there = sorted(os.path.join(folder, name) for folder, folders, files in os.walk(top)
                       for name in folders + files)
        if there and self.rng.randrange(3):
            return self.rng.choice(there)
        return b"/".join([top] + [self.rng.choice(NAMES) for _ in range(self.rng.randint(1, 3))])

    def line(self):
        self.serial += 1
        return b"line %d\n" % self.serial

    def step(self, top):
        "one random change, or none, where it is not possible"
        action = self.rng.choice([self.write, self.write, self.edit, self.edit, self.edit, self.mkdir,
                                  self.mkdir, self.link, self.mode, self.rename, self.remove,
                                  self.fifo, self.touch])
        try:
            action(self.any_path(top), self.any_path(top))
        except OSError:
            pass

    def write(self, path, _):
        data = b"".join(self.line() for _ in range(self.rng.choice([0, 1, 8, 20])))
        if self.rng.randrange(8) == 0:
            data = b"\0" + data
        self.put(path, data)

    @staticmethod
    def put(path, data):
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
                          | os.O_NONBLOCK), "wb") as file:
            file.write(data)

    def edit(self, path, _):
        "here and there lines go, come or change; both sides often do the same"
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return
        with open(path, "rb") as file:
            lines = file.read().splitlines(True)
        for _ in range(self.rng.randint(1, 2)):
            at, what = self.rng.randrange(len(lines) + 1), self.rng.randrange(4)
            new = [b"new %d after %s" % (self.rng.randrange(2), lines[at - 1] if at else b"\n")]
            lines[at:at + (what != 0)] = [] if what == 1 else new
        if len(set(lines)) == len(lines):
            self.put(path, b"".join(lines))

    @staticmethod
    def mkdir(path, _):
        os.mkdir(path)

    @staticmethod
    def link(path, other):
        os.symlink(os.path.basename(other), path)

    def mode(self, path, _):
        if not os.path.islink(path):
            os.chmod(path, self.rng.choice([0o644, 0o755, 0o600]))
        os.lchown(path, self.rng.choice([0, 5]), self.rng.choice([0, 6]))

    @staticmethod
    def rename(path, other):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.copytree(path, other, symlinks=True)  # as mv does when told EXDEV
            shutil.rmtree(path)
        else:
            os.rename(path, other)

    @staticmethod
    def remove(path, _):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)

    @staticmethod
    def fifo(path, _):
        os.mkfifo(path)

    @staticmethod
    def touch(path, _):
        os.utime(path, follow_symlinks=False)


def order(path):
    "by which paths are listed: a directory, and what is in it, before its next sibling"
    return path.split(b"/")


def copy(top, to):
    "put all of @top into a plain directory"
    subprocess.run(["cp", "-a", top + b"/.", to], check=True, timeout=PATIENCE)


def unescape(name):
    "names as rsync prints them"
    return re.sub(rb"\\#(\d{3})", lambda m: bytes([int(m[1], 8)]), name)


def rsync_lines(here, there):
    "what is different in @there, as lines of diff/: by what rsync would do to make @here the same"
    done = subprocess.run(["rsync", "-n", "-rlpgoDc", "--delete", "--out-format=%i %n", there + b"/",
                           here + b"/"], stdout=subprocess.PIPE, check=True, timeout=PATIENCE,
                          env=dict(os.environ, LC_ALL="C"))
    lines = []
    for line in done.stdout.splitlines():
        flags, name = line[:11], unescape(line[12:]).rstrip(b"/")
        if name == b".":
            continue
        if flags.startswith(b"*deleting"):
            lines.append((b"D", name))
        elif flags.endswith(b"+++++++++"):
            # What takes the place of something of another type is new to rsync.
            lines.append((b"M" if os.path.lexists(here + b"/" + name) else b"A", name))
        elif re.match(rb"..(c|.s|...[pog]|....[og]|.....g)", flags):
            lines.append((b"M", name))
    return sorted(lines, key=lambda line: order(line[1]))


class Entry:
    "a file, as far as a merge is concerned"

    def __init__(self, path):
        st = os.lstat(path)
        self.mode, self.uid, self.gid, self.mtime = st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns
        self.type = stat.S_IFMT(st.st_mode)
        self.content = b""
        if self.type == stat.S_IFLNK:
            self.content = os.readlink(path)
        elif self.type == stat.S_IFREG:
            with open(path, "rb") as file:
                self.content = file.read()

    def attributes(self):
        return self.mode, self.uid, self.gid

    def same(self, other):
        return other and self.attributes() == other.attributes() and self.content == other.content


def same(one, other):
    return one.same(other) if one else not other


def scan(top):
    found = {}
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(folder, name)
            found[os.path.relpath(path, top)] = Entry(path)
    return found


def diff3(ours, base, theirs):
    "Return: the merged text, or None when lines of both are in each other's way."
    if any(b"\0" in text[:BINARY_LOOK] for text in (ours, base, theirs)):
        return None
    with tempfile.TemporaryDirectory() as top:
        names = []
        for name, text in zip(("ours", "base", "theirs"), (ours, base, theirs)):
            names.append(os.path.join(top, name))
            with open(names[-1], "wb") as file:
                file.write(text)
        done = subprocess.run(["diff3", "-m", "-E"] + names, stdout=subprocess.PIPE, timeout=PATIENCE,
                              check=False)
    assert done.returncode in (0, 1), done.returncode
    return done.stdout if done.returncode == 0 else None


def pick(base, ours, theirs):
    "Return: the value that one side, or both alike, made of it; None when both changed it."
    if ours == base:
        return theirs
    return ours if theirs in (base, ours) else None


def merge_alike(base, ours, theirs):
    "both are of one type, and so is the base, or there is none. Return: the entry, or None"
    content = pick(base.content, ours.content, theirs.content) if base else None
    if not base and ours.content == theirs.content:
        content = ours.content
    if content is None and ours.type == stat.S_IFREG:
        content = diff3(ours.content, base.content if base else b"", theirs.content)
    if base:
        attributes = list(map(pick, base.attributes(), ours.attributes(), theirs.attributes()))
    else:
        attributes = ours.attributes() if ours.attributes() == theirs.attributes() else [None]
    if content is None or None in attributes:
        return None
    merged = object.__new__(Entry)
    merged.mode, merged.uid, merged.gid = attributes
    merged.type, merged.content = ours.type, content
    taken = base and ours.content == base.content != theirs.content
    merged.mtime = theirs.mtime if taken else None  # what is merged is new
    return merged


class Merge:
    "three trees, each as scan() has it; what becomes of ours, and what conflicts"

    def __init__(self, base, ours, theirs):
        self.theirs = theirs
        self.ours = ours
        self.result = dict(ours)
        self.conflicts = set()
        self.taken = set()  # what theirs have changed
        for path in sorted(set(base) | set(ours) | set(theirs), key=order):
            self.decide(path, base.get(path), ours.get(path), theirs.get(path))
        for path in sorted(self.taken, key=order):
            self.need_directories(path)
        for path in sorted(self.taken | set(self.result), key=order, reverse=True):
            self.check_directory(path)

    def set(self, path, entry):
        self.result.pop(path, None)
        if entry:
            self.result[path] = entry

    def decide(self, path, base, ours, theirs):
        if same(theirs, base) or same(ours, theirs):
            return
        if ours and theirs and ours.type == theirs.type and (not base or base.type == ours.type):
            merged = merge_alike(base, ours, theirs)
            if merged:
                if not same(merged, ours):
                    self.taken.add(path)
                self.set(path, merged)
                return
        elif same(ours, base):
            self.set(path, theirs)
            self.taken.add(path)
            return
        self.conflicts.add(path)

    def is_directory(self, path):
        return path in self.result and self.result[path].type == stat.S_IFDIR

    def need_directories(self, path):
        "what comes needs the directories that it is in, which we may have removed"
        if path in self.conflicts or path not in self.result:
            return
        parts = path.split(b"/")
        for count in range(1, len(parts)):
            parent = b"/".join(parts[:count])
            if self.is_directory(parent):
                continue
            if parent in self.result or parent not in self.theirs or \
                    self.theirs[parent].type != stat.S_IFDIR:
                self.conflicts.add(path)
                self.set(path, self.ours.get(path))
                return
            if parent not in self.conflicts:
                self.set(parent, self.theirs[parent])
                self.taken.add(parent)

    def check_directory(self, path):
        "one that goes stays as long as something does in it, if nothing takes its place"
        ours = self.ours.get(path)
        if not ours or ours.type != stat.S_IFDIR or self.is_directory(path):
            return
        if not any(inside.startswith(path + b"/") for inside in self.result):
            return
        if path in self.result:
            self.conflicts.add(path)
        self.set(path, ours)


def build(tree, top):
    "make the files of @tree below @top, which is empty"
    for path in sorted(tree, key=order):
        entry, full = tree[path], os.path.join(top, path)
        if entry.type == stat.S_IFDIR:
            os.mkdir(full)
        elif entry.type == stat.S_IFLNK:
            os.symlink(entry.content, full)
        elif entry.type == stat.S_IFIFO:
            os.mkfifo(full)
        else:
            Maker.put(full, entry.content)
        os.lchown(full, entry.uid, entry.gid)
        if entry.type != stat.S_IFLNK:
            os.chmod(full, stat.S_IMODE(entry.mode))


def unquote(name):
    "a name as pffs prints it"
    if not name.startswith(b'"'):
        return name
    escapes = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
    return re.sub(rb"\\(\d{3}|.)", lambda m: bytes([int(m[1], 8)]) if len(m[1]) == 3
                  else escapes.get(m[1], m[1]), name[1:-1])


def told_lines(text):
    "lines of changes, diff/ or a report: letter and path; of a conflict without its reason"
    lines = []
    for line in text.splitlines():
        letter, _, name = line.partition(b" ")
        if letter == b"C":
            name = name.rpartition(b": ")[0]
        if letter in (b"A", b"D", b"M", b"C"):
            lines.append((letter, unquote(name)))
    return lines
