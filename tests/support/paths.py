"""Where the files lie that tests read."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
AUDIO = ROOT / "tests" / "audio"
CONFIGS = ROOT / "configs"
DEMO_MODEL = ROOT / "tests" / "models" / "demo-en"
RECORDED_MACHINES = ROOT / "tests" / "recorded_machines"
