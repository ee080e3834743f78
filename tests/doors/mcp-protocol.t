#!/bin/bash
# pffs mcp as a speaker of the protocol, to the official client and to others. Native: the
# pffs behind it is a script.
here=$(dirname "$0")
exec "$here/env" python3 "$here/mcp_protocol.py" "$@"
