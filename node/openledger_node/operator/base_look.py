"""A look at a base before it is downloaded or served: its size, and the quantisations that fit this machine."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from openledger_protocol.constants import DEMO_BASE_NAME

from ..config import Config
from ..engine.base_fit import (
    PLANNED_BACKENDS,
    Form,
    Room,
    choose_form,
    forms_of,
    propose,
    room_on,
    usual_form,
)
from ..engine.budget import base_bytes_on_disk, bytes_below
from ..engine.memory_plan import CONTEXT_BYTES
from ..errors import ModelError
from ..home import Home
from ..machine import Machine, look_at_machine
from ..models.bases import FAKE_BASE_NAME, base_here, gguf_of, problem_of
from ..models.decoder_config import DecoderConfig, OtherDecoderError, read_config
from ..models.gguf_name import read_hub_gguf
from ..models.hub import find_hub_file, is_hub_up
from ..models.hub_look import HubLook, look_at_hub
from ..models.known_bases import known_base
from ..models.stores import locate
from .base_fits import refusal_text, takes_text


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseLook:
    """The facts that are known of a base before its weights are here."""

    forms: tuple[Form, ...] = ()  # empty if its decoder is not one of ours, so that only its size is known
    weight_bytes: int = 0
    download_bytes: int = 0  # 0 for a base that is on this machine
    hub: HubLook | None = None

    @property
    def takes(self) -> str:
        """The memory that it takes."""
        return takes_text(self.forms) if self.forms else f"{self.weight_bytes / 1e9:.1f} GB"


def hub_name(base: str) -> str:
    """Return OWNER/NAME for a base that is stored as OWNER--NAME; the hub allows no `--` in names."""
    is_other = any(mark in base for mark in "/:") or base.lower().endswith(".gguf")
    return base if is_other else base.replace("--", "/", 1)


class BaseLooks:
    """Looks at bases on this machine and on the hub, each once."""

    def __init__(self, home: Home, config: Config, *, held_bytes: int = 0) -> None:
        """`held_bytes`: memory of the card that the running engine holds, which a change of the base frees."""
        self._home = home
        self._held_bytes = held_bytes
        self.inference = config.inference
        self._limits = config.limits
        self._seen: dict[str, BaseLook] = {}

    @cached_property
    def machine(self) -> Machine:
        """This machine, with what its card's driver says now."""
        return look_at_machine().without(self._held_bytes)

    @cached_property
    def room(self) -> Room:
        """The memory that the engine may take."""
        return room_on(self.machine, self.inference, self._limits, cache=self._home.cache)

    @cached_property
    def is_hub_up(self) -> bool:
        """True if the hub answers, so that bases can be downloaded."""
        return is_hub_up()

    def propose(self) -> str:
        """The best well-known base for this machine; the demo base if the hub does not answer."""
        found = propose(self.inference, self.room).name
        return found if found == DEMO_BASE_NAME or base_here(self._home, found) or self.is_hub_up else DEMO_BASE_NAME

    def look(self, base: str) -> BaseLook:
        """Look at a base by the name that `setup` and `models pull` take.

        Raises:
            ModelError: its config.json is not that of a model.
            NetworkError: the hub does not have it, or does not answer.
        """
        if base not in self._seen:
            self._seen[base] = self._look(base)
        return self._seen[base]

    def check_memory(self, base: str) -> None:
        """Refuse a base that does not fit into the memory as it is to be served; print nothing about one that fits.

        Raises:
            ModelError: it does not fit; the message names bases that do.
        """
        found, setting = self.look(base), self.inference.quantisation
        form = next((each for each in found.forms if each.quantisation == usual_form(found.forms, setting)), None)
        if why := self.why_not(base, replace(found, forms=(form,) if form else ())):
            raise ModelError(why)

    def check_fit(self, base: str) -> BaseLook:
        """Look at a base that is to be downloaded, and refuse it if it fits in no quantisation.

        Raises:
            ModelError: as `look`, or it does not fit; the message names bases that do.
            NetworkError: as `look`.
        """
        found = self.look(base)
        if why := self.why_not(base, found):
            if found.hub:
                found.hub.forget()
            raise ModelError(why)
        return found

    def why_not(self, base: str, found: BaseLook) -> str | None:
        """The reason why a base fits in none of its forms; None if it fits, or nothing is known of it."""
        fits = any(form.plan for form in found.forms) if found.forms else self.fits_by_size(found)
        return None if fits else refusal_text(base, found.takes, self.inference, self.room)

    def quantisation_for(self, base: str) -> str | None:
        """The quantisation to serve a base in; None if nothing speaks for another one than the setting's."""
        forms, setting = self.look(base).forms, self.inference.quantisation
        form = choose_form(forms, setting)
        return form.quantisation if form and form.quantisation != usual_form(forms, setting) else None

    def fits_by_size(self, found: BaseLook) -> bool:
        """Return True if the weights alone, if no more is known of a base, fit into the memory."""
        needed = found.weight_bytes + (CONTEXT_BYTES if self.room.on_gpu else 0)
        return not found.weight_bytes or needed <= self.room.size_bytes

    def _look(self, base: str) -> BaseLook:
        if base == FAKE_BASE_NAME or self.inference.backend not in PLANNED_BACKENDS:
            return BaseLook()
        if folder := self._folder_of(base):
            return self._look_at_folder(folder)
        if stored := locate(base):
            return BaseLook(weight_bytes=stored.file.stat().st_size)
        if wanted := read_hub_gguf(base):
            size = find_hub_file(wanted).size_bytes
            return BaseLook(weight_bytes=size, download_bytes=size)
        if known := known_base(base):
            return BaseLook(
                forms=self.forms(known.config), weight_bytes=known.size_bytes, download_bytes=known.download_bytes
            )
        return self._look_at_hub(hub_name(base))

    def _folder_of(self, base: str) -> Path | None:
        """The folder of a base that is on this machine."""
        if "/" in base and Path(base).expanduser().is_dir():
            return Path(base).expanduser()
        found = base_here(self._home, base)
        if found and (problem := problem_of(found)):
            raise ModelError(problem)
        return found.folder if found else None

    def _look_at_folder(self, folder: Path) -> BaseLook:
        if gguf := gguf_of(folder):
            return BaseLook(weight_bytes=gguf.stat().st_size)
        size = base_bytes_on_disk(folder)
        try:
            return BaseLook(forms=self.forms(read_config(folder)), weight_bytes=size)
        except OtherDecoderError:
            return BaseLook(weight_bytes=size)

    def _look_at_hub(self, base: str) -> BaseLook:
        hub = look_at_hub(self._home, base)
        left = max(1, hub.download_bytes - bytes_below(hub.folder))
        try:
            forms = self.forms(read_config(hub.folder)) if (hub.folder / "config.json").exists() else ()
        except OtherDecoderError:
            forms = ()
        except ModelError:
            hub.forget()
            raise
        return BaseLook(forms=forms, weight_bytes=hub.weight_bytes, download_bytes=left, hub=hub)

    def forms(self, config: DecoderConfig) -> tuple[Form, ...]:
        """A base of these sizes in each quantisation."""
        return tuple(forms_of(config, self.inference, self.room))
