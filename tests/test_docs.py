"""What the documents show is what runs."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from devices.catalogue import instruments_page

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language):
    for page in PAGES:
        for i, text in enumerate(re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.S)):
            yield pytest.param(text, id=f"{page.name} {language} {i}")


def commands():
    """Lines of shell blocks that call ssblab and end by themselves without a run's uid."""
    for block in blocks("sh"):
        for line in block.values[0].splitlines():
            command = line.split("  #")[0].strip()
            lasts = re.search(r"UID|ssblab (sim(?! --describe)|shell)\b", command)
            if command.startswith("ssblab ") and not lasts:
                yield pytest.param(command, id=command)


def run(arguments, folder):
    environment = {**os.environ, "SSBLAB_DATA": str(folder)}
    return subprocess.run(
        arguments, capture_output=True, text=True, timeout=280, env=environment, cwd=folder, check=False
    )


@pytest.mark.parametrize("text", list(blocks("python")))
def test_python_blocks_run(text, tmp_path):
    done = run([sys.executable, "-W", "ignore", "-c", text], tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", list(commands()))
def test_commands_run(command, tmp_path):
    done = run([sys.executable, "-m", "ssblab.cli", *shlex.split(command)[1:]], tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_files_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_page_of_instruments_is_what_the_drivers_say():
    page = ROOT / "docs" / "instruments.md"
    written = page.read_text(encoding="utf-8")
    assert written == instruments_page(), "write it anew: ssblab instruments --markdown > docs/instruments.md"
