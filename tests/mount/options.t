#!/bin/bash
# pffs mount, umount and doctor: options, and sentences for what cannot be.
. "$(dirname "$0")/lib.sh"
pffs() {
	within 120 "$build/pffs/pffs" "$@"
}
mine=$scratch/mine
own_vmctl=
also_clean_up() { # what a failure in the middle would leave
	[ -z "$own_vmctl" ] || kill "$own_vmctl" 2>/dev/null
	umount -l "$mine" 2>/dev/null
}
socket=$scratch/vmctl.sock
"$build/pffs/pffs" mount --foreground --memory-mib 200 --vcpus 2 --disk-mib 65536 --socket "$socket" \
	"$mine" > "$scratch/log" 2>&1 &
second=$!
ok "a mount in a directory it makes, with a vmctl it starts" wait_for 120 is_up "$mine" || done_testing
own_vmctl=$(pgrep -P "$second" -x vmctl)
within 30 mkdir "$mine/demo"
echo 'nproc; awk "/MemTotal/ { print (\$2 < 204800 && \$2 > 102400) }" /proc/meminfo' > "$mine/demo/bash"
is "$(cat "$mine/demo/stdout")" $'2\n1' "--vcpus and --memory-mib reach the machine"
echo 'df --output=size -B G / | tail -n 1' > "$mine/demo/bash"
like "$(cat "$mine/demo/stdout")" '^ *6[34]G' "and so does --disk-mib"
disk=$(PFFS_TEST_SOCKET=$socket vmctl stat "$(value "$mine/demo/status" vm)" | sed -n 's/^disk_bytes //p')
ok "a disk costs what is written to it: $disk bytes of 64 GiB" [ "$disk" -lt $((8 << 20)) ]
like "$(pffs mount "$mine" 2>&1)" 'mounted already' "a second mount there is refused"
ok "kill -9 of pffs" kill -KILL "$second"
wait "$second" 2> "$scratch/ignored"
not_ok "leaves a mount that answers nothing" is_up "$mine"
ok "and a vmctl that goes on" test -d "/proc/$own_vmctl"
"$build/pffs/pffs" mount --foreground --socket "$socket" "$mine" > "$scratch/log" 2>&1 &
second=$!
ok "the next mount takes that away" wait_for 60 is_up "$mine"
ok "umount" pffs umount "$mine"
wait "$second"
is "$?" 0 "ends pffs well"
ok "and not the vmctl that it found" test -d "/proc/$own_vmctl"
vmctl_gone() {
	[ ! -d "/proc/$own" ]
}
kill "$own_vmctl"
own=$own_vmctl
own_vmctl=
ok "which ends, with its machines, when told to" wait_for 60 vmctl_gone
like "$(pffs umount "$mine" 2>&1)" 'nothing is mounted' "a second umount says that nothing is there"
not_ok "and fails" pffs umount "$mine" 2> "$scratch/ignored"

for bad in "--memory-mib 1" "--memory-mib x" "--vcpus 0" "--vcpus 9" \
	"--disk-mib 63" "--disk-mib 65537" "--nonsense" ""; do
	# shellcheck disable=SC2086 # words
	pffs mount $bad ${bad:+"$mine"} > "$scratch/out" 2>&1
	is "$?" 2 "pffs mount $bad: exit 2"
	like "$(command cat "$scratch/out")" 'see pffs mount --help' "and where to look"
done
like "$(pffs mount --socket /nonexistent/dir/sock "$mine" 2>&1)" '^pffs: ' "a socket that cannot be says why"
like "$(pffs doctor)" 'engine' "doctor tells of the engine"
like "$(PFFS_IMAGES=/nonexistent pffs doctor)" 'guest/images/build' "and which command makes missing images"
like "$(PATH=/nonexistent "$build/pffs/pffs" doctor; echo "$?")" 'ok|bad' "and works without a PATH"
like "$("$build/vmctl/vmctl" probe)" 'kvm|KVM' "vmctl probe says which KVM this is"
ok "in JSON too" bash -c "'$build/vmctl/vmctl' probe --json | python3 -m json.tool > '$scratch/out'"
done_testing
