"""How other programs reach this node: its address, where the key lies, model names, and lines to paste."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def connection(url: str, key_file: Path, models: Sequence[str]) -> dict[str, Any]:
    """What a client needs; the key itself is in none of it."""
    base_url, model = f"{url}/v1", models[0] if models else "MODEL"
    key = f'"$(cat {shlex.quote(str(key_file))})"'
    port = url.rpartition(":")[2]
    return {
        "base_url": base_url,
        "key_file": str(key_file),
        "models": list(models),
        "examples": {
            "curl": (
                f'curl {base_url}/chat/completions -H "Authorization: Bearer $(cat {shlex.quote(str(key_file))})" '
                f"-H 'Content-Type: application/json' "
                f'-d \'{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}\''
            ),
            "openai": (
                "from openai import OpenAI\n"
                f"client = OpenAI(base_url={base_url!r}, api_key=open({str(key_file)!r}).read().strip())\n"
                f"print(client.chat.completions.create(model={model!r}, "
                'messages=[{"role": "user", "content": "Hello"}]).choices[0].message.content)'
            ),
            "environment": f"export OPENAI_BASE_URL={base_url} OPENAI_API_KEY={key}",
            "open_webui": (
                f"docker run -d --network host -e PORT=3000 -e OPENAI_API_BASE_URL={base_url} "
                f"-e OPENAI_API_KEY={key} ghcr.io/open-webui/open-webui:main"
            ),
        },
        "note": (
            f"the API listens on loopback alone: a container reaches it with --network host, "
            f"another machine by `ssh -L {port}:127.0.0.1:{port} THIS_MACHINE`"
        ),
    }
