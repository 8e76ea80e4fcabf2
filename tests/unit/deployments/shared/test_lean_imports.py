"""What Ray Serve would import needlessly stays out, and can be had all the same."""

import subprocess
import sys

from ray._private import ray_constants

from deployments.commands.launch.environment import LEAN_START
from deployments.shared.lean_imports import HOOK, HOOK_VARIABLE

PROGRAM = f"""
import sys
from ray._private.runtime_env.setup_hook import load_and_execute_setup_hook

assert load_and_execute_setup_hook({HOOK!r}) is None, "Ray finds the function and calls it"
from ray import serve
from ray.serve._private import utils

assert utils.pd is None, "Serve goes on without it"
from deployments.shared.lean_imports import take_in

take_in()
assert "pandas" not in sys.modules
"""


def test_serve_starts_without_pandas_which_can_be_taken_in_again() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_workers_look_where_the_service_writes_it() -> None:
    assert HOOK_VARIABLE == ray_constants.WORKER_PROCESS_SETUP_HOOK_ENV_VAR
    assert LEAN_START == {HOOK_VARIABLE: HOOK}
