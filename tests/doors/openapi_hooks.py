"""For schemathesis: sandboxes and files that there are, and requests that come to an end."""
import os
import random

import schemathesis

NAMES = os.environ["PFFS_TEST_NAMES"].split()
PATHS = ["root", "etc", "bin", "root/kept", "root/made", "etc/hostname", ""]


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Most that are made up are nothing: often, take what is there."""
    operation = context.operation
    taken = operation.method.upper() == "DELETE" and "/files/" not in operation.path
    if path_parameters and "id" in path_parameters and not taken and random.random() < 0.7:
        path_parameters["id"] = random.choice(NAMES)
    if path_parameters and "path" in path_parameters and random.random() < 0.7:
        path_parameters["path"] = random.choice(PATHS)
    return path_parameters


@schemathesis.hook
def map_query(context, query):
    """Events go on for ever, unless somebody asks for what there is."""
    if context.operation.path.endswith("/events"):
        query = {**(query or {}), "follow": "false"}
    return query


@schemathesis.hook
def map_body(context, body):
    """Two forks are as good as a thousand."""
    if context.operation.path.endswith("/fork") and isinstance(body, dict):
        if isinstance(body.get("n"), int) and body["n"] <= 1000:
            body["n"] = min(body["n"], 2)
        if isinstance(body.get("names"), list):
            body["names"] = body["names"][:2]
    return body
