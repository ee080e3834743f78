#!/bin/bash
# A guest that is root and says what it likes on its wire, and a peer that it would like to reach:
# what the hosts of the internet receive, and what the peer hears, is nothing of that.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) || exit 1
. "$here/alone.sh"
[ -n "${PFFS_NET_WORK:-}" ] || in_world "$here/../mount/setup" bash "$here/hostile.t"
. "$here/../mount/lib.sh"
received=$PFFS_NET_WORK/received

# say SANDBOX CODE: what the code prints in the sandbox, all on one line.
say() {
	echo "$2" > "$1/exec"
	paste -sd " " < <(cat "$1/output")
}

# came MARK: to the internet, soon.
# shellcheck disable=SC2317 # ok calls it
came() {
	wait_for 20 grep -qF -e "$1" "$received"
}

# nothing_came FILE WHERE: of what FILE lists, a mark and what is hostile about it a line.
nothing_came() {
	local mark what
	while read -r mark what; do
		not_ok "$what: does not come" grep -qF -e "$mark" "$received"
	done < "$1"
}

sandbox demo peer
for name in demo peer; do
	{
		command cat "$here/guest.py" "$here/../unit/frames_kit.py"
		echo 'frames = Frames("11.0.0.1", "2a0a:1::1")'
		echo 'wire = Wire("eth0")'
	} > "$name/exec"
	is "$(cat "$name/output")" "" "a sandbox, $name, with its own ideas"
done
is "$(say demo 'print(os.geteuid(), web("11.0.0.1"))') $(say peer 'print(web("11.0.0.1"))')" \
	"0 11.0.0.1 11.0.0.1" "both have the internet, and root"
say demo 'wire.send(ethernet(frames.ip4(frames.udp(b"honest-four"))), ethernet(frames.ip6(frames.udp6(b"honest-six")), IP6))' > "$scratch/said"
ok "what it says on the wire itself comes" came honest-four
ok "by IPv6 as well" came honest-six

# Whatever the policy.
say demo 'evil = frames.hostile(); wire.send(*sum(evil.values(), []), *frames.cut_off())' > "$scratch/said"
echo 'for what, each in evil.items(): print(next(filter(None, map(marked, each))).decode(), what)' > demo/exec
cat demo/output > "$scratch/evil"
is "$(say demo 'print(wire.send_long(frames.oversized()))')" 3 "frames of up to 60,000 bytes are sent"
echo "evil-long longer than the link takes" >> "$scratch/evil"
say demo 'wire.send(ethernet(frames.ip4(frames.udp(b"after-all"))))' > "$scratch/said"
ok "an honest one comes after all that" came after-all
ok "there was much that is hostile" [ "$(wc -l < "$scratch/evil")" -gt 25 ]
nothing_came "$scratch/evil"

# Who else has an address.
say demo 'wire.seen.clear()
wire.send(*(ethernet(each, 0x0806) for each in (
    arp(OTHER_MAC, "198.18.0.1", 2), arp(GUEST_MAC, "198.18.0.1", 2), arp(GUEST_MAC, "198.19.0.1", 2),
    arp(GUEST_MAC, "198.18.0.2", wanted="198.19.0.1"), arp(GUEST_MAC, "198.18.0.9"), arp(GUEST_MAC, "198.18.0.2"))))' > "$scratch/said"
is "$(say demo 'print(wire.replies(0x0806))')" 1 "ARP: the gateway answers for itself alone, and who the guest is"
is "$(say demo 'print(web("11.0.0.1"), names("web.test"))') $(say peer 'print(web("11.0.0.1"), names("web.test"))')" \
	"11.0.0.1 11.0.0.1 11.0.0.1 11.0.0.1" "nobody believed that it was another one"

# Its own policy, by fragments.
printf '%s\n' '11.0.0.1:7' '[2a0a:1::1]:7' > demo/net/allow
echo allow > demo/net/egress
sleep 2 # within a second; this machine may be busy
is "$(say demo 'print(udp("11.0.0.1"), udp("2a0a:1::1"), web("11.0.0.1"), web("2a0a:1::1"))')" \
	"answered answered ConnectionRefusedError ConnectionRefusedError" "a port is open, and no other"
say demo 'evil = frames.evasions(7, 4001); wire.send(*sum(evil.values(), []))
whole = frames.udp(b"put-together" * 10, port=7)
wire.send(*frames.pieces4((0, whole[:64], True), (64, whole[64:], False)))' > "$scratch/said"
ok "fragments for the open one come" came put-togetherput-together
echo 'for what, each in evil.items(): print(next(filter(None, map(marked, each))).decode(), "a closed port,", what)' > demo/exec
cat demo/output > "$scratch/evil"
ok "there were some for a closed one" [ "$(wc -l < "$scratch/evil")" -ge 8 ]
nothing_came "$scratch/evil"
is "$(say demo 'print(web("::ffff:11.0.0.1"), web("::ffff:11.0.0.1", 8080), web("::ffff:10.0.0.5"))')" \
	"ConnectionRefusedError ConnectionRefusedError ConnectionRefusedError" "IPv4 that is written as IPv6 opens nothing"
echo on > demo/net/egress
sleep 2 # within a second; this machine may be busy

# The other sandbox, which has a server at all of its addresses; those in the hub begin with 16.
say peer 'tcp, datagrams = open_to_all(8000)' > "$scratch/said"
is "$(say peer 'print(knock(["127.0.0.1", "198.18.0.2", "::1"], 8000), heard(tcp, datagrams, 3))')" \
	"3 connected 3 3" "a server of another sandbox can be reached there"
is "$(say demo 'print(knock(["198.18.0.2", "198.18.0.1", "fd70:6666:7300::2", "fd70:6666:7300::1"], 8000))')" \
	"4 refused" "not at its inner address, which is everybody's own"
is "$(say demo 'print(knock([f"198.19.0.{n}" for n in range(16, 80)], 8000))')" "64 refused" "nor in the hub, by IPv4"
is "$(say demo 'print(knock([f"fd70:6666:7300:1::{n:x}" for n in range(16, 80)], 8000))')" "64 refused" "nor by IPv6"
say demo 'evil = [ethernet(frames.ip4(frames.udp(b"evil-peer", port=8000), to=f"198.19.0.{n}")) for n in range(16, 80)]
evil += [ethernet(frames.ip6(frames.udp(b"evil-peer", port=8000), to=f"fd70:6666:7300:1::{n:x}"), IP6) for n in range(16, 80)]
wire.send(*evil)' > "$scratch/said"
is "$(say peer 'time.sleep(1); print(len(tcp), len(datagrams))')" "3 3" "its server has heard nobody else"
is "$(say peer 'print([bytes(frame) for frame in wire.seen if b"evil-" in frame])')" "[]" \
	"and its wire nothing of what the other sent"

# After all that.
is "$(say demo 'print(web("11.0.0.1"), udp("11.0.0.1"), names("web.test"))') $(say peer 'print(web("11.0.0.1"), udp("11.0.0.1"), names("web.test"))')" \
	"11.0.0.1 answered 11.0.0.1 11.0.0.1 answered 11.0.0.1" "the network of both goes on"
# A kernel that gets an address says so, without one or by one of its link.
is "$(cut -d ' ' -f 2 "$received" | grep -vxE 'fe80:.*|::' | sort -u | paste -sd ' ')" "11.1.0.2 2a0a:2::2" \
	"whoever the internet heard of was the host"
is "$(cut -d ' ' -f 3 "$received" | grep -E '^(10|127|169|172|192|198|fc|fd|::)' | sort -u)" "" \
	"and nothing was for an address that is closed"
done_testing
