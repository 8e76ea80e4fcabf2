"""The picture of the dashboard: each panel is drawn from what Prometheus answers to its own queries."""

from pathlib import Path

from loadtests.load.dashboard.panels import Told, draw
from loadtests.load.dashboard.prometheus import Line, Prometheus, with_variables
from tests.support.observability import dashboard

STAGES = ("stage1_load_mel", "stage2_encoder", "stage3_decoder_align")


class Scripted(Prometheus):
    """Answers everything with two lines, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__("http://nowhere")
        self.asked: list[str] = []

    def between(self, expression: str, start: float, end: float, step_s: float) -> list[Line]:
        self.asked.append(expression)
        times = [start + step_s * number for number in range(int((end - start) / step_s) + 1)]
        return [
            Line({"stage": stage, "status": "healthy"}, times, [float(len(times))] * len(times)) for stage in STAGES
        ]


def test_every_panel_asks_its_queries_and_is_drawn(tmp_path: Path) -> None:
    prometheus, picture = Scripted(), tmp_path / "new" / "dashboard.png"
    draw(prometheus, Told([(1000.0, "calm"), (1060.0, "burst")], 1120.0, 50.0), picture)
    queries = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    assert prometheus.asked == [with_variables(query, 5.0) for query in queries]
    assert not any("$" in query for query in prometheus.asked)
    assert picture.read_bytes().startswith(b"\x89PNG")
