"""The ports beside the one for HTTP."""

import pytest

from deployments.commands.launch.addresses import is_loopback, url_host
from deployments.commands.launch.ports import DASHBOARD_VARIABLE, INNER_PORTS, inner_ports
from deployments.shared.errors import ConfigurationError


def test_the_usual_port_has_ray_s_own_beside_it() -> None:
    assert inner_ports(9000, {}) == {variable: default for variable, (default, _) in INNER_PORTS.items()}


def test_two_services_get_in_each_other_s_way_nowhere() -> None:
    assert not set(inner_ports(9000, {}).values()) & set(inner_ports(9001, {}).values())


def test_a_variable_wins() -> None:
    assert inner_ports(9001, {DASHBOARD_VARIABLE: "7000"})[DASHBOARD_VARIABLE] == 7000


@pytest.mark.parametrize("port", [80, 443, 1024, 65000, 65535])
def test_all_are_ports_that_anybody_may_use(port: int) -> None:
    assert all(1024 <= inner <= 65535 for inner in inner_ports(port, {}).values())


@pytest.mark.parametrize(
    ("host", "written"),
    [
        ("127.0.0.1", "localhost"),
        ("0.0.0.0", "localhost"),
        ("::1", "[::1]"),
        ("::", "[::1]"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "[2001:db8::1]"),
    ],
)
def test_a_host_as_a_url_has_it(host: str, written: str) -> None:
    assert url_host(host) == written


def test_an_unknown_host_is_told() -> None:
    with pytest.raises(ConfigurationError, match="no name"):
        is_loopback("no name")
