"""Commands that compute nothing answer at once: they import neither torch nor what else takes seconds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "torchvision", "timm", "pandas", "pyarrow", "matplotlib", "scipy", "distributed", "papermill", "cv2"}
SCRIPT = """
import sys
from msff.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
print(f"\\n{code} {sorted(sys.modules)}".replace("'", '"'), end="")
"""


@pytest.mark.parametrize(
    "command",
    ["--help", "study --help", "study status --profile cpu-long", "study plan --profile cpu-long", "study status"],
)
def test_a_command_that_computes_nothing_imports_nothing_heavy(command):
    arguments = [sys.executable, "-c", SCRIPT, *command.split()]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True)
    code, _, modules = done.stdout.splitlines()[-1].partition(" ")
    assert code == "0", done.stderr
    loaded = HEAVY.intersection(json.loads(modules))
    if command == "study status" and "torch" in loaded:  # the default profile depends on the GPU
        pytest.skip("this machine has a GPU's driver, so torch is imported")
    assert not loaded


def test_the_header_of_a_checkpoint_is_read_without_torch(tmp_path):
    import torch

    from msff.training.checkpoint import load_checkpoint, save_checkpoint

    path = tmp_path / "a.pt"
    save_checkpoint(path, config_hash="abc", epoch=3, model={"weight": torch.ones(2)}, uid="u")
    script = "import sys; from pathlib import Path; from msff.training.checkpoint import read_header\n"
    script += f"print(read_header(Path({str(path)!r})), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "{'config_hash': 'abc', 'epoch': 3, 'uid': 'u'} False\n"
    assert torch.equal(load_checkpoint(path, mapped=True)["model"]["weight"], torch.ones(2))
