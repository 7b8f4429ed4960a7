"""The attribution desk: an answer in, each contributor's share of its data fee out."""

from collections.abc import Sequence

from openledger_protocol.attribution import RowScore, Share
from openledger_protocol.constants import PPM
from openledger_protocol.inference import Message
from openledger_protocol.primitives import ZERO_ADDRESS, DatanetId

from ..inference.tokenizer import Tokenizer
from .attributor import Attributor, Exchange
from .owners import OwnedDatanet


def attribute(attributor: Attributor, datanets: Sequence[OwnedDatanet], exchange: Exchange) -> tuple[Share, ...]:
    """Find the shares of each Datanet, 1,000,000 ppm each, ascending by Datanet and account; the same everywhere."""
    ordered = sorted(datanets, key=lambda datanet: datanet.id)
    return tuple(
        share
        for datanet in ordered
        for share in attributor.share(datanet.id, score_rows(attributor, datanet, exchange))
    )


def score_rows(attributor: Attributor, datanet: OwnedDatanet, exchange: Exchange) -> list[RowScore]:
    """Score the rows of a Datanet's index; those without evidence are left out."""
    scores = attributor.score(exchange, datanet.index)
    scored = zip(scores, datanet.clusters, datanet.accounts, strict=True)
    return [RowScore(cluster=cluster, account=account, score=score) for score, cluster, account in scored if score]


def treasury_shares(datanet_ids: Sequence[DatanetId]) -> tuple[Share, ...]:
    """The shares where nothing may be or was found: all to each Datanet's treasury."""
    return tuple(Share(datanet_id=id, account=ZERO_ADDRESS, ppm=PPM) for id in sorted(datanet_ids))


def exchange_of(prompt: tuple[Message, ...] | str, answer: str, tokenizer: Tokenizer) -> Exchange:
    """Tokenise an exchange: the user's turns, joined by line ends, or the raw prompt; and the answer by itself."""
    if not isinstance(prompt, str):
        prompt = "\n".join(message.content for message in prompt if message.role == "user")
    return Exchange(prompt=tokenizer.encode(prompt), answer=tokenizer.encode(answer))
