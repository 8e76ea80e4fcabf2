"""What the autoscaling test sees: a row per second, every replica that was added, every request that failed."""

from __future__ import annotations

from dataclasses import dataclass, field

DEPLOYMENTS = {"mel": "MelPreprocessor", "decoder": "Decoder"}


@dataclass(frozen=True)
class LoadLevel:
    """A number of clients that ask for some time."""

    name: str
    clients: int
    seconds: float


LEVELS = (
    LoadLevel("rest", 1, 10),
    LoadLevel("up", 8, 10),
    LoadLevel("hold", 48, 50),
    LoadLevel("down", 1, 60),
)


@dataclass(frozen=True)
class Row:
    """One second: times in milliseconds, of the requests answered in it."""

    at_s: float
    phase: str
    clients: int
    mel_replicas: int
    decoder_replicas: int
    waiting: int
    queue_wait_ms: float
    answered: int
    failed: int
    wrong: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class ReplicaStart:
    """A replica that was added: from the start of its process until it takes calls."""

    deployment: str
    ready_at_s: float
    seconds: float
    cpu_s: float


@dataclass
class Observations:
    """Everything seen; times in seconds since the beginning.

    Attributes:
        expected: clip name -> the text that a single client got.
        level: the level under way.
        latencies_s: seconds until each right or wrong answer.
        errors: what each failed request met.
        running: stage -> running replicas now.
        changes: (time, stage, running replicas from then on).
        starts: replicas that were added.
        shares: deployment -> CPU seconds of each replica in the second half of the hold.
        began_s: level -> when it began.
    """

    expected: dict[str, str]
    level: LoadLevel = LEVELS[0]
    latencies_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    wrong: int = 0
    rows: list[Row] = field(default_factory=list)
    running: dict[str, int] = field(default_factory=dict)
    changes: list[tuple[float, str, int]] = field(default_factory=list)
    starts: list[ReplicaStart] = field(default_factory=list)
    shares: dict[str, list[float]] = field(default_factory=dict)
    began_s: dict[str, float] = field(default_factory=dict)
