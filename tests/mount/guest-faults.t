#!/bin/bash
# Guests at their worst: each takes from itself alone. The others answer meanwhile, what
# happened is said, and what is left can be removed.
#
# The machines are small, so that they are soon full: this is another pffs, at the same
# vmctl.
# shellcheck disable=SC2317 # functions are called by name
. "$(dirname "$0")/lib.sh"
small=$scratch/mnt
pffs=$build/pffs/pffs
TMPDIR=$scratch "$pffs" mount --foreground --socket "$PFFS_TEST_SOCKET" \
	--images "${PFFS_IMAGES:-/var/cache/pffs}" --state "$scratch/state" \
	--memory-mib 192 --disk-mib 64 "$small" > "$scratch/log" 2>&1 &
pid=$!

also_clean_up() {
	cd / || return
	[ ! -d "/proc/$pid" ] || within 60 "$pffs" umount "$small" 2> /dev/null
	umount -l "$small" 2> /dev/null
	[ "$failures" = 0 ] || diag "$(tail -n 20 "$scratch/log")"
}

ok "a pffs with small machines" wait_for 60 is_up "$small"
cd "$small" || exit
within 60 mkdir other
ok "and a sandbox that works" python other <<< 'x = 41'
others_answer() {
	[ "$(echo 'print(x + 1)' > other/exec; cat other/stdout)" = 42 ]
}

# in_demo NAME: a bash that is given standard input begins in a new sandbox.
in_demo() {
	[ ! -d demo ] || within 60 rmdir demo
	within 60 mkdir demo
	command cat > demo/bash
	ok "$1: the others answer meanwhile" others_answer
}

# lives NAME: the sandbox goes on.
lives() {
	is "$(echo 'print("alive")' > demo/exec; cat demo/stdout)" alive "$1: it goes on"
}

# ends NAME EXIT REASON: the machine ends, and that is told.
ends() {
	ok "$1: the machine ends" wait_for "$wait_limit" state_is demo dead
	is "$(cat demo/exit)" "$2" "$1: its run with $2"
	like "$(value demo/status reason)" "$3" "$1: and says why"
	ok "$1: the others answer" others_answer
	ok "$1: it can be removed" within 60 rmdir demo
}

in_demo "a flood of output" <<< 'yes no end of it & exec yes and more >&2'
ok "a flood of output: it is there" wait_for 60 test -s demo/stdout
ok "a flood of output: of both streams" wait_for 60 test -s demo/stderr
echo kill > demo/ctl
is "$(cat demo/exit)" 137 "a flood of output: it can be killed"
lives "a flood of output"

# They begin when there is a limit: as many as a slow host ends in time.
begin() {
	echo 300 > demo/config/pids && touch demo/fs/tmp/begin
}
in_demo "processes without end" << 'CODE'
until [ -e /tmp/begin ]; do sleep 0.1; done
ulimit -u unlimited
bomb() { bomb | bomb & }
bomb
sleep 1000
CODE
begin
sleep 2
ok "processes without end: the others answer still" others_answer
echo 1 > demo/config/exec_timeout
is "$(cat demo/exit)" 124 "processes without end: a time limit ends them"
echo 0 > demo/config/exec_timeout
lives "processes without end"

# Each in a session of its own, with nobody above it.
in_demo "orphans without end" <<< 'until [ -e /tmp/begin ]; do sleep 0.1; done
while :; do setsid sleep 1000 & done 2> /dev/null'
begin
sleep 2
echo kill > demo/ctl
is "$(cat demo/exit)" 137 "orphans without end: all are killed"
echo 'pgrep -c sleep' > demo/bash
is "$(cat demo/stdout)" 0 "orphans without end: each of them"
lives "orphans without end"

in_demo "a full disk" <<< 'cat /dev/zero > big; echo $?; rm big; echo again > big'
is "$(cat demo/stdout)" 1 "a full disk: the program is told"
like "$(cat demo/stderr)" 'No space left' "a full disk: by its errno"
is "$(cat demo/fs/root/big)" again "a full disk: what is removed can be used again"

in_demo "full memory" <<< "exec python3 -c 'all = []; [all.append(bytes(range(256)) * 4096) for _ in iter(int, 1)]'"
is "$(cat demo/exit)" 137 "full memory: the program is killed"
lives "full memory"
python demo <<< 'kept = 1'
python demo <<< 'x = bytearray(1 << 30)'
is "$(value demo/status state)" ready "full memory of the REPL: it goes on"
lives "full memory of the REPL"

# To the guest's root belongs what the agent waits on: it hears of its port no more.
in_demo "nobody reads the port" << 'CODE'
exec python3 -c '
import ctypes, os, select, time
libc = ctypes.CDLL(None, use_errno=True)
PIDFD_OPEN, PIDFD_GETFD = 434, 438
agent = libc.syscall(PIDFD_OPEN, 1, 0)
names = {os.readlink("/proc/1/fd/" + n): int(n) for n in os.listdir("/proc/1/fd")}
port = next(number for name, number in names.items() if "vport" in name)
loop = libc.syscall(PIDFD_GETFD, agent, names["anon_inode:[eventpoll]"], 0)
os.dup2(libc.syscall(PIDFD_GETFD, agent, port, 0), 100 + port)
os.dup2(100 + port, port)
print("taken", flush=True)
time.sleep(0.5)
select.epoll.fromfd(loop).unregister(port)
time.sleep(1000)'
CODE
ok "nobody reads the port: from some time on" wait_for "$wait_limit" grep -q taken demo/stdout
sleep 3
ok "nobody reads the port: the others answer still" others_answer
like "$(timeout 5 ls demo/fs 2>&1; echo $?)" '124|nterrupted' "nobody reads the port: who waits for it can be interrupted"
is "$(value demo/status state)" running "nobody reads the port: status answers"
not_ok "nobody reads the port: it cannot be forked" within 60 mkdir demo/forks/x 2> /dev/null
like "$(cat demo/error)" '[a-z]+ [a-z]+' "nobody reads the port: and that is said"
echo kill > demo/ctl
ends "nobody reads the port" 137 'did not end a run'

# A machine that was halted is there, and does nothing: a limit of time ends it.
reboot_by() { # reboot_by NUMBER
	echo "python3 -c 'import ctypes; ctypes.CDLL(None).reboot($1)'; sleep 1000"
}
in_demo "reboot(2)" <<< "$(reboot_by 0x01234567)"
ends "reboot(2)" 137 'rebooted'
in_demo "a reset" <<< 'echo b > /proc/sysrq-trigger; sleep 1000'
ends "a reset" 137 'reset'
in_demo "power off" <<< "$(reboot_by 0x4321fedc)"
ends "power off" 137 'shut down'
in_demo "halt" <<< "$(reboot_by 0xcdef0123)"
echo 20 > demo/config/exec_timeout
ends "halt" 124 'did not end a run'
in_demo "a panic" <<< 'echo c > /proc/sysrq-trigger; sleep 1000'
ends "a panic" 137 'panicked'

is "$(value host sandboxes)" 1 "one is left"
ok "and can be removed" within 60 rmdir other
nobody_left() {
	[ "$(vmctl list | awk '/^[0-9]/ && $7 != $8' | wc -l)" = 0 ]
}
ok "nothing is left" wait_for 60 nobody_left
cd / && ok "and all can end" within 60 "$pffs" umount "$small"
wait "$pid"
is $? 0 "in order"
done_testing
