#!/bin/bash
# Nothing that should be unique is the same in two machines, be they parent and fork or
# two forks: names, identities, and what every generator of random numbers gives.
. "$(dirname "$0")/lib.sh"
children=(demo/forks/a demo/forks/b demo/forks/c demo/forks/d demo/forks/e)
sandboxes+=("${children[@]}")

# all_differ KEY NAME: each machine printed one line KEY VALUE, and no two the same.
all_differ() {
	local values
	values=$(awk -v key="$1" '$2 == key { print $3 }' "$scratch/said" | grep . | sort -u)
	is "$(wc -l <<< "$values")" "${#machines[@]}" "$2" || diag "$(command cat "$scratch/said")"
}

# Generators that have been used have a state.
sandbox demo
python demo <<'CODE'
import os, random, secrets, socket, ssl, subprocess, sys, threading, uuid
from queue import Queue
work, done = Queue(), Queue()
def worker():
    while True:
        done.put(work.get()())
threading.Thread(target=worker, daemon=True).start()
work.put(lambda: ssl.RAND_bytes(8))
done.get()
random.random(), random.gauss(0, 1), uuid.uuid4(), ssl.RAND_bytes(8), secrets.token_hex()
def tell(key, value):
    print(key, value)

def first_line(path):
    return open(path).readline().strip()
CODE
is "$?" 0 "a machine that has used its generators"
for child in "${children[@]}"; do
	ok "mkdir $child" within "$wait_limit" mkdir "$child" || done_testing
done
machines=(demo "${children[@]}")
in_all <<'CODE'
work.put(lambda: ssl.RAND_bytes(16).hex())
tell("thread-ssl", done.get())
tell("random", random.random())
tell("gauss", random.gauss(0, 1))
tell("uuid4", uuid.uuid4())
tell("ssl", ssl.RAND_bytes(16).hex())
tell("secrets", secrets.token_hex())
tell("getrandom", os.getrandom(16).hex())
tell("urandom", open("/dev/urandom", "rb", 0).read(16).hex())
tell("kernel-uuid", first_line("/proc/sys/kernel/random/uuid"))
tell("new-process", subprocess.check_output(
    [sys.executable, "-c", "import random; print(random.random())"], text=True).strip())
tell("hostname", socket.gethostname())
tell("etc-hostname", first_line("/etc/hostname"))
tell("machine-id", first_line("/etc/machine-id"))
CODE
all_differ random "random.random() differs everywhere"
all_differ gauss "random.gauss(), which keeps one in reserve, too"
all_differ uuid4 "uuid4"
all_differ ssl "OpenSSL's generator"
all_differ thread-ssl "OpenSSL's generator of another thread"
all_differ secrets "secrets"
all_differ getrandom "getrandom"
all_differ urandom "/dev/urandom"
all_differ kernel-uuid "the kernel's uuid"
all_differ new-process "random in a process that starts after the fork"
all_differ hostname "the host name"
all_differ etc-hostname "/etc/hostname"
all_differ machine-id "machine-id"
for machine in "${machines[@]}"; do
	echo "$machine id $(value "$machine/status" id)"
done > "$scratch/said"
all_differ id "the id"

# A run that goes on: what it draws once the fork is reported, no other machine draws.
cat > "$scratch/draw" <<'CODE'
import time
while True:
    print(random.getrandbits(64), flush=True)
    time.sleep(0.02)
CODE
command cat "$scratch/draw" > demo/exec
drawn() { [ "$(stat -c %s "$1/stdout")" -gt "$2" ]; }
ok "a run draws numbers" wait_for "$wait_limit" drawn demo 100
ok "and is forked" within "$wait_limit" mkdir demo/forks/busy
sandboxes=(demo/forks/busy "${sandboxes[@]}")
size=$(stat -c %s demo/stdout) its_size=$(stat -c %s demo/forks/busy/stdout)
ok "it goes on in both" wait_for "$wait_limit" drawn demo $((size + 800))
ok "the fork, too" wait_for "$wait_limit" drawn demo/forks/busy $((its_size + 800))
echo kill > demo/ctl
echo kill > demo/forks/busy/ctl
for machine in demo demo/forks/busy; do
	cat "$machine/stdout" | tail -n 20
done | sort | uniq -d > "$scratch/twice"
is "$(command cat "$scratch/twice")" "" "and draws other numbers"

[ -d templates/python-datasci ] || done_testing
where=templates/python-datasci/forks
sandbox "$where/np"
sandboxes=("$where/np/forks/a" "$where/np/forks/b" "$where/np/forks/c" "${sandboxes[@]}")
echo 'np.random.random(), np.random.normal()' > "$where/np/exec"
is "$(cat "$where/np/exit")" 0 "a machine with numpy"
ok "is forked" within "$wait_limit" mkdir "$where/np/forks/a"
ok "twice" within "$wait_limit" mkdir "$where/np/forks/b"
machines=("$where/np" "$where/np/forks/a" "$where/np/forks/b")
in_all <<< 'print("numpy", np.random.random()); print("normal", np.random.normal())'
all_differ numpy "numpy.random differs everywhere"
all_differ normal "numpy.random.normal(), which keeps one in reserve, too"

# A new REPL has seeded itself long before it has imported all that it starts with.
echo reset > "$where/np/ctl"
ok "one is forked while its REPL starts" within "$wait_limit" mkdir "$where/np/forks/c"
machines=("$where/np" "$where/np/forks/c")
wait_limit=900 # both import all that at once
in_all <<< 'import random; print("random", random.random()); print("numpy", np.random.random())'
all_differ random "random differs there as well"
all_differ numpy "and numpy.random"
done_testing
