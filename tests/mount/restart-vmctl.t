#!/bin/bash
# vmctl is killed, with its pffs or alone: the machines and their runs go on, and the next
# one takes them up.
. "$(dirname "$0")/own-pffs.sh"

# ours: all processes that have a file or a socket here.
ours() {
	pgrep -f "$scratch/" | grep -vx "$$"
}

kill_both() {
	kill -KILL "$pid" "$(command cat state/vmctl.pid)"
	wait "$pid" 2> /dev/null
}

start
if [ "$(value mnt/host engine)" != emulated ]; then
	stop
	skip_all "this is about the emulated host"
fi
kill_early kill_both

within 60 mkdir mnt/demo
wait_for 120 state_is mnt/demo ready
echo 'x = 41; print("kept")' > mnt/demo/exec
is "$(cat mnt/demo/exit)" 0 "a run"
within 60 mkdir mnt/demo/forks/f
echo 'x = 99; open("/root/file", "w").write("one")' > mnt/demo/forks/f/exec
is "$(cat mnt/demo/forks/f/exit)" 0 "and one in a fork"
count_to 100 > mnt/demo/exec
echo 'print("next", x)' > mnt/demo/exec
wait_for 60 grep -qx 5 mnt/demo/runs/2/stdout
machine=$(value mnt/demo/status pid)
kill_both
sleep 1
ok "killed while a run prints, it is mounted again" start
like "$(cat log)" "a former vmctl is taken up" "and finds the host"
is "$(value mnt/demo/status pid)" "$machine" "with the same machine"
is "$(cat mnt/demo/runs/1/stdout)" kept "what was printed is there"
is "$(cat mnt/demo/runs/2/stdout)" "$(numbers 100)" "the run went on, and each line is there once"
is "$(cat mnt/demo/runs/2/exit)" 0 "and has ended"
is "$(cat mnt/demo/runs/3/stdout)" "next 41" "then the run that waited for it"
is "$(cat mnt/demo/forks/f/fs/root/file)" one "files of the fork are read"

vmctl=$(command cat state/vmctl.pid)
count_to 60 > mnt/demo/exec
wait_for 60 grep -qx 5 mnt/demo/last/stdout
kill -KILL "$vmctl"
is "$(within 120 cat mnt/demo/stdout)" "$(numbers 60)" "vmctl alone is killed while a run prints: who reads goes on reading"
is "$(cat mnt/demo/exit)" 0 "and the run ends"
is "$(value mnt/demo/status pid)" "$machine" "with the same machine"
echo 'print(x)' > mnt/demo/exec
is "$(cat mnt/demo/stdout)" 41 "whose REPL is as it was"
ok "events tell" within 60 grep -q '"attached"' mnt/demo/events
is "$(cat mnt/demo/forks/f/fs/root/file)" one "its fork is there, too"

kill_both
ok "killed while nothing goes on, it is mounted again" start
echo 'print(x + 1)' > mnt/demo/exec
is "$(cat mnt/demo/stdout)" 42 "the REPL is as it was"
within 60 mkdir mnt/demo/forks/g
echo 'print(x)' > mnt/demo/forks/g/exec
is "$(cat mnt/demo/forks/g/stdout)" 41 "it can be forked"
ok "the fork can be merged" eval 'echo f > mnt/demo/merge'
echo 'print(x)' > mnt/demo/exec
is "$(cat mnt/demo/stdout)" 99 "which makes it the fork"
echo freeze > mnt/demo/ctl
wait_for 90 state_is mnt/demo frozen
kill_both
ok "killed while one is frozen, it is mounted again" start
echo 'print(x + 1)' > mnt/demo/exec
is "$(cat mnt/demo/stdout)" 100 "and that one resumes"
echo freeze > mnt/demo/ctl
wait_for 90 state_is mnt/demo frozen
kill -KILL "$(command cat state/vmctl.pid)"
echo 'print(x + 2)' > mnt/demo/exec
is "$(cat mnt/demo/stdout)" 101 "who uses a frozen one just when vmctl is killed waits for the next"

host=$(pgrep -f "qemu-system.*$scratch/state")
ok "the host is one process" [ -d "/proc/$host" ]
kill_both
kill -KILL "$host"
ok "killed with the host, it is mounted again" start
is "$(value mnt/demo/status state)" dead "the sandbox is dead"
within 60 mkdir mnt/other
echo 'print("works")' > mnt/other/exec
is "$(within 120 cat mnt/other/stdout)" works "and a new one works"
stop
nothing_left() { [ "$(ours) $(ls -d sock* 2> /dev/null)" = " " ]; }
ok "umount ends it all" wait_for 30 nothing_left
cd / || exit
done_testing
