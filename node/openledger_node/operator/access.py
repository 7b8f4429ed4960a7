"""Access for other programs: the address, the key file, model names, examples to paste, and the logs."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..first_words import FIRST_QUESTION, SAMPLE_QUESTIONS


def connection(url: str, key_file: Path, models: Sequence[str]) -> dict[str, Any]:
    """The data that a client needs, without the key itself."""
    base_url, model = f"{url}/v1", models[0] if models else "MODEL"
    question = f'[{{"role": "user", "content": "{FIRST_QUESTION}"}}]'
    key = f'"$(cat {shlex.quote(str(key_file))})"'
    port = url.rpartition(":")[2]
    return {
        "base_url": base_url,
        "key_file": str(key_file),
        "models": list(models),
        "questions": list(SAMPLE_QUESTIONS),
        "examples": {
            "curl": (
                f'curl {base_url}/chat/completions -H "Authorization: Bearer $(cat {shlex.quote(str(key_file))})" '
                f"-H 'Content-Type: application/json' "
                f'-d \'{{"model": "{model}", "messages": {question}, "temperature": 0}}\''
            ),
            "openai": (
                "from openai import OpenAI\n"
                f"client = OpenAI(base_url={base_url!r}, api_key=open({str(key_file)!r}).read().strip())\n"
                f"print(client.chat.completions.create(model={model!r}, "
                f"messages={question}, temperature=0).choices[0].message.content)"
            ),
            "environment": f"export OPENAI_BASE_URL={base_url} OPENAI_API_KEY={key}",
            "open_webui": (
                f"docker run -d --network host -e PORT=3000 -e OPENAI_API_BASE_URL={base_url} "
                f"-e OPENAI_API_KEY={key} ghcr.io/open-webui/open-webui:main"
            ),
        },
        "note": (
            f"the API listens on loopback only: a container reaches it with --network host, "
            f"another machine with `ssh -L {port}:127.0.0.1:{port} THIS_MACHINE`"
        ),
    }
