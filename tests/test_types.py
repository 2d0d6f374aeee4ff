"""The types of this package are there for a user's mypy: py.typed says so."""

import subprocess
import sys
from pathlib import Path

import pytest

import sk_mcdropout

CODE = """
import numpy as np
import torch
from sk_mcdropout import TRUSTED_TYPES, mean_and_std, sample
from sk_mcdropout.metrics import coverage_score

module, x = torch.nn.Dropout(0.5), torch.ones(3, 2)
reveal_type(TRUSTED_TYPES)
mean, std = mean_and_std(module, x)
sample(module, x, n_draws="many")
"""

SAID = [
    'Revealed type is "list[str]"',
    'Argument "n_draws" to "sample" has incompatible type "str"; expected "int"',
]


@pytest.mark.slow
def test_a_user_gets_the_types_of_the_package(tmp_path):
    pytest.importorskip("mypy", reason="mypy is not installed")
    (tmp_path / "theirs.py").write_text(CODE)
    package = Path(sk_mcdropout.__file__).parent
    assert (package / "py.typed").is_file()
    (tmp_path / "sk_mcdropout").symlink_to(package)
    # The types of the others are mypy's affair, and reading them takes a minute.
    others = ["sklearn", "skorch", "scipy", "numpy", "torch", "tqdm", "pandas"]
    rest = "".join(f"[mypy-{name}.*]\nfollow_imports = skip\n" for name in others)
    (tmp_path / "mypy.ini").write_text(f"[mypy]\nignore_missing_imports = True\n{rest}")
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "theirs.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    said = done.stdout.replace("builtins.", "")
    for line in SAID:
        assert line in said, done.stdout + done.stderr
