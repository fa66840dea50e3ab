"""What templates are made of, as far as it can be looked at without one."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import uuid
from pathlib import Path

import pytest

from boda.guest import bootstrap_descriptors
from boda.sandbox.template_image import templates_missing
from support.sandbox_snippets import GUEST

LISTED = re.compile(r'"(?P<bytes>[0-9a-f]+)"  # (?P<at>[0-9a-f]{2})  (?P<text>.+)')
LABELS = re.compile(r"# (capture|run|next|failed|resume)\b")


@pytest.mark.skipif(shutil.which("as") is None, reason="no assembler")
def test_the_code_is_what_stands_beside_it(tmp_path: Path) -> None:
    """The bytes are those that an assembler makes of the comments."""
    source, expected = [".intel_syntax noprefix"], b""
    text = (GUEST / "template_machine.py").read_text()
    listing = text[text.index("_CODE = ") : text.index("# Numbers of calls")]
    for line in listing.splitlines():
        if label := LABELS.search(line):
            source.append(f"{label[1]}:")
        if found := LISTED.search(line):
            assert len(expected) == int(found["at"], 16)
            expected += bytes.fromhex(found["bytes"])
            source.append(found["text"].replace("exit_group", "231"))
    (tmp_path / "code.s").write_text("\n".join(source) + "\n")
    subprocess.run(["as", "code.s", "-o", "code.o"], cwd=tmp_path, check=True)
    subprocess.run(["objcopy", "-O", "binary", "code.o", "code"], cwd=tmp_path, check=True)
    assert (tmp_path / "code").read_bytes() == expected
    assert len(expected) == 139


SEALED = """\
7f00-7f01 r--p 00000000 00:00 0    [vvar]
VmFlags: rd mr de
7f01-7f02 r-xp 00000000 00:00 0    [vdso]
VmFlags: rd ex mr mw me de{}
"""


def test_why_there_are_no_templates(tmp_path: Path) -> None:
    smaps = tmp_path / "smaps"
    smaps.write_text(SEALED.format(""))
    assert "which pages" in templates_missing(isolated=True, machine="x86_64", smaps=smaps)
    (tmp_path / "pagemap").touch()
    assert templates_missing(isolated=True, machine="x86_64", smaps=smaps) == ""
    assert "aarch64" in templates_missing(isolated=True, machine="aarch64", smaps=smaps)
    assert "addresses of their own" in templates_missing(
        isolated=False, machine="x86_64", smaps=smaps
    )
    smaps.write_text(SEALED.format(" sl"))
    assert "seals" in templates_missing(isolated=True, machine="x86_64", smaps=smaps)


def test_a_pair_of_sockets_is_found_though_somebody_else_speaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left, right = socket.socketpair()
    word = uuid.uuid4()

    def spoken_meanwhile() -> uuid.UUID:
        left.send(b"helper")
        right.send(b"helper")
        return word

    monkeypatch.setattr(bootstrap_descriptors.uuid, "uuid4", spoken_meanwhile)
    with left, right:
        facts = {one.fileno(): {"flags": 0} for one in (left, right)}
        assert sorted(kind[0] for _, kind, _ in bootstrap_descriptors._pairs(facts)) == [
            "done",
            "pair",
        ]
