"""Node, where it is: what the tests run of the JavaScript client."""

import shutil
import subprocess
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parent
NODE = str(shutil.which("node"))
HAS_NODE = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")


def run_node(*arguments: str, stdin: str = "") -> str:
    """What a script in this folder tells."""
    done = subprocess.run(
        [NODE, *arguments], cwd=CLIENTS, input=stdin, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
