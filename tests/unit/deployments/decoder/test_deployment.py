"""The Decoder's replica: steps of several windows are shared, and no window pays for another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments.decoder import deployment as decoder_module
from deployments.decoder.deployment import Decoder
from deployments.decoder.generation import TextGenerator
from deployments.decoder.language import SURE_LANGUAGE
from deployments.decoder.steps import DecodeItem
from deployments.shared.contracts import Area, ArrayRef, DecodeOptions, SlotArray, Ticket, Window
from deployments.shared.errors import DeadlineExceededError, SlotViolationError, UnsupportedLanguageError
from deployments.shared.memory.handoff import Handoff
from deployments.shared.memory.slab import Slab, SlabLayout, retire
from deployments.shared.model.description import load_model
from deployments.shared.settings import Settings
from tests.support.tiny_whisper import D_MODEL, make_multilingual_model

WINDOW = Window(0, 0.0, 4.0)
GERMAN = DecodeOptions(language="de")


class DictionaryHandoff:
    """A handoff whose slots are a dictionary."""

    def __init__(self) -> None:
        self.states: dict[int, Any] = {}

    def check_ticket(self, ticket: Ticket) -> None:
        if ticket.is_late:
            raise DeadlineExceededError("too late")

    @contextmanager
    def reading(self, ticket: Ticket) -> Iterator[None]:
        self.check_ticket(ticket)
        yield

    def input(self, _ticket: Ticket, array: ArrayRef) -> Any:
        assert isinstance(array, SlotArray)
        return self.states[array.slot]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_multilingual_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def replica(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A Decoder in this process, with states of random windows in slots 0 to 7."""
    monkeypatch.setattr(decoder_module, "Handoff", DictionaryHandoff)
    monkeypatch.setattr(decoder_module, "give_way_to_ingress", lambda: None)
    monkeypatch.setattr(decoder_module, "replica_name", lambda: "decoder#1")
    settings = Settings.resolve({"whisper_model": str(model_dir)})
    deployment: Any = Decoder
    built = deployment.func_or_class(settings, load_model(settings))
    rng = np.random.default_rng(7)
    built._handoff.states = {slot: 3 * rng.standard_normal((100, D_MODEL), np.float32) for slot in range(8)}
    return built


def ticket(slot: int, *, late: bool = False) -> Ticket:
    return Ticket(f"request-{slot}", slot, 1, time.time() + (-1 if late else 60), None)


def states(slot: int) -> SlotArray:
    return SlotArray(slot, 1, Area.ENCODER_STATES, (100, D_MODEL))


def together(*calls: Callable[[], Coroutine[Any, Any, Any]]) -> list[Any]:
    async def scenario() -> list[Any]:
        return list(await asyncio.gather(*(call() for call in calls), return_exceptions=True))

    return asyncio.run(scenario())


def decode(replica: Any, slot: int, options: DecodeOptions = GERMAN, *, late: bool = False) -> Any:
    return lambda: replica.decode(ticket(slot, late=late), states(slot), WINDOW, options, None)


def test_windows_that_wait_share_their_steps(replica: Any, model_dir: Path) -> None:
    decoded = together(*(decode(replica, slot) for slot in range(4)))
    expected = TextGenerator(model_dir).generate(
        [DecodeItem(replica._handoff.states[slot], WINDOW, GERMAN) for slot in range(4)]
    )
    assert [each.transcript for each in decoded] == expected
    assert {each.timing.batch_size for each in decoded} == {4}
    assert all(each.timing.run_s > 0 and each.timing.queue_s >= 0 for each in decoded)


def test_language_detection_alone(replica: Any) -> None:
    detections = [
        lambda slot=slot: replica.detect_language(ticket(slot), states(slot), WINDOW, ()) for slot in range(3)
    ]
    *found, decoded = together(*detections, decode(replica, 0, DecodeOptions()))
    assert [each.timing.batch_size for each in found] == [4, 4, 4]
    likeliest = found[0]
    assert 0 < likeliest.probability <= 1
    if likeliest.probability >= SURE_LANGUAGE:
        assert decoded.transcript.language == likeliest.language
        assert decoded.transcript.language_probability == likeliest.probability


def test_a_bad_window_harms_no_neighbour(replica: Any) -> None:
    replica._handoff.states[1] = np.zeros(7, np.float32)
    good, broken, late, unknown = together(
        decode(replica, 0),
        decode(replica, 1),
        decode(replica, 2, late=True),
        decode(replica, 3, DecodeOptions(language="sw")),
    )
    assert good.transcript.language == "de"
    assert isinstance(broken, ValueError)
    assert isinstance(late, DeadlineExceededError)
    assert isinstance(unknown, UnsupportedLanguageError)


def test_a_good_text_is_given_out_while_another_is_still_looked_for(
    replica: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hard window asks for more searches after the step that it shared; the good one has its text by then."""
    finished: list[int] = []
    advance = replica._generator.advance
    steps: list[tuple[int, list[int]]] = []

    def noted(decodings: Any) -> None:
        advance(decodings)
        steps.append((len(decodings), list(finished)))

    monkeypatch.setattr(replica._generator, "advance", noted)
    hard = np.zeros((100, D_MODEL), np.float32)
    replica._handoff.states[1] = hard

    async def call(slot: int) -> None:
        await decode(replica, slot)()
        finished.append(slot)

    together(*(lambda slot=slot: call(slot) for slot in range(4)))
    assert sorted(finished) == [0, 1, 2, 3]
    first = steps[0]
    assert first == (4, [])
    assert len(steps) > 1
    assert any(done for _, done in steps[1:])


def test_a_service_that_goes_takes_no_memory_from_a_step_and_its_slab_is_dropped_at_the_next_check(
    replica: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slab = Slab.create(tmp_path / "slab", SlabLayout(1, 80, 3000, 1500, D_MODEL))
    now = Ticket("r", 0, slab.grant(0), time.time() + 60, str(slab.path))
    written = slab.view(0, now.generation, Area.ENCODER_STATES, (100, D_MODEL))
    written[:] = replica._handoff.states[0]
    replica._handoff = Handoff()
    advance = replica._generator.advance
    steps: list[bool] = []

    def losing_the_service(decodings: Any) -> None:
        retire(slab.path, patience_s=0)
        advance(decodings)
        steps.append(bool(written.any()))

    monkeypatch.setattr(replica._generator, "advance", losing_the_service)
    reference = SlotArray(0, now.generation, Area.ENCODER_STATES, (100, D_MODEL))

    async def scenario() -> None:
        with pytest.raises(SlotViolationError):
            await replica.decode(now, reference, WINDOW, GERMAN, None)
        assert steps == [True], "what the step read was there"
        assert replica._handoff._slab is not None
        await replica.check_health()
        assert replica._handoff._slab is None

    asyncio.run(scenario())
