"""A stub of models' HTTP APIs on loopback: it plays turns that were recorded before and keeps
what it was sent, so that a test can look at what the model would see.

    with ModelStub([turn, ...]) as stub:
        client = Anthropic(base_url=stub.url, api_key="none")
        ...
        stub.requests[1]["messages"][-1]

A turn is a list of what the model says: text, or (name, input) for a call of a tool. It answers
POST /v1/messages, /v1/responses and /v1/chat/completions, streaming where asked for.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def _call_id(turn, index):
    return f"call_{turn}_{index}"


def _message(turn, blocks, request):
    """A message of Anthropic's API."""
    content = []
    for index, block in enumerate(blocks):
        if isinstance(block, str):
            content.append({"type": "text", "text": block})
        else:
            name, given = block
            content.append(
                {"type": "tool_use", "id": _call_id(turn, index), "name": name, "input": given}
            )
    calls = any(block["type"] == "tool_use" for block in content)
    return {
        "id": f"msg_{turn}",
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": content,
        "stop_reason": "tool_use" if calls else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }


def _message_events(message):
    start = {**message, "content": [], "stop_reason": None}
    yield "message_start", {"message": start}
    for index, block in enumerate(message["content"]):
        if block["type"] == "text":
            empty, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": block["text"]}
        else:
            empty = {**block, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        yield "content_block_start", {"index": index, "content_block": empty}
        yield "content_block_delta", {"index": index, "delta": delta}
        yield "content_block_stop", {"index": index}
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield "message_delta", {"delta": delta, "usage": {"output_tokens": 1}}
    yield "message_stop", {}


def _response(turn, blocks, request):
    """A response of OpenAI's Responses API."""
    output = []
    for index, block in enumerate(blocks):
        if isinstance(block, str):
            text = {"type": "output_text", "text": block, "annotations": []}
            output.append(
                {"type": "message", "id": f"msg_{turn}_{index}", "role": "assistant",
                 "status": "completed", "content": [text]}
            )
        else:
            name, given = block
            output.append(
                {"type": "function_call", "id": f"fc_{turn}_{index}", "call_id": _call_id(turn, index),
                 "name": name, "arguments": json.dumps(given), "status": "completed"}
            )
    return {
        "id": f"resp_{turn}",
        "object": "response",
        "created_at": 0,
        "status": "completed",
        "model": request["model"],
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 1, "output_tokens": 1, "total_tokens": 2,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }


def _response_events(response):
    number = 0
    yield "response.created", {
        "sequence_number": number, "response": {**response, "status": "in_progress", "output": []}
    }
    for index, item in enumerate(response["output"]):
        for kind in ("response.output_item.added", "response.output_item.done"):
            number += 1
            yield kind, {"sequence_number": number, "output_index": index, "item": item}
    yield "response.completed", {"sequence_number": number + 1, "response": response}


def _completion(turn, blocks, request):
    """A completion of OpenAI's Chat Completions API."""
    texts = [block for block in blocks if isinstance(block, str)]
    calls = [
        {"id": _call_id(turn, index), "type": "function",
         "function": {"name": block[0], "arguments": json.dumps(block[1])}}
        for index, block in enumerate(blocks)
        if not isinstance(block, str)
    ]
    message = {"role": "assistant", "content": "".join(texts) or None}
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    return {
        "id": f"chatcmpl_{turn}", "object": "chat.completion", "created": 0,
        "model": request["model"], "choices": [choice],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


_APIS = {
    "/v1/messages": (_message, _message_events),
    "/v1/responses": (_response, _response_events),
    "/v1/chat/completions": (_completion, None),
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        make, events = _APIS.get(self.path.split("?")[0], (None, None))
        turn = self.server.stub.take(request) if make else None
        if turn is None:
            return self._send(400, "application/json", json.dumps({"error": {"message": "no turn is left"}}))
        answer = make(*turn, request)
        if not request.get("stream"):
            return self._send(200, "application/json", json.dumps(answer))
        text = "".join(
            f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n" for kind, data in events(answer)
        )
        return self._send(200, "text/event-stream", text)

    def _send(self, status, kind, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class ModelStub:
    def __init__(self, turns):
        self.requests = []
        self._turns = list(turns)
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.stub = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def take(self, request):
        """The next turn and its number, or None when all have been played."""
        with self._lock:
            self.requests.append(request)
            number = len(self.requests)
            return (number, self._turns[number - 1]) if number <= len(self._turns) else None

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
