"""What two snapshots of a service say about the time between them."""

from __future__ import annotations

from loadtests.load.estimates import histogram_percentile
from loadtests.load.scenarios.recording import Recording, Snapshot

STAGES = {"stage1_load_mel": "MelPreprocessor", "stage2_encoder": "Encoder", "stage3_decoder_align": "Decoder"}
QUEUE_WAIT = "amanuensis_queue_wait_seconds"


def growth(before: Snapshot, after: Snapshot, series: str) -> float:
    """Return how much a counter grew."""
    return after.metrics.get(series, 0.0) - before.metrics.get(series, 0.0)


def queue_wait_ms(before: Snapshot, after: Snapshot, percent: float) -> float | None:
    """Estimate from the histogram how long the requests waited that got their first slot in between."""
    prefix = f'{QUEUE_WAIT}_bucket{{le="'
    buckets = [series for series in after.metrics if series.startswith(prefix)]
    bounds = [float(series.removeprefix(prefix).removesuffix('"}')) for series in buckets]
    estimate = histogram_percentile(bounds, [growth(before, after, series) for series in buckets], percent)
    return None if estimate is None else 1000 * estimate


def busy_share(before: Snapshot, after: Snapshot, stage: str) -> float:
    """Return the seconds per second in which the stage computed; above 1 with several workers."""
    busy = growth(before, after, f'amanuensis_stage_busy_seconds_total{{stage="{stage}"}}')
    return busy / max(after.at - before.at, 1e-9)


def batch_size(before: Snapshot, after: Snapshot, stage: str) -> float | None:
    """Return the mean number of windows per batch; None if there were no batches."""
    batches = growth(before, after, f'amanuensis_stage_batches_total{{stage="{stage}"}}')
    windows = growth(before, after, f'amanuensis_stage_run_seconds_count{{stage="{stage}"}}')
    return windows / batches if batches > 0 else None


def cores_used(before: Snapshot, after: Snapshot) -> dict[str, float]:
    """Return CPU seconds per second by role. A role whose processes were replaced counts as 0."""
    seconds = max(after.at - before.at, 1e-9)
    used = {role: (total - before.cpu_s.get(role, 0.0)) / seconds for role, total in after.cpu_s.items()}
    return {role: max(share, 0.0) for role, share in used.items()}


def memory_series(recording: Recording) -> tuple[list[float], list[float]]:
    """Return seconds since the start and MiB of all roles of the service, after the warm-up."""
    from_ = recording.began + recording.scenario.warm_up_s
    kept = [snapshot for snapshot in recording.snapshots if snapshot.memory_mib and snapshot.at >= from_]
    times = [snapshot.at - recording.began for snapshot in kept]
    return times, [sum(snapshot.memory_mib.values()) for snapshot in kept]
