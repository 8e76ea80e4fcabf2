"""The page ``docs/cluster.md``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from loadtests.common.cpu_time import OTHER
from loadtests.load.cluster.clients import Visit, retried
from loadtests.load.cluster.observations import Death, Turn

STEP_S = 10.0
LEAST_MS = 0.05
NAMES = {"Ray": "raylets and Ray's other servers", OTHER: "all others"}


@dataclass(frozen=True)
class Findings:
    """All that one run found.

    Attributes:
        command: the one that makes the page.
        machine: where it ran, in words.
        clients: how many there were.
        clip_s: mean seconds of audio in a request.
        handoffs: how arrays travelled, by the number of nodes.
        placed: the replicas on each node of the two, in words.
    """

    command: str
    machine: str
    clients: int
    clip_s: float
    handoffs: Mapping[int, str]
    placed: str
    turns: Sequence[Turn]
    deaths: Sequence[Death]

    @property
    def visits(self) -> list[Visit]:
        """The requests of all loops."""
        loops = [*(turn.visits for turn in self.turns), *(death.visits for death in self.deaths)]
        return list(chain.from_iterable(loops))

    @property
    def lost(self) -> int:
        """Requests whose clients gave up."""
        return sum(visit.is_lost for visit in self.visits)

    @property
    def wrong(self) -> int:
        """Answers with another text than that of one client on one node."""
        return sum(visit.replies[-1].outcome == "wrong" for visit in self.visits)

    def ratios(self) -> list[float]:
        """Return the CPU time per request of two nodes as a multiple of one node's, for each pair of turns."""
        one, two = (self.of(nodes) for nodes in (1, 2))
        return [both.cpu_ms / alone.cpu_ms for alone, both in zip(one, two, strict=True)]

    def of(self, nodes: int) -> list[Turn]:
        """Return the turns of the service with so many nodes."""
        return [turn for turn in self.turns if turn.nodes == nodes]


def as_markdown(found: Findings) -> str:
    """Return the page."""
    lines = [
        "# Two nodes, one of which dies",
        "",
        f"`{found.command}`, on {found.machine}, which other work was using too. Each node is in a network namespace "
        "of its own, so two nodes reach each other over TCP alone; they share the cores. Both services have two "
        "MelPreprocessors, two Encoders and two Decoders. "
        f"{found.clients} clients send human speech, {found.clip_s:.1f} s on average, and try again as OpenAI's client "
        "does.",
        "",
        f"**{len(found.visits)} requests, {found.lost} lost, {found.wrong} wrong transcripts.** A transcript is wrong "
        "if it differs from what a single client got from one node.",
        "",
        "## What a second node costs",
        "",
        *_costs(found),
        "",
        "## When the second node dies",
        "",
        *_deaths(found),
    ]
    return "\n".join(lines) + "\n"


def _costs(found: Findings) -> list[str]:
    ratios = found.ratios()
    table = [
        f"One node hands arrays on through `{found.handoffs[1]}`, two through `{found.handoffs[2]}`, which `handoff: "
        f"auto` chose. Of the two nodes, {found.placed}. The services take turns, and the other one idles meanwhile.",
        "",
        "| turn | requests | requests/s | CPU ms per request | p50 ms | p99 ms |",
        "| --- | --- | --- | --- | --- | --- |",
        *(_turn_row(turn) for turn in found.turns),
        "",
        f"**CPU time per request: {sum(ratios) / len(ratios):.2f} times that of one node** "
        f"({min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} pairs of turns).",
        "",
        "| CPU ms per request of | one node | two nodes |",
        "| --- | --- | --- |",
    ]
    one, two = found.of(1), found.of(2)
    means = {role: (_mean_ms(one, role), _mean_ms(two, role)) for role in _roles(found.turns)}
    by_cost = sorted(means.items(), key=lambda each: -max(each[1]))
    rows = [f"| {NAMES.get(role, role)} | {a:.1f} | {b:.1f} |" for role, (a, b) in by_cost if max(a, b) >= LEAST_MS]
    note = (
        "A second node has a raylet and agents of its own, which use CPU at rest too. Between nodes the Ingress "
        "fetches what a stage returns and puts it into the store: "
        "[decisions](decisions.md#arrays-lie-in-shared-memory)."
    )
    return [*table, *rows, "", note]


def _turn_row(turn: Turn) -> str:
    name = "one node" if turn.nodes == 1 else "two nodes"
    return (
        f"| {name} | {len(turn.visits)} | {turn.requests_per_s:.1f} | {turn.cpu_ms:.0f} | "
        f"{turn.percentile_ms(50):.0f} | {turn.percentile_ms(99):.0f} |"
    )


def _roles(turns: Sequence[Turn]) -> set[str]:
    return {role for turn in turns for role in turn.cpu_s}


def _mean_ms(turns: Sequence[Turn], role: str) -> float:
    return sum(turn.role_ms(role) for turn in turns) / len(turns)


def _deaths(found: Findings) -> list[str]:
    rows: list[tuple[str, list[str]]] = [
        ("replicas on it", [_counted(death.on_it) for death in found.deaths]),
        ("requests", [str(len(death.visits)) for death in found.deaths]),
        ("lost", [str(sum(visit.is_lost for visit in death.visits)) for death in found.deaths]),
        ("attempts that clients made again", [_counted(Counter(retried(death.visits))) for death in found.deaths]),
        ("calls that the service made again", [_counted(death.repeated) for death in found.deaths]),
        ("longest time without an answer, s", [f"{death.silence_s:.1f}" for death in found.deaths]),
        ("last request under way answered after, s", [f"{death.hit_s:.1f}" for death in found.deaths]),
        ("no more slow answers after, s", [f"{death.trouble_s:.1f}" for death in found.deaths]),
        ("answered/s before", [f"{_rate_before(death):.1f}" for death in found.deaths]),
        (
            f"answered/s in each {STEP_S:g} s since",
            [", ".join(f"{count / STEP_S:.1f}" for count in death.answered(STEP_S)) for death in found.deaths],
        ),
        ("replicas on the head in the end", [_counted(death.replicas) for death in found.deaths]),
        ("`/health` in the end", [death.health for death in found.deaths]),
    ]
    header = f"| | {' | '.join(death.how for death in found.deaths)} |"
    rule = "| --- |" + " --- |" * len(found.deaths)
    note = (
        "An answer is slow if it took longer than any before the death. Replicas of the dead node are started again on "
        "the head, except for an Encoder, whose device is gone. The nodes share the cores, so the head alone has as "
        "many as both had; what is started meanwhile takes its share of them."
    )
    return [header, rule, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows), "", note]


def _counted(things: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(things.items()) if count) or "none"


def _rate_before(death: Death) -> float:
    return sum(visit.ended <= death.died for visit in death.visits) / (death.died - death.began)
