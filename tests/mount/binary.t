#!/bin/bash
# Every byte of binary output comes as it was written, on both streams.
. "$(dirname "$0")/lib.sh"
sandbox demo

python demo <<'CODE'
import hashlib, os
data = bytes(range(256)) * 64 + os.urandom(10 * 1024 * 1024 - 256 * 64)
CODE
is "$?" 0 "10 MiB of bytes are made"
want=$(echo 'print(hashlib.sha256(data).hexdigest())' > demo/exec; cat demo/stdout)

echo 'import sys; n = sys.stdout.buffer.write(data)' > demo/exec
is "$(cat demo/stdout | sha256sum | cut -d' ' -f1)" "$want" "stdout is exact by checksum"
is "$(stat -c %s demo/stdout)" 10485760 "its size is true"
is "$(cat demo/stderr)" "" "nothing of it is on stderr"
echo 'n = sys.stderr.buffer.write(data)' > demo/exec
is "$(cat demo/stderr | sha256sum | cut -d' ' -f1)" "$want" "stderr is exact by checksum"
is "$(cat demo/stdout)" "" "nothing of it is on stdout"

echo 'with open("/root/data", "wb") as f: n = f.write(data)' > demo/exec
echo 'cat /root/data' > demo/bash
is "$(cat demo/stdout | sha256sum | cut -d' ' -f1)" "$want" "so it is from another program"
is "$(cat demo/last/output | sha256sum | cut -d' ' -f1)" "$want" "and in output"
is "$(within "$wait_limit" tail -c +10485753 demo/last/stdout | sha256sum)" \
	"$(cat demo/stdout | tail -c 8 | sha256sum)" "a kept run can be read from any place"
done_testing
