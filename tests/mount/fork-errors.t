#!/bin/bash
# A fork that cannot be made says why, leaves nothing half-made and does its parent no harm.
. "$(dirname "$0")/lib.sh"
sandboxes+=(demo/forks/{a,b,1,2,3,5x} gone)
sandbox demo
python demo <<< 'x = 41'
is "$?" 0 "a machine"
many=demo/forks/.n
vms() {
	vmctl stat | sed -n 's/^vms //p'
}
forks() {
	ls demo/forks
}
unharmed() { # unharmed NAME: nothing is left, and the parent answers
	is "$(forks)" "" "$1: no fork is there"
	is "$(ask demo <<< 'print(x + 1)')" 42 "$1: the parent goes on"
}
before=$(vms)

fails_with EINVAL "no name at all" write $many ' '
fails_with EINVAL "a count of 0" write $many 0
fails_with EINVAL "a count of more than 1000" write $many 1001
fails_with EINVAL "a count of very many" write $many 99999999999999999999
fails_with EINVAL "a bad name among good ones" write $many 'a b/c d'
like "$(cat demo/error)" 'A-Z' "error says what a name is"
fails_with EINVAL "a name that begins with a dot" write $many 'a .b'
fails_with EINVAL "a name of 65 letters" write $many "a $(printf 'x%.0s' {1..65})"
fails_with EINVAL "a zero byte" write-zero-byte $many
fails_with EEXIST "the same name twice" write $many 'a b a'
like "$(cat demo/error)" 'a already' "error names it"
fails_with EINVAL "more than one write may hold" write $many "$(printf 'name-%04d ' {1..500})"
fails_with EINVAL "mkdir of a bad name" mkdir 'demo/forks/a b'
fails_with EINVAL "mkdir of a name that begins with a dot" mkdir demo/forks/.b
unharmed "bad input"

ok "a fork" within "$wait_limit" mkdir demo/forks/a
fails_with EEXIST "its name among new ones" write $many 'b a c'
is "$(forks)" a "leaves it alone, and makes none of the others"
fails_with ok "a name may begin like a number" write $many 5x
fails_with ok "one number is a count" write $many 2
fails_with ok "two are names" write $many '3 b'
is "$(forks | sort | xargs)" "1 2 3 5x a b" "and all have their names"
fails_with EEXIST "a fork is not moved onto another" rename demo/forks/a demo/forks/b
fails_with EBUSY "nor is its parent removed" rmdir demo
rmdir demo/forks/*
unharmed "names and counts"

not_ok "another user makes no fork" nobody mkdir demo/forks/x 2> "$scratch/ignored"
not_ok "nor many" nobody bash -c "echo 3 > $many" 2> "$scratch/ignored"
unharmed "another user"

# pffs has no memory for the thousand sandboxes; it may have for the messages about it. It
# is one of its own: another has memory that it used for other tests, and is free now. It is
# root's: to limit another user's process takes CAP_SYS_RESOURCE, which a container's root may lack.
mine=$scratch/mine own=
also_clean_up() {
	[ -z "$own" ] || kill "$own" 2> /dev/null
	umount -l "$mine" 2> /dev/null
}
"$build/pffs/pffs" mount --foreground --user root --socket "$PFFS_TEST_SOCKET" "$mine" > "$scratch/ignored" 2>&1 &
own=$!
ok "a mount of its own" wait_for 60 is_up "$mine"
within "$wait_limit" mkdir "$mine/demo"
is "$(ask "$mine/demo" <<< 'x = 41; print(x)')" 41 "with a machine"
size=$(sed -n 's/^VmSize:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$own/status")
ok "which has little memory left" prlimit --pid "$own" --as=$(((size + 512) * 1024)):unlimited
got=$(within "$wait_limit" "$top/tests/mount/attempt" write "$mine/demo/forks/.n" 1000)
prlimit --pid "$own" --as=unlimited
is "$got" ENOMEM "no memory"
like "$(cat "$mine/demo/error")" memory "error says so"
is "$(ls "$mine/demo/forks")" "" "no fork is there"
is "$(ask "$mine/demo" <<< 'print(x + 1)')" 42 "the parent goes on"
ok "its mount ends" within 60 "$build/pffs/pffs" umount "$mine"
wait "$own"
own=

# The agent stands still for a while, first with nothing to read, and then with more on its
# way to it than its port takes.
cat > demo/bash <<'CODE'
mkdir -p /sys/fs/cgroup/ice && cd /sys/fs/cgroup/ice || exit
{
	sleep 10
	echo 1 > cgroup.procs
	echo 1 > cgroup.freeze
	sleep 45
	echo 0 > cgroup.freeze
} > /dev/null 2>&1 &
CODE
is "$(cat demo/exit)" 0 "a guest whose agent will stand still"
is "$(ask demo <<< 'print(x)')" 41 "but does not yet"
sleep 12
timeout 3 mkdir demo/forks/a
is "$?" 124 "who waits for a fork that does not wake can be ended"
is "$(forks)" "" "and there is no fork"
like "$(cat demo/error)" interrupted "as error says"
fails_with ok "much for it to read" write-zeros demo/exec 600000
fails_with EAGAIN "a fork of it" mkdir demo/forks/a
like "$(cat demo/error)" 'try again' "error says what to do"
fails_with EAGAIN "many forks of it" write $many 3
is "$(cat demo/exit)" 0 "it goes on, and takes the code"
unharmed "a guest that did not read"
ok "it can be forked now" within "$wait_limit" mkdir demo/forks/a
is "$(ask demo/forks/a <<< 'print(x + 1)')" 42 "and the fork works"

ok "the parent moves away from it" within 30 mv demo gone
ok "and is killed" vmctl kill "$(value gone/status vm)" 9
ok "it is dead" wait_for 30 state_is gone dead
fails_with EIO "a fork of a dead one" mkdir gone/forks/b
fails_with EIO "many" write gone/forks/.n 3
like "$(cat gone/error)" dead "error says so"
is "$(ls gone/forks)" a "nothing is there that was not"
is "$(ask gone/forks/a <<< 'print(x + 1)')" 42 "what was is alive"
within 30 rmdir gone/forks/a
within 30 rmdir gone
few() {
	[ "$(vms)" -lt "$before" ]
}
ok "and no machine is left of all this" wait_for 60 few
done_testing
