#!/bin/bash
# A machine with two busy processors is forked, both of them. It is in a mount of its own.
[ "${PFFS_TEST_OPTIONS:-}" = "--vcpus 2" ] ||
	PFFS_TEST_OPTIONS="--vcpus 2" exec "$(dirname "$0")/setup" bash "$0" "$@"
. "$(dirname "$0")/lib.sh"
sandboxes+=(demo/forks/a demo/forks/b)
sandbox demo
machines=(demo)
in_all <<< 'import os; print(os.sched_getaffinity(0))'
is "$(command cat "$scratch/said")" "demo {0, 1}" "two processors"

python demo <<'CODE'
import mmap, struct, subprocess, sys, time

# One process on each processor counts and sums without a pause; a third reads the clock
# on one and then the other.
open("/dev/shm/counts", "wb").write(bytes(24))
file = open("/dev/shm/counts", "r+b")
room = mmap.mmap(file.fileno(), 24)
def background(code, *args):
    code = """
import mmap, os, struct, sys, time
file = open("/dev/shm/counts", "r+b")
room = mmap.mmap(file.fileno(), 24)
def tell(place, value):
    struct.pack_into("q", room, 8 * place, value)
""" + code
    return subprocess.Popen([sys.executable, "-c", code, *args])
def counts():
    return struct.unpack("3q", room[:])
count = """
place = int(sys.argv[1])
os.sched_setaffinity(0, [place])
rounds = 0
while True:
    total = 0.0
    for i in range(1000):
        total += i * 0.5
    rounds = rounds + 1 if total == 249750.0 else -1 << 40
    tell(place, rounds)
"""
clock = """
last = back = 0
while True:
    for place in 0, 1:
        os.sched_setaffinity(0, [place])
        now = time.monotonic_ns()
        back += now < last
        last = now
    tell(2, back)
"""
busy = [background(count, "0"), background(count, "1"), background(clock)]
CODE
is "$?" 0 "both busy"
counting() {
	[ "$(ask demo <<< 'print(min(counts()[:2]) > 50)')" = True ]
}
ok "and counting" wait_for "$wait_limit" counting
ok "the machine is forked" within "$wait_limit" mkdir demo/forks/a || done_testing
ok "and again" within "$wait_limit" mkdir demo/forks/b || done_testing

machines=(demo demo/forks/a demo/forks/b)
in_all <<'CODE'
begin = counts()
while not all(now > then + 20 for now, then in zip(counts()[:2], begin)):
    time.sleep(0.1)
print(begin[0] > 50 and begin[1] > 50, [process.poll() for process in busy], counts()[2])
for process in busy:
    process.kill()
CODE
is "$(command cat "$scratch/said")" "$(printf '%s True [None, None, None] 0\n' "${machines[@]}")" \
	"everywhere both go on from where they were, and no clock goes back between them"
ok "a fork is moved away" mv demo/forks/a a
sandboxes=(a "${sandboxes[@]}")
is "$(ask a <<< 'import os; print(os.sched_getaffinity(0))')" "{0, 1}" "and has two processors"
echo 1 > a/config/vcpus
is "$(ask a <<< 'import os; print(os.sched_getaffinity(0))')" "{0}" "of which it may be given one"
is "$(echo nproc > a/bash; cat a/stdout)" 1 "as programs see"
echo 0 > a/config/vcpus
is "$(ask a <<< 'import os; print(os.sched_getaffinity(0))')" "{0, 1}" "and then two again"
done_testing
