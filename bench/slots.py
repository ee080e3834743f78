#!/usr/bin/env python3
"""What it costs to give a fork its slot of the network: `vmctl net` without VMs.

Run it as root, by `make bench` or alone. docs/benchmarks.md says what each row means.
"""
import argparse
import os
import statistics
import sys
import time

sys.dont_write_bytecode = True
TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests/unit"))
import net_kit  # noqa: E402
from mount import machine_lines  # noqa: E402

SKIP = 77
PARENT = 1  # the VMs whose policies the forks have
OTHER = 2
FIRST_FORK = 1000
SETTLE_S = 1  # until the slots that are kept are there


def row(name, times):
    """TIMES in seconds. p99 of fewer than 100 is their maximum."""
    times = sorted(times)
    p99 = times[-1 - len(times) // 100] if len(times) >= 100 else times[-1]
    print("%-46s %5d %9.3f %9.3f" % (name, len(times), statistics.median(times) * 1000,
                                     p99 * 1000), flush=True)


class Forks:
    """They come with a policy, take a slot, and go."""

    def __init__(self, net):
        self.net = net
        self.last = FIRST_FORK

    def inherit(self, parent):
        self.last += 1
        self.net.send(op="inherit", vm=self.last, parent=parent)
        return self.last

    def gone(self, vm):
        self.net.send(op="gone", vm=vm)

    def one(self, parent):
        """The time from its `take` to its tap."""
        vm = self.inherit(parent)
        return self.take(vm)

    def stranger(self):
        """The same of one with a policy that nobody had before."""
        self.last += 1
        self.net.send(op="policy", vm=self.last, seq=0, policy={
            "egress": "allow", "allow": ["a%d.example.com" % self.last], "secrets": []})
        return self.take(self.last)

    def take(self, vm):
        start = time.monotonic()
        self.net.send(op="take", vm=vm)
        fds = []
        while not fds:
            _, fds = self.net.receive()
        took = time.monotonic() - start
        os.close(fds[0])
        self.gone(vm)
        return took

    def burst(self, count):
        """The times from their `take`s, all sent at once, to each one's tap."""
        times, vms = [], [self.inherit(PARENT) for _ in range(count)]
        start = time.monotonic()
        for vm in vms:
            self.net.send(op="take", vm=vm)
        for _ in vms:
            _, fds = self.net.receive(60)
            times.append(time.monotonic() - start)
            os.close(fds[0])
        for vm in vms:
            self.gone(vm)
        return times


def start():
    net = net_kit.Net("--uplink", "kernel")
    net.policy(PARENT, "on")
    net.policy(OTHER, "allow", ["example.com:443"])
    time.sleep(SETTLE_S)
    return net


def measure_alone(options):
    net = start()
    forks = Forks(net)

    def each(function):
        times = []
        for number in range(options.rounds):
            time.sleep(options.pause / 1000)
            times.append(function(number))
        return times

    row("a fork, of the sandbox of the one before", each(lambda _: forks.one(PARENT)))
    row("forks of two sandboxes in turn",
        each(lambda number: forks.one((PARENT, OTHER)[number % 2])))
    row("one with a policy that nobody had before", each(lambda _: forks.stranger()))
    net.close()


def measure_bursts(options):
    firsts, agains = [], []
    for _ in range(options.bursts):
        net = start()
        forks = Forks(net)
        firsts.append(forks.burst(options.many))
        time.sleep(SETTLE_S + options.many / 20)  # some ms for each that is made
        agains.append(forks.burst(options.many))
        net.close()
    for name, bursts in ("for the first time", firsts), ("a second time", agains):
        row("%d at once %s: all" % (options.many, name), [times[-1] for times in bursts])
        row("%d at once %s: each" % (options.many, name), sum(bursts, []))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200, metavar="N")
    parser.add_argument("--pause", type=float, default=50, metavar="MS",
                        help="between one fork and the next")
    parser.add_argument("--many", type=int, default=100, metavar="N")
    parser.add_argument("--bursts", type=int, default=5, metavar="N")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("bench: slots are not measured: only root can", file=sys.stderr)
        return SKIP
    for line in machine_lines():
        print(line, flush=True)
    net_kit.begin()
    print("\n%-46s %5s %9s %9s" % ("a slot, from `take` to its tap", "n", "p50, ms", "p99"))
    measure_alone(options)
    measure_bursts(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
