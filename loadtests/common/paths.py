"""Where the files of the repository lie that benchmarks and load tests read."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
AUDIO = ROOT / "tests" / "audio"
CONFIGS = ROOT / "configs"
DEMO_MODEL = ROOT / "tests" / "models" / "demo-en"
"""The small test model in the tree, which understands synthetic voices only."""
