#!/bin/bash
# pffs is killed: its sandboxes and their runs go on, and the next pffs takes them up.
. "$(dirname "$0")/own-pffs.sh"

# The mount that is left answers nothing: to mount again takes it away.
kill_pffs() {
	kill -KILL "$pid"
	wait "$pid" 2> /dev/null
}

start
kill_early kill_pffs
within 60 mkdir mnt/demo mnt/cold
wait_for 120 state_is mnt/demo ready
echo 'x = 41; print("kept")' > mnt/demo/exec
is "$(cat mnt/demo/exit)" 0 "a run"
within 60 mkdir mnt/demo/forks/f
mkdir mnt/demo/pty/t
echo 'echo on; read -r; for i in {1..30}; do echo "line $i"; sleep 0.1; done; cat' > mnt/demo/pty/t/command
is "$(within 60 head -c 2 mnt/demo/pty/t/data)" on "and a terminal"
echo 'x = 99; open("/root/file", "w").write("one")' > mnt/demo/forks/f/exec
is "$(cat mnt/demo/forks/f/exit)" 0 "and one in a fork"
is "$(cat mnt/demo/forks/f/changes)" "A root/file" "which has changed a file"
within 60 mkdir mnt/base
wait_for 120 state_is mnt/base ready
echo 'z = 5; open("/root/base", "w").write("b")' > mnt/base/exec
is "$(cat mnt/base/exit)" 0 "a sandbox"
ok "becomes a template" within 60 mv mnt/base mnt/templates/warm
within 60 mkdir mnt/templates/warm/forks/w
wait_for 120 state_is mnt/templates/warm/forks/w ready
info=$(cat mnt/templates/warm/info)
echo 'y = 7; open("/root/cold", "w").write("c")' > mnt/cold/exec
is "$(cat mnt/cold/exit)" 0 "and one in another sandbox"
within 60 mkdir mnt/cold/forks/c
echo 'open("/root/fork", "w").write("c")' > mnt/cold/forks/c/exec
is "$(cat mnt/cold/forks/c/exit)" 0 "and in its fork"
echo freeze > mnt/cold/forks/c/ctl
wait_for 90 state_is mnt/cold/forks/c frozen
mv mnt/cold/forks/c mnt/chill
echo freeze > mnt/cold/ctl
wait_for 90 state_is mnt/cold frozen
echo 600 > mnt/demo/config/exec_timeout
echo /root > mnt/demo/config/diff_paths
echo 100 > mnt/demo/config/pids
chmod 750 mnt/demo
within 60 mkdir mnt/fed
wait_for 120 state_is mnt/fed ready
echo ahead > mnt/fed/stdin
count_to 100 > mnt/demo/exec
echo 'print("next", x)' > mnt/demo/exec
wait_for 30 grep -qx 5 mnt/demo/runs/2/stdout
id=$(value mnt/demo/status id) created=$(value mnt/demo/status created)
vm=$(value mnt/demo/status pid)
echo go > mnt/demo/pty/t/data

kill_pffs
sleep 2
not_ok "a mount that fails, as it gets no vmctl," env PFFS_VMCTL=/bin/false timeout 60 "$pffs" mount \
	--foreground --socket "$scratch/none" --state "$scratch/state" mnt 2>> log
ok "does not keep the next one from what there is" start
is "$(ls mnt | grep -E '^(demo|cold|chill)$' | tr '\n' ' ')$(ls mnt/demo/forks)" "chill cold demo f" "all sandboxes are there"
is "$(value mnt/demo/status id) $(value mnt/demo/status created) $(value mnt/demo/status pid)" \
	"$id $created $vm" "they are the same, and so is the machine"
is "$(stat -c %a mnt/demo) $(cat mnt/demo/config/exec_timeout) $(cat mnt/demo/config/diff_paths)" \
	"750 600 /root" "with mode and configuration"
is "$(value mnt/cold/status state)" frozen "what was frozen is frozen"
is "$(cat mnt/demo/runs/1/stdout)" kept "what was printed is there"
is "$(cat mnt/demo/runs/2/stdout)" "$(numbers 100)" "the run went on, and each line is there once"
is "$(cat mnt/demo/runs/2/exit)" 0 "and has ended"
is "$(cat mnt/demo/runs/3/stdout)" "next 41" "then the run that waited for it"
echo 'print(x + 1)' > mnt/demo/exec
is "$(cat mnt/demo/stdout)" 42 "the REPL is as it was"
echo 'cat /sys/fs/cgroup/programs/pids.max' > mnt/demo/bash
is "$(cat mnt/demo/config/pids mnt/demo/stdout)" $'100\n100' "and so are its limits"
is "$(ls mnt/demo/pty)" t "the terminal is there"
shows() { timeout 10 cat mnt/demo/pty/t/data | tr -d '\r'; }
all_lines() { [ "$(shows | grep -v typed)" = "$(printf '%s\n' on go; printf 'line %d\n' {1..30})" ]; }
ok "its program went on, and each line is there once" wait_for 120 all_lines
echo typed > mnt/demo/pty/t/data
typed_twice() { [ "$(shows | grep -c typed)" = 2 ]; }
ok "and it is typed to" wait_for 30 typed_twice
is "$(echo 'cat' > mnt/fed/bash; within 60 cat mnt/fed/stdout)" "ahead" "what was written to stdin ahead is the next run's"
echo 'print(y)' > mnt/cold/exec
is "$(cat mnt/cold/stdout)" 7 "a frozen one resumes"
is "$(within 60 cat mnt/demo/forks/f/changes)" "A root/file" "the fork point of a fork is there"
is "$(within 120 cat mnt/chill/changes)" "A root/fork" "and that of one that was frozen"
is "$(cat mnt/templates/warm/info)" "$info" "the template that was made of a sandbox is there"
is "$(within 60 cat mnt/templates/warm/forks/w/changes)" "" "a sandbox of it has changed nothing since"
ok "another one is made of it" within 60 mkdir mnt/warm
echo 'print(z, open("/root/base").read())' > mnt/templates/warm/forks/w/exec
is "$(cat mnt/templates/warm/forks/w/stdout)" "5 b" "with its memory and its files"
ok "the template can be removed" eval 'within 60 rmdir mnt/templates/warm/forks/w && within 60 rmdir mnt/templates/warm'
within 60 mkdir mnt/demo/forks/g
echo 'print(x)' > mnt/demo/forks/g/exec
is "$(cat mnt/demo/forks/g/stdout)" 41 "it can be forked"
is "$(cat mnt/demo/forks/f/fs/root/file)" one "files of the fork are read"
like "$(cat mnt/demo/diff/f)" "A root/file" "and compared"
ok "it can be merged" eval 'echo f > mnt/demo/merge'
echo 'print(x)' > mnt/demo/exec
is "$(cat mnt/demo/stdout)" 99 "which makes it the fork"

# queued_after RUN: a newer run than that is in the queue, or begun.
queued_after() {
	local run
	run=$(readlink mnt/demo/last) && [ "$run" != "$1" ] && queued "mnt/demo/$run"
}

# At any moment: what was acknowledged is there.
rounds=${PFFS_RESTART_ROUNDS:-5}
whole=0 ended=0
for ((i = 0; i < rounds; i++)); do
	before=$(readlink mnt/demo/last)
	count_to 20 > mnt/demo/exec
	wait_for 30 queued_after "$before"
	run=$(readlink mnt/demo/last)
	sleep "$((RANDOM % 3)).$((RANDOM % 10))"
	kill_pffs
	start || break
	[ "$(within 60 cat "mnt/demo/$run/stdout")" != "$(numbers 20)" ] || whole=$((whole + 1))
	[ "$(within 60 cat "mnt/demo/$run/exit")" != 0 ] || ended=$((ended + 1))
done
is "$whole $ended" "$rounds $rounds" "killed at any moment, no line is lost, and none comes twice"
echo 'print(x)' > mnt/demo/exec
is "$(within 60 cat mnt/demo/stdout)" 99 "the REPL is as it was"
is "$(cat mnt/demo/runs/1/stdout)" kept "the first run, too"
within 60 rmdir mnt/demo/forks/g mnt/demo mnt/cold mnt/early mnt/chill mnt/warm mnt/fed
stop
is "$(ls state/sandboxes)" $'ca.pem\nlock' "nothing is left of what was removed"
not_ok "the vmctl that the first one started has ended" pgrep -f "serve --socket $scratch/sock"
cd / || exit
done_testing
