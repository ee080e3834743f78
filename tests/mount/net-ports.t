#!/bin/bash
# net/ports: programs of a sandbox are reached from outside, by sockets in the mount and ports
# of the host's loopback.
. "$(dirname "$0")/lib.sh"
export PYTHONPATH=$top/tests/mount PYTHONDONTWRITEBYTECODE=1

# good NAME: the Python on standard input ends well.
good() {
	{ echo 'from ports_kit import *'; command cat; } > "$scratch/code.py"
	ok "$1" within "$wait_limit" python3 "$scratch/code.py"
}

# ask PATH [ADDRESS]: what the web server in the sandbox answers, by a socket or an address.
ask() {
	local path=$1
	shift
	curl -sS --max-time 60 "$@" "http://${host:-sandbox}/$path"
}

sandbox demo
is "$(ls demo/net | grep -cx ports)" 1 "a sandbox has net/ports"
is "$(cat demo/net/ports)" "" "which begins empty"
command cat "$top/tests/mount/ports_server.py" > demo/exec
is "$(cat demo/stdout)" "up" "programs listen in the sandbox"
echo 8000 > demo/net/ports
is "$(cat demo/net/ports)" 8000 "a port is set"
ok "which is a socket at once" test -S demo/net/8000
is "$(ask hello --unix-socket demo/net/8000)" "web hello" "by which the server is reached"
echo 8001 >> demo/net/ports
is "$(paste -sd ' ' demo/net/ports)" "8000 8001" "another one is added"
is "$(ls demo/net | grep -E '^[0-9]' | paste -sd ' ')" "8000 8001" "and both are there"
not_ok "a line that is wrong is refused" bash -c 'echo http > demo/net/ports' 2> "$scratch/ignored"
like "$(cat demo/error)" "1 to 65535" "as the error says"
like "$(bash -c 'echo "8000 0.0.0.0:8000" > demo/net/ports' 2>&1)" "Operation not permitted" \
	"so is an address that others can reach"
is "$(paste -sd ' ' demo/net/ports)" "8000 8001" "and nothing has changed"
not_ok "nobody but pffs makes sockets there" python3 -c '
import socket; socket.socket(socket.AF_UNIX).bind("demo/net/9000")' 2> "$scratch/ignored"

good "megabytes go both ways, whole, and each direction ends by itself" <<'CODE'
for size in (0, 1, 65536, 3_000_000):
    data = os.urandom(size)
    with connect("demo/net/8001") as s:
        flow = threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR)))
        flow.start()
        got = read_all(s)
        flow.join()
    assert got == data, (size, len(got))
CODE
good "fifty connections at a time do not mix" <<'CODE'
connections = [connect("demo/net/8001") for _ in range(50)]
for number, s in enumerate(connections):
    s.sendall(b"%d " % number * 100)
    s.shutdown(socket.SHUT_WR)
for number, s in enumerate(connections):
    assert read_all(s) == b"%d " % number * 100, number
    s.close()
CODE
good "a client that reads nothing holds nobody up" <<'CODE'
with connect("demo/net/8000") as s:
    s.sendall(b"GET /flood HTTP/1.0\r\n\r\n")
    time.sleep(1)
    assert b"web hello" in request("demo/net/8000", "hello")
    with open("demo/bash", "w") as f:
        f.write("echo still here")
    with open("demo/stdout") as f:
        assert f.read() == "still here\n"
CODE
echo 8002 >> demo/net/ports
not_ok "a port at which nobody listens is refused" ask hello --unix-socket demo/net/8002 2> "$scratch/ignored"
like "$(cat demo/error)" "port 8002.*refused" "as the error says"

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
ok "a port of the loopback can be had as well" bash -c "echo '8000 127.0.0.1:$port' > demo/net/ports"
is "$(host=127.0.0.1:$port ask loop)" "web loop" "by which the server is reached"
is "$(ask both --unix-socket demo/net/8000)" "web both" "and by the socket"
sandbox other
like "$(bash -c "echo '8000 127.0.0.1:$port' > other/net/ports" 2>&1)" "Address already in use" "it is had once"
like "$(cat other/error)" "127.0.0.1:$port" "as the error says"

if command -v bwrap > "$scratch/ignored"; then
	is "$(bwrap --ro-bind / / --dev /dev --bind "$PWD/demo" /mnt --unshare-net --unshare-pid \
		curl -sS --max-time 60 --unix-socket /mnt/net/8000 http://sandbox/inside)" "web inside" \
		"from a container that has the sandbox bound, without a network"
fi

only=$scratch/only
mkdir "$only"
ok "the sandbox is mounted by itself" within 60 "$build/pffs/pffs" mount --only "$PWD/demo" "$only" 2> "$scratch/ignored"
is "$(ls "$only/net" | grep -E '^[0-9]')" 8000 "which has the socket as well"
is "$(ask only --unix-socket "$only/net/8000")" "web only" "by which the server is reached"
is "$(ask again --unix-socket "$only/net/8000")" "web again" "more than once"
is "$(ask first --unix-socket demo/net/8000)" "web first" "as it is by the other"
not_ok "nobody else makes sockets there" python3 - "$only" <<'CODE' 2> "$scratch/ignored"
import socket, sys
socket.socket(socket.AF_UNIX).bind(sys.argv[1] + "/.port-0")
CODE
if command -v bwrap > "$scratch/ignored"; then
	is "$(bwrap --ro-bind / / --dev /dev --bind "$only" /mnt --unshare-net --unshare-pid \
		curl -sS --max-time 60 --unix-socket /mnt/net/8000 http://sandbox/inside)" "web inside" \
		"also from a container that has nothing but that mount"
fi

echo 8001 >> demo/net/ports
good "what flows by a mount of its own is whole, too" <<CODE
data = os.urandom(3_000_000)
with connect("$only/net/8001") as s:
    flow = threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR)))
    flow.start()
    assert read_all(s) == data
    flow.join()
CODE
good "a fork has the ports and none of the connections, which go on in the parent" <<'CODE'
with connect("demo/net/8001") as s:
    s.sendall(b"before ")
    assert s.recv(100) == b"before "
    os.mkdir("demo/forks/x")
    s.sendall(b"after")
    s.shutdown(socket.SHUT_WR)
    assert read_all(s) == b"after"
with open("demo/forks/x/net/ports") as f:
    assert f.read() == "8000\n8001\n", "the loopback stays the parent's"
assert b"web child" in request("demo/forks/x/net/8000", "child")
CODE
is "$(ask child --unix-socket "$only/forks/x/net/8000")" "web child" "the fork's socket is in the mount of its parent, too"
ok "it gets another name" mv demo/forks/x moved || done_testing
is "$(ask moved --unix-socket moved/net/8000)" "web moved" "and is reached by that"
echo freeze > moved/ctl
if wait_for "$wait_limit" state_is moved frozen; then
	pass "it is frozen"
	is "$(ask thawed --unix-socket moved/net/8000)" "web thawed" "and resumed by a connection"
else
	fail "it is frozen"
fi
good "who is connected when it is removed is told" <<'CODE'
with connect("moved/net/8000") as s:
    s.sendall(b"GET /wait HTTP/1.0\r\n\r\n")
    time.sleep(1)
    os.rmdir("moved")
    try:
        read_all(s)  # to its end
    except ConnectionResetError:
        pass
CODE
: > demo/net/ports
wait_for 10 test ! -e demo/net/8000
not_ok "a port that is taken back is no more" test -e demo/net/8000
not_ok "nor in a mount of its own" test -e "$only/net/8000"
echo 8000 > demo/net/ports
is "$(ask back --unix-socket "$only/net/8000")" "web back" "one that is there again can be used again"
python3 - "$only/net/8000" > "$scratch/asked" <<'CODE' &
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(100)
s.connect(sys.argv[1])
s.sendall(b"GET /wait HTTP/1.0\r\n\r\n")
print("asked", flush=True)
try:
    while s.recv(65536):  # to its end
        pass
except ConnectionResetError:
    pass
CODE
client=$!
wait_for 60 grep -qs asked "$scratch/asked"
ok "the mount ends, whatever is open in it" within 60 "$build/pffs/pffs" umount "$only"
ok "who was connected by it is told" wait "$client"
porter_gone() {
	! pgrep -f "mount --only $PWD/demo $only" > "$scratch/ignored"
}
ok "and so do its processes" wait_for 20 porter_gone
: > demo/net/ports
not_ok "nor at the loopback" env host="127.0.0.1:$port" curl -sS --max-time 20 "http://127.0.0.1:$port/" 2> "$scratch/ignored"
done_testing
