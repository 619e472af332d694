import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_wheels_install_into_an_empty_environment(tmp_path: Path) -> None:
    """Every distribution builds, and ``pip install "clipzoo[points]"`` from the wheels gives a working program."""
    dist = tmp_path / "dist"
    projects = [ROOT, *sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))]
    for project in projects:
        subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", dist, project], check=True)
    assert len(list(dist.glob("*.whl"))) == len(projects)
    python = tmp_path / "venv" / "bin" / "python"
    if uv := shutil.which("uv"):
        subprocess.run([uv, "venv", "--python", sys.executable, tmp_path / "venv"], check=True)
        install = [uv, "pip", "install", "--python", python]
    else:
        venv.create(tmp_path / "venv", with_pip=True)
        install = [python, "-m", "pip", "install"]
    subprocess.run([*install, "--find-links", dist, "clipzoo[points]"], check=True)
    environment = {**os.environ, "CLIPZOO_OFFLINE": "1", "CLIPZOO_CACHE": str(tmp_path / "cache")}
    environment.pop("PYTHONPATH", None)
    command = [tmp_path / "venv" / "bin" / "clipzoo", "run", "pointclip", "per_class=1", "mode=v2", "out=runs"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "top1" in done.stdout
    assert list((tmp_path / "runs").glob("pointclip/*/report.html"))
