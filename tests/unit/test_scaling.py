"""How many replicas a stage gets, and when."""

from deployments.scaling import replicas


def test_without_a_maximum_the_number_is_fixed() -> None:
    assert replicas(2, None, at_once=8, drain_s=30) == {"num_replicas": 2, "graceful_shutdown_timeout_s": 30}
    assert replicas(2, 2, at_once=8, drain_s=30)["num_replicas"] == 2


def test_with_a_maximum_replicas_follow_the_calls_under_way() -> None:
    options = replicas(1, 4, at_once=8, drain_s=30)
    scaling = options["autoscaling_config"]
    assert "num_replicas" not in options
    assert (scaling.min_replicas, scaling.max_replicas, scaling.target_ongoing_requests) == (1, 4, 8)
    assert scaling.upscale_delay_s < scaling.downscale_delay_s, "adding is urgent, removing is not"
    assert scaling.metrics_interval_s < scaling.look_back_period_s
    assert options["graceful_shutdown_timeout_s"] == 30, "a replica that goes finishes its calls"
