#!/bin/bash
# The adapters of the Python client, with the SDKs of Anthropic, OpenAI and LangChain, against a
# stub of the models' APIs.
. "$(dirname "$0")/../mount/lib.sh"

PYTHONPATH=$top/clients/python/src:$top/tests/doors take_in "$top/tests/doors/env" \
	python3 "$top/tests/doors/python_adapters.py" "$PFFS_TEST_MOUNT"
done_testing
