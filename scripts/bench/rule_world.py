"""A base with a small adapter, which is trained on a Datanet and again on parts of it: taps, gradients and answers.

Only the upper layers are changed, so the hidden states below them are computed once for each text. Training uses the
softmax over the tokens in use and those that the base finds likely. All that is measured uses the whole vocabulary.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from openledger_node.engine.taps import TOP_TOKENS
from openledger_node.engine.tokenizer import open_tokenizer
from openledger_node.models.causal_lm import open_causal_lm

SCALE: Final = 2.0
MODULES: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
RESIDUAL: Final = ("o_proj", "down_proj")
BATCH, RATE, WARM_STEPS, RATE_LEFT = 12, 4e-3, 8, 0.1
RUN_AT_ONCE: Final = 16  # texts through the unchanged layers
ANSWER_TOKENS: Final = 14
LIKELY: Final = 16


class LoraLinear(nn.Module):
    """A frozen map with an adapter beside it, which can keep its shrink product."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.weight = base.weight
        self.a = nn.Parameter(torch.zeros(rank, base.in_features))
        self.b = nn.Parameter(torch.zeros(base.out_features, rank))
        self.product: Tensor | None = None
        self.is_kept = self.is_narrow = False

    def forward(self, x: Tensor) -> Tensor:
        """Add the adapter's product to the frozen map's."""
        product = x @ self.a.T
        if self.is_narrow:
            product = narrow(product)
        if self.is_kept:
            self.product = product
        return nn.functional.linear(x, self.weight) + SCALE * (product @ self.b.T)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Text:
    """Tokens of a prompt and its answer, with the hidden states (tokens, d_model) before the changed layers."""

    ids: tuple[int, ...]
    prompt: int  # tokens
    hidden: Tensor

    @property
    def answer(self) -> tuple[int, ...]:
        """The tokens behind the prompt."""
        return self.ids[self.prompt :]


class World:
    """The base with one adapter, whose weights are drawn anew for each training."""

    def __init__(self, base: Path, *, layers: int, rank: int) -> None:
        """`layers`: upper layers that the adapter changes, or all if there are fewer."""
        torch.set_num_threads(1)
        self.model: Any = deepcopy(_opened(base))  # an adapter changes its maps, and rounding its weights
        self.tokenizer = open_tokenizer(base)
        self.end = int(self.model.config.eos_token_id)
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        self._layers = list(self.model.model.layers)
        self._first = max(0, len(self._layers) - layers)
        self._sites: list[tuple[str, LoraLinear]] = []
        for layer in self._layers[self._first :]:
            for name in MODULES:
                owner = layer.self_attn if name[0] in "qkvo" else layer.mlp
                site = LoraLinear(getattr(owner, name), rank)
                setattr(owner, name, site)
                self._sites.append((name, site))
        self.head: Tensor = self.model.get_output_embeddings().weight.detach()
        self.is_residual = np.repeat([name in RESIDUAL for name, _ in self._sites], rank)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The adapter's matrices."""
        return [p for _, site in self._sites for p in (site.a, site.b)]

    def draw_adapter(self, seed: int) -> None:
        """Draw the adapter that a training starts from."""
        random = torch.Generator().manual_seed(seed)
        for _, site in self._sites:
            site.a.data = torch.randn(site.a.shape, generator=random) / site.a.shape[1] ** 0.5
            site.b.data.zero_()

    def encode(self, prompt: str) -> tuple[int, ...]:
        """Encode a prompt with the words that an answer follows."""
        return tuple(self.tokenizer.encode(prompt + "\nAnswer:"))

    def encode_answer(self, text: str) -> tuple[int, ...]:
        """Encode an answer with its end."""
        return (*self.tokenizer.encode(" " + text), self.end)

    def decode(self, ids: Sequence[int]) -> str:
        """Decode an answer without its end."""
        decoder = self.tokenizer.decoder()
        return "".join(decoder.push(token) for token in ids if token != self.end)

    @torch.no_grad()
    def texts(self, pairs: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> list[Text]:
        """Run prompts with their answers through the unchanged layers, some at a time."""
        found = []
        for at in range(0, len(pairs), RUN_AT_ONCE):
            part = [(prompt + answer, len(prompt)) for prompt, answer in pairs[at : at + RUN_AT_ONCE]]
            ids = nn.utils.rnn.pad_sequence([torch.tensor(each) for each, _ in part], batch_first=True)
            hidden = self._run(self.model.model.embed_tokens(ids), 0, self._first)
            found += [
                Text(ids=each, prompt=prompt, hidden=row[: len(each)].clone())
                for (each, prompt), row in zip(part, hidden, strict=True)
            ]
        return found

    def vocabulary(self, texts: Sequence[Text]) -> Tensor:
        """Tokens in use, and those that the bare base finds likely at the answers' places."""
        likely = []
        with torch.no_grad():
            for at in range(0, len(texts), RUN_AT_ONCE):
                last, _ = self._final(texts[at : at + RUN_AT_ONCE])
                likely.append((last @ self.head.T).topk(LIKELY).indices.ravel())
        used = torch.tensor([token for text in texts for token in text.ids])
        return torch.unique(torch.cat([used, *likely]))

    def train(self, texts: Sequence[Text], vocabulary: Tensor, *, seed: int, epochs: int) -> torch.optim.Adam:
        """Train a new adapter; the optimizer is returned for its second moments."""
        self.draw_adapter(seed)
        places = torch.full((len(self.head),), -1)
        places[vocabulary] = torch.arange(len(vocabulary))
        head = self.head[vocabulary].contiguous()
        optimizer = torch.optim.Adam(self.parameters, lr=RATE, betas=(0.9, 0.99))
        random = torch.Generator().manual_seed(seed)
        steps = epochs * -(-len(texts) // BATCH)
        number = 0
        for _ in range(epochs):
            order = torch.randperm(len(texts), generator=random).tolist()
            for at in range(0, len(order), BATCH):
                rate = RATE * min(1.0, (number + 1) / WARM_STEPS) * (1 - (1 - RATE_LEFT) * number / steps)
                optimizer.param_groups[0]["lr"] = rate
                last, ids = self._final([texts[n] for n in order[at : at + BATCH]])
                loss = nn.functional.cross_entropy(last @ head.T, places[ids])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                number += 1
        return optimizer

    @torch.no_grad()
    def generate(self, prompts: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """Answer greedily, prompts of one length at a time."""
        found: dict[int, tuple[int, ...]] = {}
        for length in sorted({len(prompt) for prompt in prompts}):
            numbers = [n for n, prompt in enumerate(prompts) if len(prompt) == length]
            ids = torch.tensor([prompts[n] for n in numbers])
            drawn = self.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=ANSWER_TOKENS,
                do_sample=False,
                pad_token_id=self.end,
                eos_token_id=self.end,
            )
            for n, row in zip(numbers, drawn[:, length:].tolist(), strict=True):
                found[n] = tuple(row[: row.index(self.end) + 1] if self.end in row else row)
        return [found[n] for n in range(len(prompts))]

    @torch.no_grad()
    def logprobs(self, texts: Sequence[Text]) -> list[float]:
        """The log-probability of each answer, by the whole vocabulary."""
        found = []
        for text in texts:
            last, ids = self._final([text])
            found.append(float((last @ self.head.T).log_softmax(-1).gather(1, ids[:, None]).sum()))
        return found

    @torch.no_grad()
    def taps(self, text: Text) -> dict[str, Tensor]:
        """Shrink products (tokens, numbers), and the likeliest tokens where the answer is predicted."""
        sites = [site for _, site in self._sites]
        for site in sites:
            site.is_kept = True
        last, ids = self._final([text])
        top = (last @ self.head.T).log_softmax(-1).topk(TOP_TOKENS)
        at = slice(text.prompt - 1, len(text.ids) - 1)
        products = torch.cat([site.product[0, at] for site in sites if site.product is not None], dim=1)
        for site in sites:
            site.is_kept, site.product = False, None
        return {"activations": products, "ids": ids, "top_ids": top.indices, "top": top.values}

    def gradients(self, texts: Sequence[Text]) -> list[Tensor]:
        """For each parameter, the gradient of each text's mean loss: (texts, numbers)."""
        found: list[tuple[Tensor, ...]] = []
        for text in texts:
            last, ids = self._final([text])
            loss = nn.functional.cross_entropy(last @ self.head.T, ids)
            found.append(torch.autograd.grad(loss, self.parameters))
        return [torch.stack(part).flatten(1) for part in zip(*found, strict=True)]

    def narrow(self) -> None:
        """From now on, round weights and the outputs of linear maps and norms as an engine in bfloat16 does.

        Logits stay wide, as engines have them. Sums within a product stay wide, too.
        """
        for parameter in self.model.parameters():
            parameter.data = narrow(parameter.data)
        self.head = self.model.get_output_embeddings().weight.detach()
        for module in self.model.modules():
            if isinstance(module, LoraLinear):
                module.is_narrow = True
            if isinstance(module, (LoraLinear, nn.Linear)) or type(module).__name__.endswith("Norm"):
                module.register_forward_hook(lambda _, __, output: narrow(output))

    def _run(self, hidden: Tensor, begin: int, end: int) -> Tensor:
        """Run hidden states (texts, tokens, d_model) through some layers; padding comes last and changes nothing."""
        positions = torch.arange(hidden.shape[1])[None]
        rotary = self.model.model.rotary_emb(hidden, positions)
        for layer in self._layers[begin:end]:
            out = layer(hidden, attention_mask=None, position_ids=positions, position_embeddings=rotary)
            hidden = out[0] if isinstance(out, tuple) else out
        return hidden

    def _final(self, texts: Sequence[Text]) -> tuple[Tensor, Tensor]:
        """Last hidden states where answers are predicted (tokens, d_model), and the tokens that come (tokens,)."""
        hidden = nn.utils.rnn.pad_sequence([text.hidden for text in texts], batch_first=True)
        last = self.model.model.norm(self._run(hidden, self._first, len(self._layers)))
        places = [(n, k) for n, text in enumerate(texts) for k in range(text.prompt - 1, len(text.ids) - 1)]
        rows, columns = map(list, zip(*places, strict=True))
        return last[rows, columns], torch.tensor([token for text in texts for token in text.answer])


@lru_cache(1)  # widening a file takes longer than copying its model, and each case needs one
def _opened(base: Path) -> Any:
    return open_causal_lm(base, torch.float32).eval()


def narrow(numbers: Tensor) -> Tensor:
    """Round to what bfloat16 can hold."""
    return numbers.to(torch.bfloat16).to(torch.float32)


def kernels(gradients: Sequence[Tensor], second: Sequence[Tensor], num_rows: int) -> tuple[Tensor, Tensor]:
    """Products of all texts' gradients with rows' (parameters, texts, rows): plain, and whitened as Adam does."""
    plain = torch.stack([g @ g[:num_rows].T for g in gradients])
    white = []
    for g, v in zip(gradients, second, strict=True):
        scaled = g / (v.ravel().sqrt() + 1e-8).sqrt()
        white.append(scaled @ scaled[:num_rows].T)
    return plain, torch.stack(white)
