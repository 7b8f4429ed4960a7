"""The way in which the kernels' tests run on a card, with the host in place of the card."""

from typing import Any

import torch
from support.on_card import for_host, through

HERE = torch.device("cpu")


def test_results_are_in_the_tensors_of_the_host_and_views_still_share_their_memory() -> None:
    seen: list[Any] = []

    def kernel(whole: torch.Tensor, column: torch.Tensor, factor: int, *, grid: tuple[int, ...]) -> str:
        assert grid == (1,)
        seen.extend([whole, column])
        column *= factor
        assert whole[2, 1] == 70, "the view has the same memory"
        return "launched"

    whole = torch.arange(12.0).view(4, 3)
    assert through(HERE, kernel)(whole, whole[:, 1], 10, grid=(1,)) == "launched"
    assert whole[:, 1].tolist() == [10, 40, 70, 100]
    assert whole[:, 0].tolist() == [0, 3, 6, 9]
    assert not {each.data_ptr() for each in seen} & {whole.data_ptr(), whole[:, 1].data_ptr()}, "it had copies"


def test_numbers_and_tensors_of_other_devices_are_passed_as_they_are() -> None:
    elsewhere = torch.empty(2, device="meta")
    assert through(HERE, lambda *each: each)(1, "a", elsewhere, None) == (1, "a", elsewhere, None)


def test_questions_about_the_host_are_answered_for_the_card() -> None:
    card = torch.device("cuda", 1)
    asked = for_host(card, lambda device: device)
    assert [asked(HERE), asked(None), asked(torch.device("cuda", 0)), asked("cuda")] == [
        card,
        None,
        torch.device("cuda", 0),
        "cuda",
    ]
