#!/bin/bash
# Twenty sandboxes, one after the other, leave no process, descriptor or file behind.
. "$(dirname "$0")/lib.sh"
count=20
vmctl_pid=$(pgrep -P "$PFFS_TEST_PID" -x vmctl | head -n 1)

open_files() { # open_files PID
	find "/proc/$1/fd" -mindepth 1 2> "$scratch/ignored" | wc -l
}

# has_open PID COUNT; steady PID. Who asked a moment ago has left, and that is to be heard first.
has_open() {
	[ "$(open_files "$1")" = "$2" ]
}

steady() {
	local now
	now=$(open_files "$1")
	sleep 0.5
	has_open "$1" "$now"
}

family() { # all processes below pffs, by number
	local child
	for child in $(pgrep -P "$1"); do
		echo "$child"
		family "$child"
	done
}

once() {
	within 30 mkdir demo || return
	echo 'print(6 * 7)' > demo/exec
	[ "$(cat demo/stdout)" = 42 ] || return
	within 30 rmdir demo
}

# What an earlier test ended may take a moment to go. The machines of templates stay.
no_sandboxes() {
	[ "$(vmctl list | awk '/^[0-9]/ && $7 != $8' | wc -l)" = 0 ]
}

sandboxes+=(demo)
ok "the first sandbox works" once
ok "and its virtual machine goes" wait_for 60 no_sandboxes
wait_for 30 steady "$vmctl_pid"
files=$(open_files "$PFFS_TEST_PID") vmctl_files=$(open_files "$vmctl_pid")
processes=$(family "$PFFS_TEST_PID" | wc -l)
images=${PFFS_IMAGES:-/var/cache/pffs}
temporary=$(ls -A "$PFFS_TEST_SPOOL" "$images")

for ((i = 1; i <= count; i++)); do
	once || break
done
is "$i" $((count + 1)) "$count sandboxes one after the other"
ok "leave no virtual machine" wait_for 60 no_sandboxes
is "$(family "$PFFS_TEST_PID" | wc -l)" "$processes" "no process"
ok "no descriptor in pffs" wait_for 30 has_open "$PFFS_TEST_PID" "$files"
ok "no descriptor in vmctl" wait_for 30 has_open "$vmctl_pid" "$vmctl_files"
is "$(ls -A "$PFFS_TEST_SPOOL" "$images")" "$temporary" "no file"
is "$(value host sandboxes)" 0 "no sandbox"

# One that is removed while it starts, and one while it runs.
within 30 mkdir demo && within 30 rmdir demo
within 30 mkdir demo && echo 'while True: pass' > demo/exec
wait_for "$wait_limit" state_is demo running
ok "a sandbox can be removed while it runs" within 30 rmdir demo
ok "and leaves no virtual machine" wait_for 60 no_sandboxes
ok "nor a descriptor in pffs" wait_for 30 has_open "$PFFS_TEST_PID" "$files"
ok "nor in vmctl" wait_for 30 has_open "$vmctl_pid" "$vmctl_files"
done_testing
