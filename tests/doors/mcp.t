#!/bin/bash
# pffs mcp: what its tools do, by the official client, through the mount's pffs.
. "$(dirname "$0")/../mount/lib.sh"
export PFFS_API=$PFFS_TEST_API
take_in "$top/tests/doors/env" python3 "$top/tests/doors/mcp_tools.py"
done_testing
