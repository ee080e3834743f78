#!/usr/bin/python3
"""The vmctl that pffs starts by itself: when it ends there is another one, and two mounts
that begin at the same time share one.
"""
import ctypes
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from world import LIMIT, PFFS, SCRIPTED_VM, World, broker_kit, main, read, wait  # noqa: E402

PR_SET_CHILD_SUBREAPER = 36

# The machines of the vmctl that is started are scripted ones.
VMCTL = f'#!/bin/sh\nexec {broker_kit.VMCTL} "$@" --vm-program {SCRIPTED_VM}\n'

# Two are started before one of them listens. That one answers a while after the other, which
# has found its socket, has ended: it passes on what is said to a vmctl at another socket.
SLOW_VMCTL = f"""#!/usr/bin/python3
import os, signal, socket, subprocess, sys, threading, time
def until_there(name):
    for _ in range({LIMIT * 10}):
        if os.path.exists(name):
            return
        time.sleep(0.1)
def pump(from_, to):
    while data := from_.recv(65536):
        to.sendall(data)
def pass_on(one):
    other = socket.socket(socket.AF_UNIX)
    other.connect(own)
    for ends in (one, other), (other, one):
        threading.Thread(target=pump, args=ends, daemon=True).start()
me, path = sys.argv[0], sys.argv[3]
own = path + ".own"
vmctl = ["{broker_kit.VMCTL}", *sys.argv[1:], "--vm-program", "{SCRIPTED_VM}"]
try:
    os.mkdir(me + ".first")
except FileExistsError:
    os.mkdir(me + ".second")
    until_there(path)
    code = subprocess.run(vmctl).returncode
    os.mkdir(me + ".ended")
    sys.exit(code)
vmctl[3] = own
child = subprocess.Popen(vmctl)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(child.terminate() or child.wait()))
until_there(own)
until_there(me + ".second")
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(path + ".new")
    listener.listen()
    os.rename(path + ".new", path)
    until_there(me + ".ended")
    time.sleep(1)
    while True:
        pass_on(listener.accept()[0])
"""


class Alone(World):
    """A pffs that starts its vmctl, which is a script. With a script of its own a test starts
    them itself, by begin().
    """

    def start_vmctl(self, environment=None):
        self.program = os.path.join(self.work, "program")
        self.begun = []
        self.options.setdefault("arguments", ("--engine", "kvm"))
        with open(self.program, "w", encoding="utf-8") as file:
            file.write(self.options.get("program", VMCTL))
        os.chmod(self.program, 0o755)

    def start_pffs(self, environment=None):
        if "program" not in self.options:
            super().start_pffs({"PFFS_VMCTL": self.program})

    def begin(self, name):
        """Begin a mount, with a state directory of its own. Return: its path."""
        path, state = os.path.join(self.work, name), os.path.join(self.work, name + "-state")
        self.begun.append((subprocess.Popen(
            [PFFS, "mount", path, "--foreground", "--socket", self.socket, "--images", self.images,
             "--state", state, "--engine", "kvm"], stderr=self.log,
            env={**os.environ, "TMPDIR": self.work, "PFFS_VMCTL": self.program}), path))
        return path

    def end(self):
        begun = self.begun if self.begun else [(self.pffs, self.path)]
        for process, _ in begun:  # at once, or the last one would wait for another vmctl
            if process.poll() is None:
                process.terminate()
        wrong = [broker_kit.end(process) for process, _ in begun]
        for _, path in begun:
            subprocess.run(["umount", "-l", path], stderr=subprocess.DEVNULL, check=False)
        return " ".join(filter(None, wrong)) or None

    def has_ended(self):
        """Any of those that were begun."""
        return any(process.poll() is not None for process, _ in self.begun)

    def own_vmctl(self):
        """Its number, or 0 while that is being written."""
        return int(read(self.state, "vmctl.pid") or 0)


def state_of(pid):
    return read("/proc", str(pid), "stat").rsplit(")", 1)[1].split()[0]


def test_not_reaped(world):
    "the vmctl of a pffs that was killed ends, and nobody reaps it: there is another one"
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # so it is ours, as of a container's first process
    world.make("box")
    world.run("box", "n = 7")
    world.pffs.kill()
    world.pffs.wait()
    world.start_pffs()
    wait(lambda: world.status("box")["state"] == "ready")
    vmctl = world.own_vmctl()
    os.kill(vmctl, signal.SIGKILL)
    wait(lambda: state_of(vmctl) == "Z")
    try:
        wait(lambda: world.own_vmctl() not in (0, vmctl))
        assert world.run("box", "print(n)") == ("7\n", 0)
    finally:
        os.waitpid(vmctl, 0)


def test_two_at_once(world):
    "two mounts begin at once: the vmctl that comes second ends, and both have the first"
    paths = [world.begin("one"), world.begin("two")]
    for path in paths:
        wait(lambda host=os.path.join(path, "host"): os.path.exists(host) or world.has_ended())
        assert not world.has_ended(), world.said()[-600:]
        assert "engine kvm" in read(path, "host")


def test_cannot_start(world):
    "a vmctl that does not start is told at once"
    world.begin("one")
    wait(world.has_ended, seconds=20)
    assert "vmctl ended before it was ready" in world.said()


test_cannot_start.options = {"program": "#!/bin/false\n"}
test_two_at_once.options = {"program": SLOW_VMCTL}
main(globals(), Alone)
