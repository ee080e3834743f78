#!/bin/bash
# There is no room for what is to be frozen: that is said, the sandbox goes on, and is frozen
# when there is room again. The emulated host's own file system could not be written any more
# after the first time.
. "$(dirname "$0")/own-pffs.sh"
mkdir state
mount -t tmpfs -o size=320m pffs-test state || skip_all "cannot mount a small file system"
also_clean_up() {
	[ ! -d "/proc/$pid" ] || stop 2> /dev/null
	umount -l "$scratch/mnt" "$scratch/state" 2> /dev/null
}

# fill, make_room: of the state directory.
fill() {
	head -c 1G /dev/zero > state/filler 2> /dev/null
	[ "$(df --output=avail state | tail -n 1)" -lt 64 ]
}

make_room() {
	rm state/filler
}

# freeze_fails NAME WHAT: it is told, and the sandbox goes on.
freeze_fails() {
	echo freeze > "mnt/$1/ctl"
	ok "$2: it cannot be frozen" within 90 grep -qm1 freeze_failed "mnt/$1/events"
	like "$(cat "mnt/$1/error")" '[Nn]o (space|room)|[Ii]nput/output' "$2: and that is said"
	is "$(value "mnt/$1/status" state)" ready "$2: it goes on"
	echo 'x += 1; print(x)' > "mnt/$1/exec"
	is "$(cat "mnt/$1/stdout")" 42 "$2: with all that it knew"
}

freeze_works() {
	echo freeze > "mnt/$1/ctl"
	ok "$2: it is frozen" wait_for 90 state_is "mnt/$1" frozen
	echo 'print(x)' > "mnt/$1/exec"
	is "$(cat "mnt/$1/stdout")" 42 "$2: and resumed"
}

start
within 60 mkdir mnt/demo mnt/other
for name in demo other; do
	wait_for 120 state_is "mnt/$name" ready
	echo 'x = 41' > "mnt/$name/exec"
	is "$(cat "mnt/$name/exit")" 0 "$name knows something"
done
ok "the state directory is full" fill
freeze_fails demo "the first of its template"
make_room
freeze_works demo "with room again"
ok "the state directory is full again" fill
freeze_fails other "another one"
make_room
freeze_works other "with room again"
within 60 rmdir mnt/demo mnt/other
stop
is $? 0 "pffs ends in order"
is "$(ls state/sandboxes)" $'ca.pem\nlock' "and leaves nothing"
done_testing
