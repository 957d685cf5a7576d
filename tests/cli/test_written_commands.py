"""Every command that README and book print is one that the command line accepts."""

import re
import shlex
from pathlib import Path

import pytest

from msff.cli.entry import _parser

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "book").glob("*.md"))]
STANDS_FOR = {"N": "3", "M": "2", "DIR": "folder", "NAME": "name"}


def commands(text):
    """The arguments of each `msff` call in blocks and spans of code; a span that ends with an option only names it."""
    lines = [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    lines += [span for span in re.findall(r"`([^`\n]+)`", text) if re.search(r" --\w\S* (?!.*--[\w-]+$)", span)]
    for line in lines:
        call = re.match(r"(?:\w+=\S+ )*(?:\S*/)?(?:msff|torchrun .*-m msff\.cli) (.*)", line.partition(" #")[0].strip())
        if call and "..." not in call[1]:
            yield [STANDS_FOR.get(word, word) for word in shlex.split(call[1])]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_written_command_parses(path, capsys):
    for arguments in commands(path.read_text()):
        try:
            _parser().parse_args(arguments)
        except SystemExit as stop:
            assert stop.code == 0, f"{path.name}: msff {' '.join(arguments)}\n{capsys.readouterr().err}"


def test_the_chapters_on_reproduction_print_commands():
    found = {name: len(list(commands((ROOT / "book" / name).read_text()))) for name in ("reexecute.md", "machines.md")}
    assert min(found.values()) >= 5, found


def test_a_wrong_option_would_be_found(capsys):
    (arguments,) = commands("```bash\n.venv/bin/msff study plan --profil3 cpu   # a comment\n```")
    with pytest.raises(SystemExit):
        _parser().parse_args(arguments)
