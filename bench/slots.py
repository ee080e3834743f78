#!/usr/bin/env python3
"""What it costs to give a fork its slot of the network: `vmctl net` without VMs.

Run it as root, by `make bench` or alone. docs/benchmarks.md says what each row means.
"""
import argparse
import os
import platform
import statistics
import sys
import time

sys.dont_write_bytecode = True
TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests/unit"))
import net_kit  # noqa: E402

SKIP = 77
PARENT = 1  # the VMs whose policies the forks have
OTHER = 2
FIRST_FORK = 1000


def row(name, times):
    """TIMES in seconds. p99 of fewer than 100 is their maximum."""
    times = sorted(times)
    p99 = times[-1 - len(times) // 100] if len(times) >= 100 else times[-1]
    print("%-52s %5d %10.3f %10.3f ms" % (name, len(times), statistics.median(times) * 1000,
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

    def one(self, parent, ahead):
        """The time from its `take` to its tap. @ahead: it is forked so long before."""
        vm = self.inherit(parent)
        time.sleep(ahead)
        start = time.monotonic()
        os.close(self.net.take(vm))
        took = time.monotonic() - start
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


def measure(options):
    net = net_kit.Net("--uplink", "kernel")
    forks = Forks(net)
    net.policy(PARENT, "on")
    net.policy(OTHER, "allow", ["example.com:443"])
    pause = options.pause / 1000

    def alone(parents, ahead=0.0):
        times = []
        for number in range(options.rounds):
            time.sleep(pause)
            times.append(forks.one(parents[number % len(parents)], ahead))
        return times

    alone([PARENT])  # what is measured is not the first
    print("%-52s %5s %10s %10s" % ("a slot, from `take` to its tap", "n", "p50", "p99"))
    row("a fork of the same sandbox as the one before", alone([PARENT]))
    row("forks of two sandboxes, with other policies, in turn", alone([PARENT, OTHER]))
    times = []
    for number in range(options.rounds):
        time.sleep(pause)
        net.policy(OTHER, "allow", ["a%d.example.com:443" % number])
        times.append(forks.one(OTHER, 0.0))
    row("a policy that nobody had before", times)
    firsts, lasts = [], []
    for _ in range(options.bursts):
        time.sleep(2)
        times = forks.burst(options.many)
        firsts.append(statistics.median(times))
        lasts.append(times[-1])
    row("%d at once: the one in the middle" % options.many, firsts)
    row("%d at once: the last one" % options.many, lasts)
    net.close()


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
    print("kernel   %s\nload     %.1f" % (platform.release(), os.getloadavg()[0]))
    net_kit.begin()
    measure(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
