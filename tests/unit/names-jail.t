#!/usr/bin/python3
"""The lists of system calls of the DNS proxy, of what reads for it, and of the proxy for
secrets: none allows what is not used. Tests of them are run, and their calls looked at.
"""
import os
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import calls_kit  # noqa: E402
from names_kit import PROGRAM, skip  # noqa: E402

PATIENCE = 60
RUN = (("dns.t", "test_allow_waits", "test_large", "test_tcp", "test_resolv_conf", "test_bad_messages"),
       ("proxy.t", "test_secret", "test_body", "test_change", "test_unknown_name", "test_no_ca"))
# What other machines or libraries need, or what nobody can have them do here.
ELSEWHERE = {
    "clock_gettime": "where the vDSO cannot read the clock, as in the emulated host",
    "gettimeofday": "likewise",
    "time": "a kernel without a vDSO",
    "mmap(2==PROT_NONE)": "where the heap cannot grow: the C library makes another one",
    "mprotect(2==PROT_READ|PROT_WRITE)": "likewise",
    "madvise": "a C library that is told to use huge pages",
    "mremap": "a large block of memory that grows",
    "resolv munmap": "a large block of memory that is let go of",
    "resolv mmap(2==PROT_READ|PROT_WRITE)": "a large block of memory",
    "resolv brk": "a heap that grows",
    "writev": "the C library that says why it ends",
    "futex": "what a library sets up once, at first use",
    "proxy getrandom": "GnuTLS, when it has given out much",
    "socket(0==AF_INET6)": "a resolver, or a domain, that has an address of IPv6 alone",
    "eventfd2": "a libmicrohttpd that wakes itself",
    "proxy read": "likewise",
    "restart_syscall": "poll(2) of who is stopped meanwhile, and continued: unit/jail-calls.t.c",
    "getpid": "a GnuTLS that looks whether it was forked",
    "access=ENOENT": "libraries that look for a file by it",
    "newfstatat=ENOENT": "likewise",
}
with open(PROGRAM, "rb") as program:
    if b"__asan_init" in program.read():
        ELSEWHERE |= dict.fromkeys(("brk", "munmap"), "the C library's heap, which a sanitizer replaces")


def unused():
    """Run the tests, and look."""
    with tempfile.TemporaryDirectory() as folder:
        traced = calls_kit.wrap(folder, os.path.abspath(PROGRAM))
        environment = {**os.environ, "VMCTL_NAMES": traced, "ASAN_OPTIONS": "detect_leaks=0"}
        for test in RUN:
            subprocess.run([os.path.join(HERE, test[0]), *test[1:]], env=environment, check=True,
                           stdout=subprocess.DEVNULL, timeout=PATIENCE * 3)
        deadline = time.monotonic() + PATIENCE
        while calls_kit.is_traced(traced):
            assert time.monotonic() < deadline, "a program has not ended"
            time.sleep(0.1)
        return calls_kit.unused(traced, ("vmctl/dns", "vmctl/names", "vmctl/proxy"),
                                ("resolv", "dns", "proxy"))


if subprocess.run(["unshare", "--user", "--map-root-user", "--net", "true"],
                  capture_output=True, check=False).returncode:
    sys.exit(skip("there are no namespaces here"))
left = unused()
wrong = [each for each in left if each[1] not in ELSEWHERE and " ".join(each) not in ELSEWHERE]
print("1..1")
print("not ok" if wrong else "ok", "1 - each call that a list allows is made")
for each in wrong:
    print("#", *each)
sys.exit(1 if wrong else 0)
