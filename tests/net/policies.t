#!/bin/bash
# The network of sandboxes, by what gets through and what does not: hosts in network namespaces
# stand for the internet (world, internet.py), and programs in sandboxes try to reach them.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) || exit 1
. "$here/alone.sh"
[ -n "${PFFS_NET_WORK:-}" ] || in_world "$here/../mount/setup" bash "$here/policies.t"
. "$here/../mount/lib.sh"
wait_limit=400 # seconds: pip on an emulated host that is busy

# say SANDBOX CODE: what the code prints in the sandbox, all on one line.
say() {
	echo "$2" > "$1/exec"
	paste -sd " " < <(cat "$1/output")
}

# reaches NAME WANTED CODE: what it prints in demo is that.
reaches() {
	is "$(say demo "$3")" "$2" "$1"
}

# change SANDBOX FILE: what its policy is, from standard input. That takes effect within a second,
# and this machine may be busy with others.
change() {
	command cat > "$1/net/$2"
	sleep 2
}

# talk: what the internet received of programs that talk all the time, and when, by its own clock,
# which is this one.
talk() {
	grep -F live-talk "$PFFS_NET_WORK/received"
}

# logged PATTERN: a line of demo's log, which comes soon.
# shellcheck disable=SC2317 # ok calls it
logged() {
	wait_for 20 grep -qE "$1" demo/net/log
}

sandbox demo
command cat "$here/guest.py" > demo/exec
is "$(cat demo/output)" "" "a sandbox"

# on: whatever is not closed.
is "$(cat demo/net/egress)" on "has the internet"
reaches "by IPv4, by IPv6, and by name" "11.0.0.1 2a0a:1::1 11.0.0.1" \
	'print(web("11.0.0.1"), web("2a0a:1::1"), web("alias.test") and web("11.0.0.1"))'
reaches "names are resolved, with aliases and wildcards; others are not" \
	"11.0.0.1 11.0.0.3 11.0.0.20 unresolved" 'print(names("web.test", "alias.test", "any.wild.test", "no.test"))'
reaches "other resolvers by UDP, TCP, TLS and HTTPS" udp+tcp+tls+https 'print(resolver("11.0.0.54"))'
reaches "by default the host's is asked" 11.0.0.1 'print(names("which.test"))'
reaches "UDP as well" "answered answered" 'print(udp("11.0.0.1"), udp("2a0a:1::1"))'
reaches "a private network and the metadata of a cloud are shut, also by a name" \
	"ConnectionRefusedError ConnectionRefusedError ConnectionRefusedError ConnectionRefusedError" \
	'print(web("10.0.0.5"), web("169.254.169.254"), web("private.test"), web("metadata.test"))'
reaches "so are the host's own addresses, and its loopback behind any gateway" \
	"ConnectionRefusedError ConnectionRefusedError ConnectionRefusedError" \
	'print(web("11.1.0.2", 8080), web("2a0a:2::2", 8080), web("198.18.255.2", 8080))'
change demo allow <<< 10.0.0.5:80
reaches "unless an address opens it, at its ports" "10.0.0.5 10.0.0.5 ConnectionRefusedError" \
	'print(web("10.0.0.5"), web("private.test"), web("10.0.0.5", 8080))'
ok "connections are logged, with the name that led there" logged '"action": *"allow".*"11.0.0.3".*"alias.test"|"name": *"alias.test"'
ok "and what is shut, with the reason" logged '169.254.169.254.*closed range'

# A change holds for what is open.
reaches "connections go on" "alive alive" \
	's = Stream("11.0.0.1"); six = Stream("2a0a:1::1"); print(s.state(), six.state())'
reaches "and programs talk" "None None" \
	'talk = [Talk(host, b"live-talk") for host in ("11.0.0.1", "2a0a:1::1")]; time.sleep(1); print(*(each.end for each in talk))'
# How long this machine itself stood still at most in that time, in ms.
python3 -c 'import time
last, most, end = time.monotonic(), 0, time.monotonic() + 5
while last < end:
    time.sleep(0.01)
    now = time.monotonic()
    most, last = max(most, now - last), now
print(round(most * 1000))' > "$scratch/still" &
watching=$!
sleep 1
echo off > demo/net/egress
changed=$EPOCHREALTIME
wait "$watching"
talk | sort -k 2,4 -u | cut -d ' ' -f 2-4 > "$scratch/flows"
is "$(wc -l < "$scratch/flows")" 4 "which came, by TCP and UDP, IPv4 and IPv6" || diag "$(cat "$scratch/flows")"
after=$(talk | tail -n 1 | awk -v "from=$changed" '{ printf "%d", ($1 - from) * 1000 }')
echo "# the last of it came $after ms after the change"
ok "a second after a change nothing comes" [ "$after" -lt $((1000 + $(command cat "$scratch/still"))) ]
reaches "and who sends is told" "ConnectionResetError ConnectionResetError" \
	'print(*(each.end for each in talk)); talk[0].over = talk[1].over = True'
reaches "until the policy is off: then they are cut" "True True" 'print(s.cut(), six.cut())'
reaches "nothing leaves, and nothing is resolved" "ConnectionRefusedError unresolved ConnectionRefusedError" \
	'print(web("11.0.0.1"), web("web.test"), web("2a0a:1::1"))'
reaches "the interface stays" "True" 'print("198.18.0.2" in open("/proc/net/fib_trie").read())'
ok "which the log says" logged '"action": *"deny".*egress off'

# allow: what an entry names, and nothing else.
: > demo/net/allow
change demo egress <<< allow
reaches "an empty list is nothing" "ConnectionRefusedError unresolved" 'print(web("11.0.0.1"), web("web.test"))'
change demo allow <<< fresh.test
reaches "a name is shut until it is asked for" "ConnectionRefusedError 11.0.0.12 11.0.0.12" \
	'print(web("11.0.0.12"), web("fresh.test"), web("11.0.0.12"))'
reaches "others stay shut: names, addresses, resolvers in any way" "unresolved ConnectionRefusedError none none" \
	'print(web("other.test"), web("11.0.0.2"), resolver("11.0.0.54"), resolver("11.0.0.53"))'
printf '%s\n' '*.wild.test' other.test:8080 | change demo allow
reaches "a wildcard is any name below it, and a port is that port" "11.0.0.20 unresolved ConnectionRefusedError True" \
	'print(web("a.b.wild.test"), web("wild.test"), web("other.test"), web("other.test", 8080) in ("11.0.0.2", "2a0a:1::2"))'
printf '%s\n' 11.0.0.0/30 '[2a0a:1::/64]:80' | change demo allow
reaches "a range is its addresses" "11.0.0.1 11.0.0.2 ConnectionRefusedError 2a0a:1::2 ConnectionRefusedError" \
	'print(web("11.0.0.1"), web("11.0.0.2"), web("11.0.0.4"), web("2a0a:1::2"), web("2a0a:1::2", 8080))'
ok "what was denied is in the log" logged '"action": *"deny".*not in allow'
ok "and the names" logged '"proto": *"dns".*other.test|other.test.*"proto": *"dns"'

# Forks.
: > demo/net/allow
change demo egress <<< on
is "$(say demo 's = Stream("11.0.0.1"); server = socket.create_server(("127.0.0.1", 8000)); print(s.state())')" \
	alive "a connection is open"
ok "a fork is made" mkdir demo/forks/x
is "$(say demo/forks/x 'print(s.cut())')" True "whose copy of it is cut"
is "$(say demo 'print(s.state())')" alive "while the parent's goes on"
is "$(say demo/forks/x 'print(web("11.0.0.1"), socket.create_connection(("127.0.0.1", 8000)) and "listens")')" \
	"11.0.0.1 listens" "the fork has the network, and sockets that listen go on"
change demo/forks/x egress <<< allow
is "$(say demo/forks/x 'print(web("11.0.0.1"))') $(say demo 'print(web("11.0.0.1"))')" "ConnectionRefusedError 11.0.0.1" \
	"a child's policy is its own"

# Secrets.
change demo secrets <<< "api.test X-Key: of-the-host"
reaches "a secret is a header of what goes to its domain" "of-the-host" 'print(headers("api.test").get("x-key"))'
not_ok "and is not read back" grep -q of-the-host demo/net/secrets
reaches "nor does it go to the domain's address, or to others" "None None" \
	'print(headers("11.0.0.10", "api.test", trust=False).get("x-key"), headers("web.test", trust=False).get("x-key"))'

# What it is for.
is "$(echo 'pip install -q --disable-pip-version-check --root-user-action ignore --index-url http://index.test/simple/ --trusted-host index.test hello-test && python3 -c "import hello_test; print(hello_test.WORD)"' > demo/bash; cat demo/output)" \
	installed "pip installs a package from an index"
is "$(echo 'git clone -q http://index.test/hello.git && cat hello/word' > demo/bash; cat demo/output)" \
	cloned "git clones a repository"
is "$(echo 'curl -s http://index.test/hello.git/HEAD' > demo/bash; cat demo/output)" \
	"ref: refs/heads/main" "curl gets a file"
done_testing
