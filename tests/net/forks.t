#!/bin/bash
# A hundred forks at once have the network, and nothing is left of those that come and go. What there
# of slots is what the kernel has of them, as `vmctl stat` tells it. A thousand in all; with PFFS_LONG=1
# ten thousand.
# shellcheck disable=SC2317 # ok and wait_for call them
export PFFS_TEST_FILE_LIMIT=1450
[ "${PFFS_LONG:-}" != 1 ] || PFFS_TEST_FILE_LIMIT=7000
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) || exit 1
. "$here/alone.sh"
[ -n "${PFFS_NET_WORK:-}" ] || in_world "$here/../mount/setup" bash "$here/forks.t"
. "$here/../mount/lib.sh"
wait_limit=400 # seconds: a hundred runs at once on the one processor of an emulated host
many=100
rounds=18
each=50
[ "${PFFS_LONG:-}" != 1 ] || rounds=198

# in_use: the slots that are not free, and the descriptors that are not a slot's, which has one.
in_use() {
	local all free descriptors
	read -r all free descriptors < <(vmctl stat |
		sed -n -E 's/^(slots|slots_free|net_descriptors) //p' | paste -sd ' ')
	echo "$((all - free)) $((descriptors - all))"
}

in_use_are() {
	[ "$(in_use)" = "$1" ]
}

slots_are() {
	[[ $(in_use) == "$1 "* ]]
}

# settled: there is what there was a moment ago.
settled() {
	local now
	now=$(in_use)
	sleep 1
	in_use_are "$now"
}

# make COUNT: forks of demo, at once, which are all there is in ${forks[@]}.
make() {
	echo "$1" > demo/forks/.n && forks=(demo/forks/*) && [ "${#forks[@]}" = "$1" ]
}

connected() {
	[ "$(grep -lx 'connected yes' "${forks[@]/%//net/status}" | wc -l)" = "${#forks[@]}" ]
}

# fetch SANDBOX...: all at once; how many there are of each answer.
fetch() {
	local sandbox
	for sandbox; do
		echo 'print(web("11.0.0.1"))' > "$sandbox/exec"
	done
	for sandbox; do
		cat "$sandbox/output"
	done | sort | uniq -c | sed 's/^ *//'
}

remove() {
	within 120 rmdir "${forks[@]}"
}

come_and_go() {
	make "$each" && wait_for "$wait_limit" connected && [ "$(fetch "${forks[@]:0:2}")" = "2 11.0.0.1" ] && remove
}

sandbox demo
{
	command cat "$here/guest.py"
	echo PATIENCE = 300
} > demo/exec
is "$(cat demo/output)" "" "a sandbox"
is "$(fetch demo)" "1 11.0.0.1" "with the network"
ok "has a slot" wait_for "$wait_limit" slots_are 1
wait_for "$wait_limit" settled
before=$(in_use)

ok "$many forks at once" make "$many" || diag "$(cat demo/error demo/status)"
ok "each says that it is connected" wait_for "$wait_limit" connected
ok "by a slot of its own" wait_for "$wait_limit" slots_are $((many + 1))
is "$(fetch "${forks[@]}")" "$many 11.0.0.1" "all have the internet at once"
ok "they are removed" remove
ok "with their slots" wait_for "$wait_limit" in_use_are "$before" || diag "$(in_use), and before $before"

for ((round = 0; round < rounds; round++)); do
	come_and_go || break
done
is "$round" "$rounds" "$((rounds * each)) more are connected, at $each a time, and removed" || diag "$(in_use; cat demo/error)"
ok "no slot, link or descriptor is left of them" wait_for "$wait_limit" in_use_are "$before" || diag "$(in_use), and before $before"
is "$(fetch demo)" "1 11.0.0.1" "their parent has the network yet"
done_testing
