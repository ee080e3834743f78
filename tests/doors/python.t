#!/bin/bash
# The Python client: it is typed and installs, and does everything by the files of a mount.
# python-http.t has the same by HTTP.
. "$(dirname "$0")/../mount/lib.sh"

cp -r "$top/clients/python" "$scratch/python"
ok "mypy finds nothing" bash -c 'cd "$1" && "$2" mypy --cache-dir "$1/cache" >&2' \
	_ "$scratch/python" "$top/tests/doors/env"
ok "pip installs it" bash -c '/usr/bin/python3 -m venv "$1/venv" &&
	"$1/venv/bin/pip" install -q --disable-pip-version-check "$1/python" >&2' _ "$scratch"
is "$(PFFS_HOST=$PFFS_TEST_MOUNT within 120 "$scratch/venv/bin/python" -I -c '
from pffs import Sandbox
from pffs.integrations.anthropic import handle_code_execution_tool_use
with Sandbox() as sandbox:
	print(handle_code_execution_tool_use({"id": "1", "input": {"code": "print(1)"}}, sandbox)["is_error"])
')" False "without any other package"

PYTHONPATH=$top/clients/python/src:$top/tests/doors take_in "$top/tests/doors/env" \
	python3 "$top/tests/doors/python_client.py" mount "$PFFS_TEST_MOUNT"
done_testing
