#!/bin/bash
# config/memory_mib, vcpus, disk_mib, pids and cpu_percent limit what a sandbox takes; a
# program that wants more is told, and the sandbox goes on.
. "$(dirname "$0")/lib.sh"
sandbox demo
is "$(cat demo/config/{pids,cpu_percent})" $'0\n0' "at first there is no limit"
memory=$(cat demo/config/memory_mib)
vcpus=$(cat demo/config/vcpus)
disk=$(cat demo/config/disk_mib)
like "$memory $vcpus $disk" '^[1-9][0-9]+ [1-9][0-9]* [1-9][0-9]+$' "but what the machine has"
timeout "$wait_limit" cat demo/events > "$scratch/events" &

# Memory. It can be limited before the machine is there.
echo 128 > demo/config/memory_mib
is "$(cat demo/config/memory_mib)" 128 "what is written can be read"
hungry='
data = []
while True:
    data.append(bytearray(b"x" * (4 << 20)))'
ok "a program that fits in runs" python demo <<< 'x = 41'
is "$(echo "$hungry" > demo/exec; cat demo/exit)" 137 "one that wants more is killed"
like "$(cat demo/stderr)" 'out of memory .*128 MiB' "its stderr says why"
like "$(cat demo/error)" 'out of memory' "so does error"
ok "and the events" wait_for 30 grep -q '"limit_reached".*"limit":"memory_mib","run":2' "$scratch/events"
is "$(ask demo <<< 'print(6 * 7)')" 42 "the sandbox goes on, with a new REPL"
echo "python3 -c '$hungry'; echo still here" > demo/bash
like "$(cat demo/stdout)" 'still here' "a bash whose child was killed goes on"
like "$(cat demo/stderr)" 'out of memory' "and is told as well"
is "$(cat demo/exit)" 0 "which is no error of its own"

# Processes.
echo 32 > demo/config/pids
cat > demo/exec <<'CODE'
import os, signal
children = []
try:
    while len(children) < 1000:
        child = os.fork()
        if child == 0:
            signal.pause()
        children.append(child)
except BlockingIOError as error:
    print(error.strerror)
print(len(children) < 32)
for child in children:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
CODE
is "$(cat demo/output)" $'Resource temporarily unavailable\nTrue' "a program cannot fork without end"
echo 'bomb() { bomb | bomb & }; bomb 2> /dev/null; sleep 1000' > demo/bash
sleep 3
ok "while a fork bomb goes off its files can be read" within 30 cat demo/fs/etc/hostname
echo kill > demo/ctl
is "$(cat demo/exit)" 137 "it can be killed"
is "$(ask demo <<< 'print(6 * 7)')" 42 "and the sandbox goes on"
echo 0 > demo/config/pids
is "$(cat demo/config/pids)" 0 "the limit can be lifted"

# Disk.
echo 64 > demo/config/disk_mib
fill='dd if=/dev/zero of=/root/big bs=1M count=200'
is "$(echo "$fill" > demo/bash; cat demo/exit)" 1 "a program that fills the disk fails"
like "$(cat demo/stderr)" 'No space left on device' "with ENOSPC"
like "$(stat -c %s demo/fs/root/big)" '^(5[0-9]|6[0-4])[0-9]{6}$|^6[0-7][0-9]{6}$' "when the limit is reached"
ok "when it has made room it can go on" bash_in demo 'rm /root/big && dd if=/dev/zero of=/root/small bs=1M count=20'
echo 128 > demo/config/disk_mib
ok "or when it is given more" bash_in demo 'dd if=/dev/zero of=/root/more bs=1M count=80'
ok "the sandbox goes on" bash_in demo 'rm /root/more /root/small'

# A fork has the limits of its parent.
within 30 mkdir demo/forks/a
is "$(cat demo/forks/a/config/{memory_mib,disk_mib})" $'128\n128' "a fork has the limits of what it was forked from"
is "$(echo "$hungry" > demo/forks/a/exec; cat demo/forks/a/exit)" 137 "they hold there"
echo 0 > demo/forks/a/config/memory_mib
is "$(cat demo/forks/a/config/memory_mib)" "$memory" "and can be other ones"
ok "the fork may take more now" python demo/forks/a <<< 'data = bytearray(b"x" * (150 << 20))'
is "$(cat demo/config/memory_mib)" 128 "which is no matter of its parent's"
echo 100 > demo/forks/a/config/pids
echo a > demo/merge
is "$(cat demo/config/{memory_mib,pids})" $'128\n0' "a merge leaves them as they are"
is "$(echo "$hungry" > demo/exec; cat demo/exit)" 137 "and they hold for the new machine"

# Time of CPUs, as a ratio of what one gets in the same time.
sandbox slow
count='
import time
def count():
    end = time.monotonic() + 4
    n = 0
    while time.monotonic() < end:
        n += 1
    print(n)
count()'
# counts_less SANDBOX: limited as it is now, than a moment later without a limit. It is limited again then.
counts_less() {
	local few many
	few=$(ask "$1" <<< "$count")
	echo 0 > "$1/config/cpu_percent"
	many=$(ask "$1" <<< "$count")
	echo 20 > "$1/config/cpu_percent"
	[ $((few * 5 / 2)) -lt "$many" ]
}
# tries COMMAND...: a few times, for a machine that becomes slower while it counts. Without a limit the two are always alike.
tries() {
	"$@" || "$@" || "$@"
}
if [ "$(attempt=$(within 30 "$top/tests/mount/attempt" write slow/config/cpu_percent 20); echo "$attempt")" = ok ]; then
	ok "a limited sandbox runs" python slow <<< 'pass'
	ok "with a fifth of a CPU it counts to much less" tries counts_less slow
	within 60 mkdir slow/forks/x
	is "$(cat slow/forks/x/config/cpu_percent)" 20 "its fork has that limit"
	ok "which holds, and can be lifted" tries counts_less slow/forks/x
	within 30 rmdir slow/forks/x
else
	like "$(cat slow/error)" 'cgroup v2' "without cgroup v2 the host cannot limit time of CPUs, and says so"
fi

# What cannot be.
for name in memory_mib vcpus disk_mib; do
	fails_with EINVAL "$name cannot be more than the machine has" write demo/config/$name 1000000
	like "$(cat demo/error)" "--${name/_/-}" "and error names the option"
done
for name in memory_mib pids cpu_percent; do
	for bad in -1 x 1.5 "" 4294967296 1; do
		[ -z "$bad" ] || fails_with EINVAL "\"$bad\" is no $name" write demo/config/$name "$bad"
	done
done
is "$(cat demo/config/memory_mib)" 128 "a bad value changes nothing"
done_testing
