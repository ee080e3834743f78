#!/bin/bash
# pffs mount, umount and doctor: options, and sentences for what cannot be.
. "$(dirname "$0")/lib.sh"
pffs() {
	within 120 "$build/pffs/pffs" "$@"
}
mine=$scratch/mine
up() {
	within 5 cat "$mine/host" > "$scratch/host" 2>&1
}
"$build/pffs/pffs" mount --foreground --memory-mib 200 --vcpus 2 \
	--socket "$PFFS_TEST_SOCKET" "$mine" > "$scratch/log" 2>&1 &
second=$!
ok "a mount of one's own, in a directory it makes" wait_for 60 up
within 30 mkdir "$mine/demo"
echo 'nproc; awk "/MemTotal/ { print (\$2 < 204800 && \$2 > 102400) }" /proc/meminfo' > "$mine/demo/bash"
is "$(cat "$mine/demo/stdout")" $'2\n1' "--vcpus and --memory-mib reach the machine"
like "$(pffs mount "$mine" 2>&1)" 'mounted already' "a second mount there is refused"
ok "kill -9 of pffs" kill -KILL "$second"
wait "$second" 2> "$scratch/ignored"
not_ok "leaves a mount that answers nothing" up
no_vm() {
	[ "$(vmctl list | grep -cE '^[0-9]+ +running.* demo ')" = 0 ]
}
"$build/pffs/pffs" mount --foreground --socket "$PFFS_TEST_SOCKET" "$mine" > "$scratch/log" 2>&1 &
second=$!
ok "which the next mount takes away" wait_for 60 up
ok "umount" pffs umount "$mine"
wait "$second"
is "$?" 0 "ends pffs well"
like "$(pffs umount "$mine" 2>&1)" 'nothing is mounted' "a second umount says that nothing is there"
not_ok "and fails" pffs umount "$mine" 2> "$scratch/ignored"

for bad in "--memory-mib 1" "--memory-mib x" "--vcpus 0" "--vcpus 9" "--nonsense" ""; do
	# shellcheck disable=SC2086 # words
	pffs mount $bad ${bad:+"$mine"} > "$scratch/out" 2>&1
	is "$?" 2 "pffs mount $bad: exit 2"
	like "$(command cat "$scratch/out")" 'usage: pffs mount' "and how to use it"
done
like "$(pffs mount --socket /nonexistent/dir/sock "$mine" 2>&1)" '^pffs: ' "a socket that cannot be says why"
like "$(pffs doctor)" 'engine' "doctor tells of the engine"
like "$(PFFS_IMAGES=/nonexistent pffs doctor)" 'guest/images/build' "and which command makes missing images"
like "$(PATH=/nonexistent "$build/pffs/pffs" doctor; echo "$?")" 'ok|bad' "and works without a PATH"
like "$("$build/vmctl/vmctl" probe)" 'kvm|KVM' "vmctl probe says which KVM this is"
ok "in JSON too" bash -c "'$build/vmctl/vmctl' probe --json | python3 -m json.tool > '$scratch/out'"
done_testing
