#!/bin/bash
# Caps of the host: --max-sandboxes, --max-memory-mib, --at-cap.
. "$(dirname "$0")/lib.sh"
mine=$scratch/mine
pid=
also_clean_up() { # what a failure in the middle would leave
	[ -z "$pid" ] || kill "$pid" 2>/dev/null
	umount -l "$mine" 2>/dev/null
}
mounted() { # mounted OPTION...: one with the vmctl of the other tests
	"$build/pffs/pffs" mount --foreground --socket "$PFFS_TEST_SOCKET" --state "$scratch/state" \
		"$@" "$mine" >> "$scratch/log" 2>&1 &
	pid=$!
	wait_for 60 is_up "$mine"
}
unmounted() {
	cd "$PFFS_TEST_MOUNT" && within 60 "$build/pffs/pffs" umount "$mine" && wait "$pid" && pid=
}
uses() { # uses NAME: a run
	[ "$(echo 'print(6 * 7)' > "$1/exec"; cat "$1/stdout")" = 42 ]
}

ok "a mount for three sandboxes" mounted --max-sandboxes 3 || done_testing
cd "$mine" || done_testing
is "$(value host sandboxes_max)" 3 "host tells of it"
ok "three can be made" within 60 mkdir a b c
ok "and work" uses c
fails_with ENOSPC "a fourth cannot" mkdir d
like "$(cat error)" '--max-sandboxes 3' "and error says why"
not_ok "it is not there" test -e d
within 30 rmdir b
fails_with ENOSPC "of two forks for one of which there is room" write a/forks/.n 2
is "$(ls a/forks)" "" "none is made"
ok "one can be" within 60 mkdir a/forks/x
ok "it works" uses a/forks/x
echo freeze > c/ctl
ok "one that is frozen" wait_for "$wait_limit" state_is c frozen
ok "makes room for another" within 60 mkdir d
echo 'print(6 * 7)' > c/exec
is "$(cat c/exit)" 137 "but then there is none to resume it"
like "$(cat c/error)" '--max-sandboxes 3' "and error says why"
within 30 rmdir d
ok "when there is it goes on" uses c
echo freeze > c/ctl
ok "it is frozen again" wait_for "$wait_limit" state_is c frozen
ok "umount" unmounted

ok "a mount that freezes what is idle, for 1,100 MiB" mounted --max-memory-mib 1100 --at-cap freeze || done_testing
cd "$mine" || done_testing
is "$(value host memory_max)" $((1100 << 20)) "host tells of it"
within 60 mkdir one two
ok "one is used" uses one
ok "and so is another" uses two
is "$(value host memory)" $((1024 << 20)) "they have 1,024 MiB"
ok "a third can be made" within 60 mkdir three
ok "and works" uses three
ok "that which was idle for the longest time is frozen" wait_for "$wait_limit" state_is one frozen
is "$(value two/status state)" ready "the other is not"
ok "what is frozen can be used" uses one
ok "so another is frozen" wait_for "$wait_limit" state_is two frozen
echo 'sleep 1000' > one/bash
echo 'sleep 1000' > three/bash
wait_for 30 state_is one running
wait_for 30 state_is three running
fails_with ENOMEM "when none is idle there is no room" mkdir four
like "$(cat error)" '--max-memory-mib' "and error says why"
echo 70 > three/config/memory_mib
echo 70 > one/config/memory_mib
ok "one that may have less makes room" within 60 mkdir four
echo 'sleep 1000' > four/bash
wait_for "$wait_limit" state_is four running
fails_with ok "it can have that back as long as there is room" write one/config/memory_mib 0
fails_with ENOMEM "and not when there is none" write three/config/memory_mib 0
within 30 rmdir one two three four c
ok "umount" unmounted
done_testing
