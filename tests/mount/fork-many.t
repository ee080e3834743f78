#!/bin/bash
# A hundred forks at once, each with a life of its own; forks that come and go leave
# nothing behind; and five in the middle of a run outlive their parent. PFFS_LONG=1 makes
# a thousand forks and not two hundred.
[ "${PFFS_LONG:-}" != 1 ] || export PFFS_TEST_FILE_LIMIT=3600
. "$(dirname "$0")/lib.sh"
many=100
rounds=4
[ "${PFFS_LONG:-}" != 1 ] || rounds=36
vmctl_pid=$(pgrep -P "$PFFS_TEST_PID" -x vmctl | head -n 1)
sandbox demo
python demo <<< 'import os; values = list(range(1000))'
is "$?" 0 "a machine with some values"

open_files() { # open_files PID
	find "/proc/$1/fd" -mindepth 1 2> "$scratch/ignored" | wc -l
}
memory() { # memory PID: what it has resident, in KiB
	sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$1/status"
}
stat_of() { # stat_of KEY: of vmctl
	vmctl stat | sed -n "s/^$1 //p"
}
in_use() {
	echo "$(stat_of vms) $(stat_of descriptors) $(open_files "$PFFS_TEST_PID") $(open_files "$vmctl_pid")"
}
files() {
	ls -A "$PFFS_TEST_SPOOL"
}
remove() { # remove NAME...: forks of demo
	local name
	for name; do
		within 30 rmdir "demo/forks/$name" || return
	done
}
fork_and_remove() { # fork_and_remove COUNT: at once
	local names
	within "$wait_limit" "$top/tests/mount/attempt" write demo/forks/.n "$1" > "$scratch/attempt" &&
		[ "$(command cat "$scratch/attempt")" = ok ] || return
	names=$(ls demo/forks)
	[ "$(wc -w <<< "$names")" = "$1" ] || return
	# shellcheck disable=SC2086 # a list of names
	remove $names
}
one_by_one() { # one_by_one COUNT
	local i
	for ((i = 0; i < $1; i++)); do
		within "$wait_limit" mkdir demo/forks/one && within 30 rmdir demo/forks/one || return
	done
}

# What is there when one fork has come and gone, to compare with; machines of the test
# before may still be ending.
settled() {
	before=$(in_use)
	sleep 3
	[ "$(in_use)" = "$before" ]
}
as_before() {
	[ "$(in_use)" = "$before" ]
}
alone() {
	[ "$(stat_of vms)" = "$vms" ]
}
wait_for 60 settled
vms=$(stat_of vms)
ok "a fork comes and goes" one_by_one 1
ok "with its machine" wait_for 60 alone
wait_for 60 settled
spool=$(files)

is "$(within "$wait_limit" "$top/tests/mount/attempt" write demo/forks/.n "$many")" ok "$many forks at once"
mapfile -t names < <(ls demo/forks)
sandboxes=("${names[@]/#/demo/forks/}" "${sandboxes[@]}")
is "${#names[@]}" "$many" "are there"
for name in "${names[@]}"; do
	echo "print($name, len(values), os.getrandom(16).hex())" > "demo/forks/$name/exec"
done
for name in "${names[@]}"; do
	cat "demo/forks/$name/output"
done > "$scratch/said"
is "$(cut -d ' ' -f 1,2 "$scratch/said")" "$(printf '%s 1000\n' "${names[@]}")" \
	"each answers for itself, and has its parent's values"
is "$(cut -d ' ' -f 3 "$scratch/said" | sort -u | wc -l)" "$many" "no two draw the same random number"
is "$(ask demo <<< 'print(sum(values))')" 499500 "the parent goes on"
ok "all are removed" remove "${names[@]}"
ok "and their machines go" wait_for 120 alone
ok "with every descriptor" wait_for 30 as_before || diag "$(in_use), not $before"

# The memory that is in use now may be used again.
resident=$(memory "$PFFS_TEST_PID") available=$(stat_of memory_available)
for ((i = 0; i < rounds; i++)); do
	fork_and_remove 20 || break
	one_by_one 5 || break
done
is "$i" "$rounds" "$((rounds * 25)) more come and go, at once and one by one"
ok "their machines go" wait_for 120 alone
ok "they leave no machine and no descriptor" wait_for 30 as_before || diag "$(in_use), not $before"
is "$(files)" "$spool" "no file"
ok "no memory in pffs" [ "$(memory "$PFFS_TEST_PID")" -lt $((resident + 4096)) ]
given_back() { # a machine that goes on takes some, and gives some back, all the time
	[ "$(stat_of memory_available)" -gt $((available - 64 * 1048576)) ]
}
ok "and none on the host of the machines" wait_for 60 given_back
is "$(ask demo <<< 'print(sum(values))')" 499500 "the parent goes on"

# The parent's process is killed while all are in the middle of a run.
cat > demo/exec <<'CODE'
import time
for i in range(300):
    print(i, flush=True)
    time.sleep(0.1)
CODE
begun() { [ "$(stat -c %s demo/stdout)" -gt 10 ]; }
run=$(value demo/status run)
ok "a run goes on" wait_for "$wait_limit" begun
is "$(within "$wait_limit" "$top/tests/mount/attempt" write demo/forks/.n 'a b c d e')" ok "five forks in it"
sandboxes=(demo/forks/{a,b,c,d,e} "${sandboxes[@]}")
ok "its process is killed" vmctl kill "$(value demo/status vm)" 9
is "$(cat "demo/runs/$run/exit")" 137 "the parent's run ends"
for name in a b c d e; do
	is "$(cat "demo/forks/$name/runs/$run/stdout")" "$(seq 0 299)" "$name goes on to the end"
	is "$(ask "demo/forks/$name" <<< 'print(sum(values))')" 499500 "and answers"
	ok "and can be forked" within "$wait_limit" mkdir "demo/forks/$name/forks/x"
	within 30 rmdir "demo/forks/$name/forks/x"
done
mv demo/forks/* .
ok "a dead parent can be removed when they have moved" within 30 rmdir demo
sandboxes=(a b c d e)
is "$(ask e <<< 'print(sum(values))')" 499500 "they do not need it"
ok "they are removed" within 60 rmdir a b c d e
gone() {
	[ "$(stat_of vms)" = $((vms - 1)) ]
}
ok "and all machines go, also those whose parent had gone before" wait_for 60 gone
done_testing
