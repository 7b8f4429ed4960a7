"""`/v1/embeddings`, passed on to the embedding server that the owner has set: the node's bases generate text."""

import base64
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final, Literal

import httpx
import numpy as np
import trio
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from pydantic import BaseModel, Field, WithJsonSchema

from openledger_protocol.errors import MalformedError, ProtocolError, UnavailableError, UnknownModelError
from openledger_protocol.primitives import check_text

from ..config import ApiConfig
from ..errors import ConfigError
from .callers import account_of
from .completions import prompts_of
from .errors import NO_EMBEDDINGS, refusal
from .exchange import while_connected
from .schemas import PROMPT_SCHEMA

PATH: Final = "/v1/embeddings"

KEY_VARIABLE: Final = "EMBEDDINGS_API_KEY"

INPUTS_MAX: Final = 2_048
"""Inputs of one request, as OpenAI has it."""

REQUESTS_MAX: Final = 16
"""Requests that the server has at once; others wait here."""

TIMEOUT: Final = httpx.Timeout(300.0, connect=10.0)
REASON_LENGTH_MAX: Final = 300
TOO_LARGE: Final = "too large to process"

NO_ROUTE: Final = (404, 405, 501)
"""Statuses of a server that generates text and was not started for embeddings."""

Vector = NDArray[np.float32]
Input = str | tuple[int, ...]


class EmbeddingBody(BaseModel):
    """`POST /v1/embeddings`."""

    model: str
    input: Annotated[
        str | list[Any],
        WithJsonSchema({**PROMPT_SCHEMA, "title": "Input"}),
        Field(description="One text or several, or their token ids"),
    ]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int | None, Field(ge=1)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """The vectors of a request, in the order of its inputs."""

    vectors: Sequence[Vector]
    num_tokens: int


class EmbeddingServer:
    """A server with OpenAI's `/v1/embeddings` that the owner runs, and its one model."""

    def __init__(
        self, url: str, model: str, *, key: str | None = None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.model = model
        self._url = url.rstrip("/").removesuffix("/v1") + PATH
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._transport = transport
        self._turns = trio.CapacityLimiter(REQUESTS_MAX)

    async def embed(self, inputs: Sequence[Input], dimensions: int | None) -> Embedded:
        """Ask for one vector of each input.

        Raises:
            MalformedError: the server refuses an input, or does not give so many dimensions.
            UnavailableError: it does not answer, or not with vectors.
        """
        body: dict[str, Any] = {"model": self.model, "input": list(inputs), "encoding_format": "float"}
        if dimensions is not None:
            body["dimensions"] = dimensions
        embedded = _embedded(await self._ask(body), len(inputs))
        if dimensions is not None and len(embedded.vectors[0]) != dimensions:
            raise MalformedError(
                f"{self.model} gives vectors of {len(embedded.vectors[0])} numbers: leave dimensions out",
                param="dimensions",
            )
        return embedded

    async def _ask(self, body: dict[str, Any]) -> httpx.Response:
        try:
            async with (
                self._turns,
                httpx.AsyncClient(
                    transport=self._transport, timeout=TIMEOUT, headers=self._headers, trust_env=False
                ) as client,
            ):
                response = await client.post(self._url, json=body)
        except httpx.HTTPError as error:
            raise UnavailableError(
                f"the embedding server does not answer ({type(error).__name__}): start it, or change [api] "
                "embeddings_url"
            ) from error
        if response.status_code != 200:
            raise _refused(response)
        return response


def embedding_server(config: ApiConfig) -> EmbeddingServer | None:
    """The server of the settings; None if there is none. Its key is in the environment.

    Raises:
        ConfigError: no request can have this URL or this key.
    """
    url, key = config.embeddings_url, os.environ.get(KEY_VARIABLE)
    if not url:
        return None
    try:
        httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigError(f"api.embeddings_url is {url!r} ({error}): write it like http://127.0.0.1:8081") from error
    if key and not (key.isascii() and key.isprintable()):
        raise ConfigError(f"{KEY_VARIABLE} has a character that no header takes: copy the server's key again")
    return EmbeddingServer(url, config.embeddings_model, key=key)


OWNERS_ONLY = "embeddings are for the owner's own key: a named key's limits and credit don't count them"


def add_embeddings(app: FastAPI, server: EmbeddingServer | None) -> None:
    """Add the route, which refuses every request if the owner has set no server."""
    if server is None:

        @app.post(PATH)
        async def refuse() -> JSONResponse:
            """Refuse embeddings with a message that a client can show."""
            return refusal(404, NO_EMBEDDINGS, code="unsupported")

        return

    @app.post(PATH, response_model=None)
    async def embed(body: EmbeddingBody, http: Request) -> JSONResponse:
        """Turn texts into vectors."""
        if account_of(http.scope):
            return refusal(403, OWNERS_ONLY, code="unsupported")
        if body.model != server.model:
            raise UnknownModelError(f"no embedding model {body.model!r} here: name {server.model!r}")
        inputs = inputs_of(body)
        embedded = await while_connected(http, partial(server.embed, inputs, body.dimensions))
        return JSONResponse(embedding_response(server.model, embedded, is_base64=body.encoding_format == "base64"))


def inputs_of(body: EmbeddingBody) -> list[Input]:
    """Each input as a text or as token ids.

    Raises:
        MalformedError: one is empty or of another form, or there are too many or none.
    """
    inputs = prompts_of(body.input, name="input")
    if not 1 <= len(inputs) <= INPUTS_MAX:
        raise MalformedError(
            f"input takes 1 to {INPUTS_MAX} texts, and this one has {len(inputs)}: split it", param="input"
        )
    for each in inputs:
        if not each:
            raise MalformedError("input has a text that is empty: leave it out", param="input")
        if isinstance(each, str):
            check_text(each)
    return inputs


def embedding_response(model: str, embedded: Embedded, *, is_base64: bool) -> dict[str, Any]:
    """The vectors in OpenAI's form; in base64 they are little-endian floats of 32 bits."""
    vectors = [
        base64.b64encode(each.astype("<f4").tobytes()).decode() if is_base64 else each.tolist()
        for each in embedded.vectors
    ]
    listed = [{"object": "embedding", "index": index, "embedding": each} for index, each in enumerate(vectors)]
    usage = {"prompt_tokens": embedded.num_tokens, "total_tokens": embedded.num_tokens}
    return {"object": "list", "data": listed, "model": model, "usage": usage}


def embedding_card(model: str) -> dict[str, Any]:
    """The entry of an embedding model in `/v1/models`."""
    abilities = ("tools", "parallel_tool_calls", "json_schema", "reasoning", "logprobs", "vision")
    return {
        "id": model,
        "object": "model",
        "created": 0,
        "owned_by": "openledger-node",
        "parent": None,
        "root": model,
        "context_length": None,
        "max_model_len": None,
        "architecture": {
            "modality": "text->embeddings",
            "input_modalities": ["text"],
            "output_modalities": ["embeddings"],
        },
        "capabilities": {**dict.fromkeys(abilities, False), "embeddings": True},
        "supported_parameters": ["dimensions", "encoding_format"],
        "default_parameters": None,
        "location": "here",
    }


def _embedded(response: httpx.Response, count: int) -> Embedded:
    """Read the server's vectors.

    Raises:
        UnavailableError: they are not `count` vectors of one length.
    """
    try:
        fields = response.json()
        by_index = sorted(fields["data"], key=lambda each: each["index"])
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
            vectors = [np.asarray(each["embedding"], dtype=np.float32) for each in by_index]
        num_tokens = int((fields.get("usage") or {}).get("prompt_tokens", 0))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise _not_vectors() from error
    if [each["index"] for each in by_index] != list(range(count)):
        raise _not_vectors()
    shapes = {each.shape for each in vectors}
    if len(shapes) != 1 or len(min(shapes)) != 1 or not min(shapes)[0] or num_tokens < 0:
        raise _not_vectors()
    if not all(math.isfinite(float(np.abs(each).max())) for each in vectors):
        raise _not_vectors()
    return Embedded(vectors=vectors, num_tokens=num_tokens)


def _not_vectors() -> UnavailableError:
    return UnavailableError(
        "the embedding server's answer is not one vector for each input: check that [api] embeddings_url names a "
        "server with OpenAI's /v1/embeddings"
    )


def _refused(response: httpx.Response) -> ProtocolError:
    """The server's refusal. Only a reason that the client can act on is passed on."""
    # NOTE: llama-server answers 500 to an input of more tokens than its physical batch.
    if response.status_code in (400, 413, 422) or (response.status_code == 500 and TOO_LARGE in _reason(response)):
        return MalformedError(f"the embedding server refuses the input: {_reason(response)}", param="input")
    if response.status_code in NO_ROUTE:
        return UnavailableError(
            "the server at [api] embeddings_url serves no embeddings of this model: start an embedding model there, "
            "for llama-server with `--embeddings`, and check [api] embeddings_model"
        )
    if response.status_code in (401, 403):
        return UnavailableError(f"the embedding server wants a key: start the node with {KEY_VARIABLE} set to it")
    return UnavailableError(f"the embedding server answered {response.status_code}: its log says why")


def _reason(response: httpx.Response) -> str:
    try:
        error = response.json()["error"]
        said = error["message"] if isinstance(error, dict) else error
    except (ValueError, KeyError, TypeError, RecursionError):
        said = response.text
    return " ".join(str(said).split())[:REASON_LENGTH_MAX]
