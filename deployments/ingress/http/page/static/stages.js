/** What the figures of `/stats/pipeline` mean for the moment: they count from the start of the service. */

const NAMES = { stage1: "Audio", stage2: "Encoder", stage3: "Decoder" };

/**
 * Return each stage at the moment: its `name`, `replicas`, `calls` under way, whether it is `closed` because it failed
 * again and again, and the `share` of the time between two figures in which it was busy, from 0 to 1.
 *
 * `before` is null for the first figures; `seconds` lie between the two.
 */
export function stagesNow(before, now, seconds) {
  return Object.entries(NAMES).map(([stage, name]) => {
    const { workers_active: replicas, input_queue_size: calls, busy_time: busy, breaker } = now[stage];
    const share = before === null ? 0 : (busy - before[stage].busy_time) / seconds / Math.max(1, replicas);
    return { name, replicas, calls, closed: breaker !== "closed", share: Math.max(0, Math.min(1, share)) };
  });
}
