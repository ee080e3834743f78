#!/bin/bash
# The Python client by HTTP: all that python.t does by files; and by the Unix socket.
. "$(dirname "$0")/../mount/lib.sh"

# by NAME ADDRESS [TEST...]: python_client.py by one door.
by() {
	PYTHONPATH=$top/clients/python/src:$top/tests/doors take_in "$top/tests/doors/env" \
		python3 "$top/tests/doors/python_client.py" "$@"
}
by http "$PFFS_TEST_HTTP"
by socket "$PFFS_TEST_API" errors one_program_each

# Where nothing says where pffs is, it is found.
is "$(env -u PFFS_HOST -u PFFS_API PYTHONPATH="$top/clients/python/src" python3 -c '
from pffs import Client, ConnectionFailed
client = Client()
print(client.host.startswith("unix:"), client.healthz())
try:
	Client("http://127.0.0.1:9").info()
except ConnectionFailed as error:
	print(error)')" "True True
there is no pffs at http://127.0.0.1:9: Connection refused" "a pffs that runs here is found"
done_testing
