#!/bin/bash
# exec opened for reading and writing is a conversation of its own; several at once do
# not mix.
. "$(dirname "$0")/lib.sh"
sandbox demo
python demo <<< 'import time, sys'

ok "one descriptor: write code, read its output" python3 - <<'CODE'
import os
fd = os.open("demo/exec", os.O_RDWR)
os.write(fd, b"print(6 * ")
os.write(fd, b"7)\n")
assert os.read(fd, 100) == b"42\n"
assert os.read(fd, 100) == b""
os.write(fd, b"print('again')")
assert os.read(fd, 100) == b"again\n"
assert os.read(fd, 100) == b""
os.close(fd)
CODE

ok "two clients at once do not mix their output" within "$wait_limit" python3 - <<'CODE'
import os, threading
failed = []

def client(name):
    for i in range(10):
        fd = os.open("demo/exec", os.O_RDWR)
        os.write(fd, f"for k in range(50): print('{name}', {i}, k, flush=True)\n".encode())
        got = b""
        while piece := os.read(fd, 4096):
            got += piece
        os.close(fd)
        want = "".join(f"{name} {i} {k}\n" for k in range(50)).encode()
        if got != want:
            failed.append((name, i, got))

threads = [threading.Thread(target=client, args=(name,)) for name in "ab"]
for t in threads: t.start()
for t in threads: t.join()
assert not failed, failed[:1]
CODE

ok "a transaction through bash, with stderr in its place" python3 - <<'CODE'
import os
fd = os.open("demo/bash", os.O_RDWR)
os.write(fd, b"echo out; sleep 0.3; echo err >&2; sleep 0.3; echo out")
got = b""
while piece := os.read(fd, 4096):
    got += piece
assert got == b"out\nerr\nout\n", got
CODE

ok "a client that leaves without reading has started its run" python3 - <<'CODE'
import os
fd = os.open("demo/exec", os.O_RDWR)
os.write(fd, b"left = 7")
os.close(fd)
CODE
is "$(echo 'print(left)' > demo/exec; cat demo/stdout)" 7 "as a writer would"
ok "one that only reads gets the end of file" python3 - <<'CODE'
import os
fd = os.open("demo/exec", os.O_RDWR)
assert os.read(fd, 100) == b""
CODE
done_testing
