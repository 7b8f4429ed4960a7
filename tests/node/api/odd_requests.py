"""Requests that no client of good will sends: bodies by what is odd about them, and heads as bytes."""

MESSAGES = '"messages": [{"role": "user", "content": "Ahoy-4f1c"}]'
HEAD = '{"model": "fake", "max_tokens": 4, ' + MESSAGES


def nested(depth: int, opening: str = "[", closing: str = "]") -> str:
    return opening * depth + closing * depth


def with_schema(schema: str) -> str:
    form = '{"type": "json_schema", "json_schema": {"schema": ' + schema + "}}"
    return HEAD + ', "response_format": ' + form + "}"


ODD_BODIES: dict[str, str | bytes] = {
    "empty": b"",
    "null": "null",
    "a list": "[]",
    "cut off": '{"model": "fake"',
    "two values": HEAD + "} {}",
    "not utf-8": b'{"model": "\xff\xfe"}',
    "utf-16": (HEAD + "}").encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + (HEAD + "}").encode(),
    "an overlong slash": b'{"model": "\xc0\xaf"}',
    "half a character": HEAD + r', "user": "\ud800"}',
    "half a character as a name": HEAD + r', "response_format": {"\ud800": 1}}',
    "half a character as a field": HEAD + r', "\ud800": 1}',
    "half a character as a stop": HEAD + r', "stop": "\udfff"}',
    "zero bytes": HEAD + r', "stop": ["\u0000"]}',
    "lists in lists": nested(100_000),
    "a field that nests deeply": HEAD + f', "x": {nested(20_000)}}}',
    "metadata that nests": HEAD + f', "metadata": {nested(400)}}}',
    "a schema that nests": with_schema(nested(300, '{"items":', "}").replace(":}", ":{}}", 1)),
    "a content that nests": '{"model": "fake", "messages": [{"role": "user", "content": ' + nested(500) + "}]}",
    "NaN": HEAD + ', "temperature": NaN}',
    "infinity": HEAD + ', "top_p": Infinity}',
    "a number over a float": HEAD + ', "temperature": 1e999}',
    "an integer of 5000 digits": HEAD + f', "seed": {"9" * 5_000}}}',
    "a huge max_tokens": HEAD.replace('"max_tokens": 4', f'"max_tokens": {"9" * 400}') + "}",
    "a huge top_k": HEAD + f', "top_k": {10**30}}}',
    "true as max_tokens": HEAD.replace('"max_tokens": 4', '"max_tokens": true') + "}",
    "a name twice": HEAD + ', "model": "nobody", "model": "fake", "temperature": 9, "temperature": 0}',
    "every name twice": HEAD + "," + HEAD[1:] + "}",
    "a message as a text": '{"model": "fake", "messages": ["hello"]}',
    "content of parts that are none": '{"model": "fake", "messages": [{"role": "user", "content": [1]}]}',
    "a role as a list": '{"model": "fake", "messages": [{"role": ["user"], "content": "x"}]}',
    "a prompt of nothing": '{"model": "fake", "prompt": []}',
    "an empty prompt": '{"model": "fake", "prompt": ""}',
    "a long model": HEAD.replace("fake", "m" * 1_000_000) + "}",
    "a model that is a path": HEAD.replace("fake", "../../etc/passwd") + "}",
    "a model with control characters": HEAD.replace("fake", r"\u001b[31m\u202e") + "}",
    "unhashable tools": HEAD + ', "tools": {"a": []}}',
    "weights that are none": HEAD + ', "openledger": {"adapters": [{"name": "a", "weight": NaN}]}}',
    "a thousand weights": HEAD + ', "openledger": {"adapters": [' + ", ".join(['{"name": "a"}'] * 1_000) + "]}}",
    "stream_options as a text": HEAD + ', "stream": true, "stream_options": "usage"}',
    "a regular expression that explodes": with_schema(
        '{"type": "string", "pattern": "(((((a{1,99}){1,99}){1,99}){1,99}){1,99}){1,99}"}'
    ),
    "a schema that refers to itself": with_schema('{"$ref": "#"}'),
    "a schema that allows nothing": with_schema('{"enum": []}'),
    "half a character in a schema": with_schema(r'{"const": "\ud800"}'),
}

ODD_HEADS: dict[str, bytes] = {
    "no http": b"hello\r\n\r\n",
    "binary": bytes(range(256)) * 4,
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 200,
    "a head without an end": b"GET / HTTP/1.1\r\n" + b"x: " + b"y" * 100_000,
    "too many headers": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 200_000 + b"\r\n",
    "two hosts": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "http/1.0": b"GET /healthz HTTP/1.0\r\n\r\n",
    "a foreign target": b"GET http://evil.example/v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "a tunnel": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "a target that is no utf-8": b"GET /\xff\xfe%ff HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "two lengths": b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a negative length": b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    "length and chunks": b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
    b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
    "a chunk that is none": b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    "a smuggled header": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\rAuthorization: Bearer x\r\n\r\n",
    "an upgrade to a websocket": b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
}
