#!/bin/bash
# A machine is forked while it works hard: nothing is lost, nothing happens twice, and
# what it had written is whole in both.
. "$(dirname "$0")/lib.sh"
sandboxes+=(demo/forks/{flood,storm,queue,disk,cat,race-{1,2,3,4}})
sandbox demo

larger() { # larger FILE SIZE
	[ "$(stat -c %s "$1")" -gt "$2" ]
}
last_run() {
	value "$1/status" run
}

# 40 MiB on their way out.
echo 'seq 0 5500000' > demo/bash
ok "a flood of output has begun" wait_for "$wait_limit" larger demo/stdout 1000000
ok "the machine is forked in it" within "$wait_limit" mkdir demo/forks/flood
ok "and was not done with it" [ "$(stat -c %s demo/forks/flood/stdout)" -lt 40000000 ]
want=$(seq 0 5500000 | sha256sum)
is "$(cat demo/stdout | sha256sum)" "$want" "the parent's output is whole"
is "$(cat demo/forks/flood/stdout | sha256sum)" "$want" "and the fork's"
is "$(cat demo/forks/flood/exit)" 0 "which ends well"
within 30 rmdir demo/forks/flood

# Many processes with pipes between them, and a write for each line.
storm='for i in 1 2 3 4 5 6 7 8; do seq -f "$i %g" 3000 | sed -u "s/^/line /" & done; wait'
echo "$storm" > demo/bash
ok "a storm of small writes has begun" wait_for "$wait_limit" larger demo/stdout 10000
ok "the machine is forked in it" within "$wait_limit" mkdir demo/forks/storm
want=$(bash -c "$storm" | sort | sha256sum)
is "$(cat demo/stdout | sort | sha256sum)" "$want" "the parent has every line once"
is "$(cat demo/forks/storm/stdout | sort | sha256sum)" "$want" "and the fork"
within 30 rmdir demo/forks/storm

# Runs that wait have their turn in both.
python demo <<< 'import time; turns = []'
for i in {1..30}; do
	echo "turns.append($i); time.sleep(0.05)" > demo/exec
done
last=$(last_run demo)
ok "a machine with runs in its queue is forked" within "$wait_limit" mkdir demo/forks/queue
for machine in demo demo/forks/queue; do
	is "$(cat "$machine/runs/$last/exit")" 0 "$machine: the last of them ends"
	is "$(ask "$machine" <<< 'print(*turns)')" "$(echo {1..30})" "$machine: each had one turn, in order"
done
within 30 rmdir demo/forks/queue

# Runs that begin while a fork is being made are the parent's, or both's.
# A run that the fork believed to have, and its machine had never been sent, had no end.
for i in 1 2 3 4; do
	within "$wait_limit" mkdir "demo/forks/race-$i" &
	fork=$!
	for _ in {1..10}; do
		echo pass > demo/exec
		sleep 0.02
	done
	wait "$fork" || fail "mkdir demo/forks/race-$i"
done
is "$(cat demo/exit)" 0 "runs that began around forks end"
for i in 1 2 3 4; do
	is "$(ask "demo/forks/race-$i" <<< "print($i)")" "$i" "and fork $i runs what it is given"
	within 30 rmdir "demo/forks/race-$i"
done

# Standard input in the middle.
feed() {
	local i
	for i in {1..40}; do
		seq $((i * 5000)) $((i * 5000 + 4999))
		sleep 0.1
	done
}
exec 3> demo/stdin
echo cat > demo/bash
feed >&3 &
feeder=$!
ok "a run reads what it is fed" wait_for "$wait_limit" larger demo/stdout 100000
ok "it is forked" within "$wait_limit" mkdir demo/forks/cat
echo "the end" > demo/forks/cat/stdin
wait "$feeder"
exec 3>&-
want=$(seq 5000 204999)
is "$(cat demo/stdout | sha256sum)" "$(sha256sum <<< "$want")" "the parent reads all of it"
is "$(cat demo/forks/cat/stdout | tail -n 1)" "the end" "the fork what it is fed itself"
cat demo/forks/cat/stdout | head -n -1 > "$scratch/before"
size=$(stat -c %s "$scratch/before")
ok "behind what its parent had been fed" [ "$size" -gt 100000 ]
is "$(sha256sum < "$scratch/before")" "$(head -c "$size" <<< "$want" | sha256sum)" "which is whole"
within 30 rmdir demo/forks/cat

# Files that are written, made durable and given their names without a pause.
cat > "$scratch/write" <<'CODE'
import hashlib, os
os.mkdir("/root/disk")
os.chdir("/root/disk")
sums = open("sums", "w")
for n in range(5000):
    content = os.urandom(50000 + 1000 * (n % 100))
    with open("new", "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.rename("new", str(n))
    if n >= 40:
        os.unlink(str(n - 40))
    sums.write("%s  %d\n" % (hashlib.sha256(content).hexdigest(), n))
    sums.flush()
    os.fsync(sums.fileno())
    print(n, flush=True)
CODE
command cat "$scratch/write" > demo/exec
ok "files are being written" wait_for "$wait_limit" larger demo/stdout 100
before=$(head -c "$(stat -c %s demo/stdout)" demo/stdout | wc -l)
ok "the machine is forked in it" within "$wait_limit" mkdir demo/forks/disk
size=$(stat -c %s demo/forks/disk/stdout)
ok "it goes on in the parent" wait_for "$wait_limit" larger demo/stdout $((size + 30))
ok "and in the fork" wait_for "$wait_limit" larger demo/forks/disk/stdout $((size + 30))
for machine in demo demo/forks/disk; do
	echo interrupt > "$machine/ctl"
	is "$(cat "$machine/exit")" 130 "$machine: it is stopped"
	cat > "$machine/bash" <<-'CODE'
	cd /root/disk && sync && echo 3 > /proc/sys/vm/drop_caches
	tail -n 39 sums | sha256sum --quiet -c && echo whole
	dmesg | grep -iE 'ext4.*error|i/o error'
	CODE
	is "$(cat "$machine/output")" whole "$machine: every file is whole on the disk"
	echo 'cat /root/disk/sums' > "$machine/bash"
	cat "$machine/stdout" > "$scratch/sums-${machine##*/}"
done
is "$(head -n "$before" "$scratch/sums-disk")" "$(head -n "$before" "$scratch/sums-demo")" \
	"what was written before the fork is the same in both"
not_ok "and what came later is not" cmp -s "$scratch/sums-disk" "$scratch/sums-demo"
done_testing
