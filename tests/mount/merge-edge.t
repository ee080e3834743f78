#!/bin/bash
# A merge in the middle of things: runs that go on in both, runs that wait, readers,
# a signal, a winner that is dead.
. "$(dirname "$0")/lib.sh"
sandboxes+=(demo/forks/{a,b,c,dead,busy,x} demo)
within 30 mkdir demo
wait_for "$wait_limit" state_is demo ready
echo a b dead c > demo/forks/.n

# Both are busy, runs wait in both, and there are readers.
cat > "$scratch/count" <<'CODE'
import os, time
for i in range(60):
    print(i, flush=True)
    time.sleep(0.05)
    while i == 20 and not os.path.exists("/root/go"):
        time.sleep(0.05)
CODE
printed() { [ "$(stat -c %s "$1/stdout")" -gt 10 ]; }
command cat "$scratch/count" > demo/exec
command cat "$scratch/count" > demo/forks/a/exec
ok "a run goes on in the sandbox" wait_for "$wait_limit" printed demo
ok "and in its fork" wait_for "$wait_limit" printed demo/forks/a
exec {mine}<demo/stdout {its}<demo/forks/a/stdout {exit}<demo/forks/a/exit
cat <&"$its" > "$scratch/its" &
reader=$!
echo 'print("waited in demo")' > demo/exec
echo 'print("waited in a")' > demo/forks/a/exec
ok "they can be merged" within "$wait_limit" bash -c 'echo a > demo/merge'
: > demo/fs/root/go
is "$(cat demo/runs/1/exit)" 137 "the run in the sandbox was killed"
is "$(cat <&"$mine" | head -n 3)" "$(seq 0 2)" "its readers get what it had put out, and the end"
ok "who reads the fork's output" wait "$reader"
is "$(command cat "$scratch/its")" "$(seq 0 59)" "gets all of it"
is "$(cat <&"$exit")" 0 "and its exit code"
is "$(cat demo/runs/3/stdout)" "$(seq 0 59)" "the run is one of the sandbox, with the next number"
is "$(cat demo/runs/2/stdout)" "waited in demo" "what waited in the sandbox had its turn"
is "$(cat demo/runs/4/stdout) $(readlink demo/last)" "waited in a runs/4" "and what waited in the fork"
exec {mine}<&- {its}<&- {exit}<&-

# Input for a run in the fork.
exec {input}>demo/forks/b/stdin
echo 'print("got", input())' > demo/forks/b/exec
started() { [ "$(value demo/forks/b/last/status state)" = running ]; }
ok "a run of a fork waits for input" wait_for "$wait_limit" started
ok "the fork is merged" within "$wait_limit" bash -c 'echo b > demo/merge'
echo line >&"$input"
exec {input}>&-
is "$(cat demo/stdout)" "got line" "the input reaches the run"

# Code that is written while the machines change.
exec {code}>demo/exec
echo 'print("begun before")' >&"$code"
ok "a fork is merged while code is written" within "$wait_limit" bash -c 'echo c > demo/merge'
echo 'print("completed after")' >&"$code"
exec {code}>&-
is "$(cat demo/stdout)" "begun before
completed after" "it runs on the machine that is there then"

vmctl kill "$(value demo/forks/dead/status vm)" 9 > "$scratch/killed"
ok "a fork dies" wait_for 30 state_is demo/forks/dead dead
vm=$(value demo/status vm)
fails_with EIO "it cannot win: EIO" write demo/merge dead
like "$(cat demo/error)" "dead" "error says why"
is "$(value demo/status vm)" "$vm" "and nothing changed"
ok "it is still there" [ -d demo/forks/dead ]

within "$wait_limit" mkdir demo/forks/x demo/forks/x/forks/dead
python demo/forks/x/forks/dead <<< 'kept = 1'
sandboxes=(demo/forks/x/forks/dead "${sandboxes[@]}")
fails_with EEXIST "both have a fork of one name: EEXIST" write demo/merge x
like "$(cat demo/error)" "both demo and x have a fork dead" "and error says which"

# A guest that cannot answer: the writer can be interrupted.
python demo/forks/x <<< 'kept = 1'
rmdir demo/forks/dead
vmctl kill "$(value demo/forks/x/status vm)" 19 > "$scratch/stopped"
sh -c 'exec echo x' > demo/merge &
writer=$!
sleep 0.5
kill "$writer"
wait "$writer"
not_ok "a merge that takes too long can be ended" [ $? = 0 ]
vmctl kill "$(value demo/forks/x/status vm)" 18 > "$scratch/continued"
is "$(ask demo/forks/x <<< 'import socket; print(kept, socket.gethostname())')" "1 x" \
	"the fork is what it was"
is "$(value demo/status vm)" "$vm" "and the sandbox, too"
ok "and can be merged later" within "$wait_limit" bash -c 'echo x > demo/merge'

vmctl kill "$(value demo/status vm)" 9 > "$scratch/killed"
ok "the sandbox dies" wait_for 30 state_is demo dead
ok "a fork of it can take its place" within "$wait_limit" bash -c 'echo dead > demo/merge'
is "$(ask demo <<< 'print(kept)')" 1 "with all that it had"
done_testing
