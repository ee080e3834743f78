#!/bin/bash
# Memory that programs in a sandbox free goes back to the host.
. "$(dirname "$0")/lib.sh"
sandbox demo

used() {
	vmctl stat "$(value demo/status vm)" | sed -n 's/^memory_bytes //p'
}
less_than() {
	[ "$(used)" -lt "$1" ]
}
ok "a sandbox starts" python demo <<< 'size = 200 << 20'
before=$(used)
ok "200 MiB are used" python demo <<< 'data = bytearray(size); data[::4096] = b"x" * (size // 4096)'
full=$(used)
ok "which takes $full bytes instead of $before" [ "$full" -gt $((before + (150 << 20))) ]
ok "and freed" python demo <<< 'del data'
ok "then the host has them back" wait_for 60 less_than $((full - (150 << 20)))
ok "and they can be used again" python demo <<< 'data = b"y" * size; assert data.count(b"y") == size'
done_testing
