#!/bin/bash
# What is frozen outlives pffs and vmctl, also when they are killed.
. "$(dirname "$0")/own-pffs.sh"

frozen() {
	echo freeze > "$1/ctl" && wait_for 90 state_is "$1" frozen
}

start
within 60 mkdir mnt/demo
wait_for 120 state_is mnt/demo ready
echo 'x = 41; print("kept"); import sys; print("error", file=sys.stderr)' > mnt/demo/exec
is "$(cat mnt/demo/exit)" 0 "a run"
echo 'echo file > /root/file; exit 3' > mnt/demo/bash
is "$(cat mnt/demo/exit)" 3 "and another one"
within 60 mkdir mnt/demo/forks/x
echo 'x = 99' > mnt/demo/forks/x/exec
is "$(cat mnt/demo/forks/x/exit)" 0 "and one in a fork"
echo 60.5 > mnt/demo/config/exec_timeout
echo 3600 > mnt/demo/config/idle_timeout
echo 86400 > mnt/demo/config/max_lifetime
echo /root > mnt/demo/config/diff_paths
chmod 750 mnt/demo
cat > mnt/demo/exec <<'CODE'
import os, time
print("going", flush=True)
while not os.path.exists("/root/go"):
    time.sleep(0.1)
print("on")
CODE
wait_for 60 grep -q going mnt/demo/last/stdout
id=$(value mnt/demo/status id) created=$(value mnt/demo/status created)
ok "freeze it in the middle of a run" frozen mnt/demo
ok "and its fork" frozen mnt/demo/forks/x
within 60 mkdir mnt/gone
stop
is "$(ls state/machines | grep -c .)" 2 "the machines are kept, with a lock" || ls -l state/machines

ok "mount again" start
is "$(ls mnt | grep -E 'demo|gone')" demo "what was frozen is listed, what ran is gone"
is "$(value mnt/demo/status id) $(value mnt/demo/status created) $(value mnt/demo/status state)" \
	"$id $created frozen" "it is the same one"
is "$(stat -c %a mnt/demo) $(cat mnt/demo/config/exec_timeout) $(cat mnt/demo/config/diff_paths)" \
	"750 60.5 /root" "with its mode and configuration"
is "$(cat mnt/demo/config/idle_timeout mnt/demo/config/max_lifetime)" $'3600\n86400' "its limits"
like "$(value mnt/demo/status life_left)" '^8[56][0-9]{3}\.[0-9]$' "and what is left of its life"
is "$(ls mnt/demo/runs | tr '\n' ' ')" "1 2 3 " "all its runs are there"
is "$(cat mnt/demo/runs/1/stdout mnt/demo/runs/1/stderr mnt/demo/runs/2/exit)" $'kept\nerror\n3' \
	"with what they put out"
is "$(cat mnt/demo/runs/2/code)" 'echo file > /root/file; exit 3' "and their code"
is "$(value mnt/demo/runs/3/status state)" running "the run goes on"
is "$(ls mnt/demo/forks)" x "its fork is there, too"
echo resume > mnt/demo/ctl
: > mnt/demo/fs/root/go
is "$(cat mnt/demo/runs/3/stdout) $(cat mnt/demo/runs/3/exit)" $'going\non 0' "the run goes on to its end"
echo 'print(x + 1)' > mnt/demo/exec
is "$(cat mnt/demo/stdout)" 42 "the REPL is as it was"
is "$(cat mnt/demo/fs/root/file)" file "and the files"
like "$(cat mnt/demo/changes)" "A root/file" "what it changed is known"
echo 'print(x)' > mnt/demo/forks/x/exec
is "$(cat mnt/demo/forks/x/stdout)" 99 "the fork is itself"
not_ok "its fork point is lost, which is said" cat mnt/demo/forks/x/changes 2> /dev/null
like "$(cat mnt/demo/forks/x/error)" "fork point is lost" "in a sentence"

ok "freeze it again" frozen mnt/demo
chmod 705 mnt/demo
echo 61 > mnt/demo/config/exec_timeout
printf '/\xff\n' > mnt/demo/config/diff_paths
is "$(value mnt/demo/status state)" frozen "what is changed of one that is frozen"
# What a host that goes down leaves: no process, no mount, no socket.
pgrep -f "$scratch/" | xargs -r kill -KILL
wait "$pid" 2> /dev/null
wait_for 30 eval '! pgrep -f "$scratch/" > /dev/null'
within 60 umount -l mnt
rm -rf sock sock.*
ok "mount after all were killed, as by a reboot" start
is "$(stat -c %a mnt/demo) $(cat mnt/demo/config/exec_timeout)" "705 61" "is so in the next mount"
is "$(od -An -tx1 mnt/demo/config/diff_paths)" " 2f ff 0a" "also diff_paths, of any bytes"
echo 'print(x + 2)' > mnt/demo/exec
is "$(cat mnt/demo/stdout)" 43 "the REPL is as it was"

ok "freeze it, and kill vmctl alone" frozen mnt/demo
first=$(pgrep -P "$pid" vmctl)
kill -KILL "$first"
another_vmctl() {
	local now
	now=$(pgrep -P "$pid" vmctl) && [ "$now" != "$first" ] && [ -S sock ]
}
wait_for 60 another_vmctl
sleep 2
echo 'print(x + 3)' > mnt/demo/exec
is "$(cat mnt/demo/stdout)" 44 "the next vmctl resumes it"

ok "freeze it once more" frozen mnt/demo
stop
truncate -s -1 state/sandboxes/*.data
ok "mount with a record that was cut" start
is "$(ls mnt | grep demo)" "" "it is not listed"
like "$(cat mnt/error)" "damaged" "which is said"
stop

rm -rf state
mkdir state
mount -t tmpfs -o size=64m none state
ok "mount with a state directory that is too small" start
within 60 mkdir mnt/demo
wait_for 120 state_is mnt/demo ready
echo 'x = 5' > mnt/demo/exec
cat mnt/demo/exit > /dev/null
echo freeze > mnt/demo/ctl
wait_for 90 grep -q . mnt/demo/error
like "$(cat mnt/demo/error)" "No space left" "a full disk is told"
echo 'print(x)' > mnt/demo/exec
is "$(cat mnt/demo/stdout) $(value mnt/demo/status state)" "5 ready" "and leaves it running"
stop
umount state
cd / || exit
done_testing
