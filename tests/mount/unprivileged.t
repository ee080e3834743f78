#!/bin/bash
# pffs has few rights: root's is another user's process, without capabilities, that reaches its own
# directories only; all that root could do with it before can be done still.
. "$(dirname "$0")/own-pffs.sh"

figure() { # figure PID KEY: a line of its status
	sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/status"
}

# Of @scratch all that runs, but this test.
left() {
	pgrep -f "$scratch/" | grep -vx "$$"
}

nothing_left() {
	[ -z "$(left)" ]
}

guard_of() {
	pgrep -P "$1" -x pffs-guard
}

ended() { # ended PID
	[ ! -d "/proc/$1" ] || grep -q '^State:.*zombie' "/proc/$1/status"
}

also_clean_up() {
	left | xargs -r kill -KILL
	umount -l "$scratch/mnt" 2> "$scratch/ignored"
}

[ "$(id -u)" = 0 ] || skip_all "only root has rights to give up"

# What root's pffs of another version, or with --user root, has left.
"$pffs" mount --foreground --user root --socket "$scratch/sock" --images "$images" \
	--engine "${PFFS_ENGINE:-auto}" --state "$scratch/state" mnt 2>> log &
pid=$!
ok "root can have it keep root's rights" wait_for 180 test -e mnt/host || done_testing
is "$(figure "$pid" Uid | cut -f 1)" 0 "which it has then"
within 60 mkdir mnt/old
echo 'x = 41' > mnt/old/exec
within 60 cat mnt/old/exit > "$scratch/ignored"
freeze_old() {
	within 60 bash -c 'echo freeze > mnt/old/ctl' 2> "$scratch/ignored"
}
ok "a sandbox is told to freeze" wait_for 60 freeze_old
ok "and is frozen" wait_for 60 state_is mnt/old frozen
stop

ok "it is mounted again, from a directory that is root's alone" start
user=$(figure "$pid" Uid | cut -f 1)
is "$(stat -c %a "$scratch")" 700 "this one"
not_ok "it is not root's process" [ "$user" = 0 ]
is "$(figure "$pid" Uid | tr '\t' '\n' | sort -u)" "$user" "in no way"
is "$(figure "$pid" Groups | tr -d ' ')" "" "it has no groups"
for set in CapInh CapPrm CapEff CapBnd CapAmb; do
	is "$(figure "$pid" $set)" 0000000000000000 "nor capabilities: $set"
done
is "$(figure "$pid" NoNewPrivs)" 1 "nor a way to gain any"
is "$(stat -c %u "/proc/$pid/maps")" 0 "nobody with its rights may trace it"
is "$(id -u "$(value mnt/host user)" 2> "$scratch/ignored" || value mnt/host user)" "$user" "host says who it is"
like "$(value mnt/host landlock)" '^[0-9]+$' "and what keeps it from the rest"
is "$(stat -c %u state state/machines state/vmctl.pid | sort -u)" 0 "the state directory is root's"
is "$(stat -c %u state/sandboxes state/sandboxes/* | sort -u)" "$user" "but for its sandboxes, also those that root's pffs left"
is "$(stat -c %u mnt mnt/old | sort -u)" 0 "the mount, and what is in it, is root's"
is "$(echo 'print(x + 1)' > mnt/old/exec; within 120 cat mnt/old/stdout)" 42 "the frozen one goes on"

guard=$(guard_of "$pid")
is "$(figure "$guard" Uid | cut -f 1)" 0 "its guard is root's"
is "$(ls -l "/proc/$guard/fd" | sed -n 's/.* [3-9] -> //p' | sed 's/:\[[0-9]*\]//')" $'socket\nanon_inode:[pidfd]' \
	"and has nothing open but the socket to pffs, and a handle of vmctl"

within 60 mkdir mnt/demo
echo 'print("x" * (70 << 20))' > mnt/demo/exec
is "$(within 200 cat mnt/demo/stdout | wc -c)" $(((70 << 20) + 1)) "long output is kept"
like "$(ls -l "/proc/$pid/fd")" "$scratch/spool/.*deleted" "where only root may write"

echo 'y = 1' > mnt/demo/exec
within 60 cat mnt/demo/exit > "$scratch/ignored"
vmctl=$(pgrep -P "$pid" -x vmctl)
kill -KILL "$vmctl"
another_vmctl() {
	local now
	now=$(pgrep -P "$pid" -x vmctl) && [ "$now" != "$vmctl" ]
}
ok "a vmctl that is killed is replaced" wait_for 60 another_vmctl
is "$(echo 'print(y + 1)' > mnt/demo/exec; within 120 cat mnt/demo/stdout)" 2 "and the sandboxes go on"

kill -KILL "$pid"
wait "$pid" 2> "$scratch/ignored"
ok "the guard ends with a pffs that is killed" wait_for 30 ended "$guard"
ok "mounted again" start
is "$(echo 'print(y + 2)' > mnt/demo/exec; within 120 cat mnt/demo/stdout)" 3 "they go on, too"

kill -KILL "$(guard_of "$pid")"
within 60 mkdir mnt/more
is "$(echo 'print(6 * 7)' > mnt/more/exec; within 120 cat mnt/more/stdout)" 42 "without its guard it goes on"
ok "and ends" stop
not_ok "without a mount" grep -q " $scratch/mnt " /proc/mounts
ok "its vmctl is the next one's" start
api=$(value mnt/host api)
ok "umount" stop
ok "leaves no process" wait_for 30 nothing_left
not_ok "nor a socket" test -e "$api"
not_ok "nor a mount" grep -q " $scratch/mnt " /proc/mounts

like "$("$pffs" mount --user no-such-user mnt 2>&1)" 'there is no user no-such-user' "a user that is not there is refused"
not_ok "and nothing mounted" grep -q " $scratch/mnt " /proc/mounts
done_testing
