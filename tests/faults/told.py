"""What a user of a sandbox was told, and a user who works in one until pffs dies: the model
of restarted.t. What was acknowledged has to be there afterwards. What was under way may be
there, as a whole, or not at all; then the model takes over what it finds.
"""
import errno
import os
import random

from world import read

GONE = (errno.ENOTCONN, errno.ECONNABORTED)  # what the users of a dead mount get
LINES = 40  # of a run that takes its time
WIDE = 20000  # bytes of a line: together more than may be under way
CHECKED = 10  # of the newest runs that have ended
FORKS = 3
FILES = ("exec_timeout", "idle_timeout", "max_lifetime")


class Run:
    """Code that was given to a sandbox."""

    def __init__(self, mark, width):
        self.code = f"log.append({mark})\nprint({mark})\n"
        self.wanted = f"{mark}\n"
        self.mark = mark
        if width is not None:
            self.code += f"slowly({LINES}, {width})\n"
            self.wanted += "".join(f"line {i}".ljust(width - 1) + "\n" for i in range(LINES))
        self.number = None
        self.seen = ""  # of its output, by somebody
        self.queued = False  # somebody saw that it was
        self.ended = False  # somebody read its exit code

    def is_acknowledged(self):
        return self.queued or self.ended or self.seen != ""


class Box:
    """A sandbox, who works in it, and what that was told."""

    def __init__(self, world, number, seed):
        self.world, self.number = world, number
        self.chance = random.Random(seed)
        self.names = 0
        self.marks = 0
        self.wrong = None
        self.begin()

    def begin(self):
        """A name that was never used, of a sandbox that is not there."""
        self.names += 1
        self.name = f"box{self.number}.{self.names}"
        self.exists = False
        self.id = None
        self.log = []  # what its guest knows
        self.runs = []  # in order, but for those of check_log()
        self.newest = 0  # number of its newest run
        self.forks = {}  # name: what it knows
        self.config = {}
        self.unsure = None  # what is being asked for: (kind, ...)

    def path(self, *names):
        return self.world.at(self.name, *names)

    def make(self):
        self.unsure = ("make",)
        os.mkdir(self.path())
        self.made()

    def made(self):
        self.exists, self.unsure = True, None
        self.learn()

    def learn(self):
        self.id = self.status()["id"]
        self.give(Run(0, None), "log = []\n")

    def status(self, *fork):
        return dict(line.split(" ", 1) for line in read(self.path(*fork, "status")).splitlines())

    def give(self, run, before=""):
        """Have it run, as far as that it is in the queue."""
        run.code = before + run.code
        self.unsure = ("run", run)
        with open(self.path("exec"), "w", encoding="utf-8") as file:
            file.write(run.code)
        run.number = int(os.path.basename(os.readlink(self.path("last"))))
        while "writing" in read(self.path("runs", str(run.number), "status")):
            pass
        self.queued(run)

    def queued(self, run):
        run.queued = True
        self.newest = run.number
        self.log.append(run.mark)
        self.runs.append(run)
        self.unsure = None

    def new_run(self):
        self.marks += 1
        slow = self.chance.random() < 0.4
        return Run(self.marks, self.chance.choice((0, 8, WIDE)) if slow else None)

    def follow(self, run):
        """Read what it says, as it says it."""
        path = self.path("runs", str(run.number))
        with open(os.path.join(path, "stdout"), "rb", buffering=0) as file:
            while piece := file.read(1 << 16):
                run.seen += piece.decode()
                assert run.wanted.startswith(run.seen), f"{self.name}: {run.seen[-200:]!r} of {run.code!r}"
        assert read(path, "exit") == "0\n" and run.seen == run.wanted, f"{self.name}: {run.code!r} said too little"
        run.ended = True

    def run_one(self):
        run = self.new_run()
        self.give(run)
        self.follow(run)

    def run_several(self):
        for _ in range(3):
            self.give(self.new_run())

    def fork(self):
        """Return: the new one's name."""
        if len(self.forks) == FORKS:
            self.remove_fork(next(iter(self.forks)))
        self.marks += 1
        name = f"f{self.marks}"
        self.unsure = ("fork", name)
        os.mkdir(self.path("forks", name))
        self.forks[name] = list(self.log)
        self.unsure = None
        return name

    def remove_fork(self, name):
        self.unsure = ("unfork", name)
        os.rmdir(self.path("forks", name))
        del self.forks[name]
        self.unsure = None

    def merge(self):
        """Become what a fork has become, when nothing goes on."""
        read(self.path("exit"))
        name = self.fork()
        self.marks += 1
        self.unsure = ("teach", name)
        with open(self.path("forks", name, "exec"), "w", encoding="utf-8") as file:
            file.write(f"log.append({self.marks})")
        assert read(self.path("forks", name, "exit")) == "0\n"
        self.forks[name].append(self.marks)
        self.unsure = ("merge", name)
        with open(self.path("merge"), "w", encoding="utf-8") as file:
            file.write(name)
        self.merged(name)

    def merged(self, name):
        self.log, self.unsure = self.forks.pop(name), None

    def configure(self):
        file, value = self.chance.choice(FILES), str(self.chance.randrange(1000, 9999))
        self.unsure = ("config", file, value)
        with open(self.path("config", file), "w", encoding="utf-8") as opened:
            opened.write(value)
        self.config[file] = value
        self.unsure = None

    def rename(self):
        self.names += 1
        name = f"box{self.number}.{self.names}"
        self.unsure = ("rename", name)
        os.rename(self.path(), self.world.at(name))
        self.name, self.unsure = name, None

    def replace(self):
        self.remove()
        self.begin()
        self.make()

    def remove(self):
        for name in list(self.forks):
            self.remove_fork(name)
        self.unsure = ("remove",)
        os.rmdir(self.path())
        self.exists, self.unsure = False, None

    def work(self):
        """Until there is no pffs any more."""
        steps = {self.run_one: 30, self.run_several: 10, self.fork: 8, self.configure: 8, self.merge: 6,
                 self.rename: 4, self.replace: 2}
        try:
            while True:
                self.chance.choices(list(steps), steps.values())[0]()
        except OSError as error:
            if error.errno not in GONE:
                self.wrong = error
        except (AssertionError, ValueError) as error:
            self.wrong = error

    def settle(self, listed):
        """What became of what was under way? @listed: what sandboxes there are."""
        kind, *what = self.unsure or (None,)
        self.unsure = None
        if kind == "rename":
            assert (self.name in listed) != (what[0] in listed), f"{self.name} or {what[0]}: {listed}"
            self.name = what[0] if what[0] in listed else self.name
        elif kind == "make":
            self.exists = self.name in listed
        elif kind == "remove" and self.name in listed:
            os.rmdir(self.path())
            listed.remove(self.name)
            self.exists = False
        elif kind == "remove":
            self.exists = False
        elif kind == "merge" and what[0] not in os.listdir(self.path("forks")):
            self.merged(what[0])
        elif kind in ("fork", "unfork", "teach") and what[0] in os.listdir(self.path("forks")):
            os.rmdir(self.path("forks", what[0]))
            self.forks.pop(what[0], None)
        elif kind == "unfork":
            del self.forks[what[0]]
        elif kind == "config" and read(self.path("config", what[0])) == what[1] + "\n":
            self.config[what[0]] = what[1]
        elif kind == "run":
            self.settle_run(what[0])
        if not self.exists:
            self.begin()
            self.make()
            listed.add(self.name)
        elif not self.runs:
            self.learn()

    def settle_run(self, run):
        """It has begun as a whole, or not at all."""
        known = [int(name) for name in os.listdir(self.path("runs"))]
        newest = max(known, default=0)
        if newest > self.newest:
            run.number = newest
            self.queued(run)

    def check(self):
        """All that was acknowledged is there, and goes on."""
        assert self.status()["id"] == self.id, "another sandbox has its name"
        for file, value in self.config.items():
            assert read(self.path("config", file)) == value + "\n", f"{self.name}: {file} is not {value}"
        forks = set(os.listdir(self.path("forks"))) - {".n"}
        assert forks == set(self.forks), f"{self.name}: forks {forks}, not {set(self.forks)}"
        for run in [run for run in self.runs if not run.ended] + self.runs[-CHECKED:]:
            self.check_run(run)
        self.check_log((), self.log)
        for name, log in self.forks.items():
            self.check_log(("forks", name), log)

    def check_run(self, run):
        path = self.path("runs", str(run.number))
        got = read(path, "code"), read(path, "stdout"), read(path, "output"), read(path, "exit")
        for part, value, wanted in zip(("code", "stdout", "output", "exit"), got,
                                       (run.code, run.wanted, run.wanted, "0\n")):
            assert value == wanted, (f"{self.name}: {part} of run {run.number} is {len(value)} bytes "
                                     f"{value[:100]!r}..., not {len(wanted)} {wanted[:100]!r}")
        run.ended = True

    def check_log(self, fork, wanted):
        """Each run happened once, in its turn."""
        with open(self.path(*fork, "exec"), "w", encoding="utf-8") as file:
            file.write("print(*log)")
        got = read(self.path(*fork, "stdout"))
        self.newest = self.newest if fork else int(os.path.basename(os.readlink(self.path("last"))))
        assert got == " ".join(map(str, wanted)) + "\n", f"{self.name} {fork}: {got!r}, not {wanted}"
