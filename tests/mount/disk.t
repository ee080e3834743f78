#!/bin/bash
# What a sandbox deletes costs its host nothing any more.
. "$(dirname "$0")/lib.sh"
sandbox demo

used() {
	vmctl stat "$(value demo/status vm)" | sed -n 's/^disk_bytes //p'
}
bash_in() { # code on standard input
	command cat > demo/bash && [ "$(cat demo/exit)" = 0 ]
}
less_than() {
	[ "$(used)" -lt "$1" ]
}
ok "a sandbox starts" bash_in <<< true
before=$(used)
ok "200 MiB are written" bash_in <<< 'dd if=/dev/urandom of=/root/big bs=1M count=200 && sync'
full=$(used)
ok "which costs $full bytes instead of $before" [ "$full" -ge $((before + (200 << 20))) ]
ok "and deleted" bash_in <<< 'rm /root/big && sync'
ok "then the host has them back" wait_for 30 less_than $((before + (16 << 20)))
done_testing
