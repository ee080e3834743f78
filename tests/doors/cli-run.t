#!/bin/bash
# pffs run where nothing runs: it starts what it needs, and leaves that for the next time;
# two at the same time start it once; pffs stop ends it.
. "$(dirname "$0")/../mount/lib.sh"
cd "$scratch" || exit
PATH=$build/pffs:$PATH
unset PFFS_API PFFS_TEST_API
export PATH PFFS_RUNTIME_DIR=$scratch/runtime PFFS_STATE=$scratch/state TMPDIR=$scratch
mkdir runtime
start_limit=300 # seconds, with the start of what emulates KVM, and two boots

also_clean_up() {
	within 60 pffs stop 2> /dev/null
}

printf '%s\n' 'import sys' 'print(sum(map(int, sys.stdin)))' 'sys.exit(3)' > script.py
seq 4 | within "$start_limit" pffs run script.py > out 2> err &
first=$!
echo 'print("second")' > second.py
within "$start_limit" pffs run second.py < /dev/null > out2 2> err2
is "$?:$(command cat out2)" "0:second" "two at a time: one runs"
wait "$first"
is "$?:$(command cat out)" "3:10" "and the other, with its input, output and exit code"
is "$(cat err err2 | grep -c 'stays in the background')" 1 "one of them has started pffs, and said so"
mapfile -t sockets < <(ls runtime/[0-9]*.sock)
is "${#sockets[@]}" 1 "there is one"
pid=$(basename "${sockets[0]}" .sock)
is "$(stat -c %a "${sockets[0]}")" 600 "at a socket for this user alone"
not_ok "and nowhere else" grep -q . <(ss -ltnpH 2> /dev/null | grep "pid=$pid,")
is "$(within "$wait_limit" pffs ls -q)" "" "no sandbox is left"
is "$(seq 2 | within "$wait_limit" pffs run script.py 2> err)" 3 "the next one uses it"
is "$(command cat err)" "" "and says nothing"
is "$(within "$wait_limit" pffs run --keep second.py 2> err < /dev/null)" second "what is kept"
like "$(within "$wait_limit" pffs ls -q)" "^run-" "is kept"
like "$(within "$wait_limit" pffs sh "$(pffs ls -q)" -- sh -c 'echo $((6*7))' < /dev/null)" 42 "pffs sh, without a mount"
PYTHONPATH=$top/tests/mount PYTHONDONTWRITEBYTECODE=1 PFFS_BUILD=$build ok "which is a real terminal: keys, sizes, ^C, leaving and coming back, its exit code" \
	within "$wait_limit" python3 - "$(pffs ls -q)" <<'CODE'
import sys
from pty_kit import *
s = Shell(sys.argv[1], rows=31, cols=101)
s.wait(rb"\^\] d leaves.*# $")
assert s.is_raw()
s.run("stty size", rb"31 101\r\n")
s.resize(41, 111)
s.run("until [ \"$(stty size)\" = '41 111' ]; do sleep 0.1; done; echo resized-$((1+1))", rb"resized-2\r\n")
s.run("x=left; sh -c 'echo on-$((1+1)); exec sleep 1000'", rb"on-2\r\n")
s.type("\x03")
s.run("echo code-$?", rb"code-130\r\n")
s.leave()
assert b"left running" in s.seen
s = Shell(sys.argv[1])
s.wait(rb"code-130\r\n")
s.insist("echo $x-$((3+3))\r", rb"left-6")
s.type("exit 42\r")
same(s.code(), 42)
assert s.is_restored()
CODE
is "$(within 60 pffs stop; echo $?)" 0 "pffs stop ends it"
# Who is the parent of what went to the background need not reap it at once.
not_ok "with its process" grep -qs '^State:[[:space:]]*[^Z[:space:]]' "/proc/$pid/status"
is "$(within 60 pffs stop 2> err; echo $?)" 1 "once"
like "$(command cat err)" "no pffs runs" "as it says"

# Where it cannot start, that is said.
is "$(PFFS_IMAGES=$scratch/none within 60 pffs run second.py 2> err < /dev/null; echo $?)" 125 "without images it is 125"
like "$(command cat err)" "image" "and which are missing"
like "$(command cat err)" "pffs doctor" "and what to do"
done_testing
