"""What the tests of frozen machines share: a broker with a state directory, whose VMs
are real, on this machine's KVM, with a guest of a page of code.
"""
import os
import subprocess
import time

from broker_kit import VMCTL, Server, main
from tiny_kernel import GREETING, make_images

MEMORY_MIB = 128
EBADMSG, EBUSY, EEXIST, EFBIG, EINVAL, EIO, ENOENT, ENOSPC, ENOTSUP, ESTALE = (
    74, 16, 17, 27, 22, 5, 2, 28, 95, 116)


class FreezeServer(Server):
    """A broker whose VMs are real, with a state directory."""

    def start(self, directory, images):
        make_images(images, MEMORY_MIB)
        self.images = images
        self.state = os.path.join(directory, "state")
        return self.run()

    def run(self):
        return subprocess.Popen([VMCTL, "serve", "--engine", "kvm", "--socket", self.path,
                                 "--images", self.images, "--state", self.state])

    def again(self, ending=None):
        """Another broker in the place of one that has ended, or is ending. Return: a client of it."""
        self.process = self.run()
        assert not ending or ending.wait(20) == 0
        deadline = time.monotonic() + 20
        while True:
            try:
                return self.client()
            except (ConnectionRefusedError, FileNotFoundError):
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def file(self, name):
        return os.path.join(self.state, name + ".vm")

    def files(self):
        return sorted(set(os.listdir(self.state)) - {"lock"})


def wait(what, *args):
    deadline = time.monotonic() + 20
    while not what(*args):
        assert time.monotonic() < deadline, (what, args)
        time.sleep(0.02)


def boot(client, name="parent", vcpus=1):
    made = client.create(name, memory_mib=MEMORY_MIB, vcpus=vcpus)
    assert "error" not in made, made
    wait(lambda: GREETING in client.request("log", vm=made["vm"])["log"])
    return made


def done(reply):
    assert "error" not in reply, reply
    return reply


def freeze(client, vm, image, **more):
    return client.request("freeze", vm=vm["vm"], image=image, **more)


def thaw(client, image, name="back"):
    return client.request("thaw", image=image, name=name)


def runs(client, vm):
    """It answers, and what its guest had said is there."""
    assert GREETING in done(client.request("log", vm=vm["vm"]))["log"]
    assert len(done(client.request("fork", vm=vm["vm"], names=["child"]))["vms"]) == 1
    with open(f"/proc/{vm['pid']}/task/{vm['pid']}/status") as f:
        return "State:" in f.read()


def run(tests):
    """Run them, each with a broker of its own, where there is a KVM."""
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        main(tests, FreezeServer)
    else:
        print("1..0 # SKIP no /dev/kvm")
