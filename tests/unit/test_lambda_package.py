"""Deployment packages, made by somebody who means harm."""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from boda.core.errors import AwsError
from boda.services.lambda_.code.package import unpack
from boda.services.lambda_.quotas import Quotas

CANNOT = "Could not unzip uploaded file. Please check your file, then try to upload again."
SMALL = Quotas(unzipped_bytes=10_000, entries=50)


def zipped(*members: tuple[str, bytes, int]) -> bytes:
    """members: name, content, Unix mode (0: none recorded)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in members:
            info = zipfile.ZipInfo("x")
            info.filename = info.orig_filename = name
            info.external_attr = mode << 16
            archive.writestr(info, content)
            info.external_attr = mode << 16  # which the module makes 0600 where there is none
    return buffer.getvalue()


def file(name: str, content: bytes = b"x") -> tuple[str, bytes, int]:
    return (name, content, stat.S_IFREG | 0o644)


def link(name: str, goal: str) -> tuple[str, bytes, int]:
    return (name, goal.encode(), stat.S_IFLNK | 0o777)


def unpacked(tmp_path: Path, content: bytes, quotas: Quotas = SMALL) -> Path:
    source, target = tmp_path / "code.zip", tmp_path / "task"
    source.write_bytes(content)
    target.mkdir()
    unpack(source, target, quotas)
    return target


def refused(tmp_path: Path, content: bytes, quotas: Quotas = SMALL) -> AwsError:
    with pytest.raises(AwsError) as error:
        unpacked(tmp_path, content, quotas)
    assert error.value.code == "InvalidParameterValueException"
    assert error.value.status == 400
    assert not (tmp_path / "escaped").exists()
    return error.value


@pytest.mark.parametrize("euid", [0, 1000])
def test_files_folders_links_and_modes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, euid: int
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: euid)
    target = unpacked(
        tmp_path,
        zipped(
            file("app.py", b"code"),
            ("bin/run", b"#!", stat.S_IFREG | 0o700),
            ("secret", b"s", stat.S_IFREG | 0o600),
            ("setuid", b"s", stat.S_IFREG | 0o4755),
            ("plain", b"no mode at all", 0),
            ("deep/folder/", b"", stat.S_IFDIR | 0o700),
            file("./dot//name.txt"),
            file("mïté/文件.txt", b"unicode"),
            link("deep/up", "../app.py"),
            link("current", "deep/folder"),
            link("own", "/opt/lib/x.so"),
        ),
    )
    assert (target / "app.py").read_bytes() == b"code"
    modes = {
        path.name: stat.S_IMODE(path.lstat().st_mode)
        for path in target.rglob("*")
        if not path.is_symlink()
    }
    if euid == 0:
        assert (modes["run"], modes["setuid"], modes["secret"]) == (0o700, 0o755, 0o600)
        assert modes["plain"] == modes["app.py"] == 0o644
    else:  # who runs the function owns its files, and may what others may
        assert (modes["run"], modes["setuid"], modes["secret"]) == (0, 0o555, 0)
        assert modes["plain"] == modes["app.py"] == 0o444
    assert (modes["folder"], modes["deep"]) == (0o700, 0o755)
    assert (target / "dot" / "name.txt").exists()
    assert (target / "mïté" / "文件.txt").read_bytes() == b"unicode"
    assert (target / "deep" / "up").read_bytes() == b"code"
    assert os.readlink(target / "current") == "deep/folder"
    assert os.readlink(target / "own") == "/opt/lib/x.so"


@pytest.mark.parametrize(
    "name",
    [
        "../escaped",
        "a/../../escaped",
        "a/..",
        "/tmp/escaped",
        "C:/escaped",
        "c:escaped",
        "..\\escaped",
        "a\\b",
        "\\\\host\\share",
        "a/\0b",
        "x" * 256,
        "/".join(["y" * 100] * 40),
    ],
)
def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    error = refused(tmp_path, zipped(file("ok.py"), file(name)))
    assert error.message.startswith(CANNOT)


@pytest.mark.parametrize(
    "members",
    [
        [link("l", "../escaped")],
        [link("l", "/etc/passwd")],
        [link("l", "/opt/../etc/passwd")],
        [link("l", "a/../../escaped")],
        [link("l", "")],
        [link("l", "x" * 5000)],
        # Each of the two is harmless by its letters; together they lead out.
        [file("a/b/c/f"), link("a/b/c/root", "../../.."), link("out", "a/b/c/root/../escaped")],
    ],
)
def test_a_link_that_leaves_the_folder_is_refused(
    tmp_path: Path, members: list[tuple[str, bytes, int]]
) -> None:
    assert refused(tmp_path, zipped(*members)).message.startswith(CANNOT)


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    refused(tmp_path, zipped(link("l", str(outside)), file("l/escaped")))
    assert not list(outside.iterdir())


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_devices_are_refused(tmp_path: Path, kind: int) -> None:
    refused(tmp_path, zipped(("dev", b"", kind | 0o666)))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("again", ["a", "./a"])
def test_of_a_name_that_is_there_twice_the_last_wins(tmp_path: Path, again: str) -> None:
    first = ("a", b"the first, and longer", stat.S_IFREG | 0o600)
    last = (again, b"the last", stat.S_IFREG | 0o755)
    source = tmp_path / "code.zip"
    source.write_bytes(zipped(first, file("between"), last))
    (tmp_path / "task").mkdir()
    assert unpack(source, tmp_path / "task", SMALL) == len(b"the last") + len(file("between")[1])
    place = tmp_path / "task" / "a"
    assert place.read_bytes() == b"the last"
    assert stat.S_IMODE(place.stat().st_mode) & 0o005 == 0o005


@pytest.mark.parametrize(
    "members",
    [
        [file("a"), file("a/b")],
        [file("a/b"), file("a")],
        [file("a"), ("a/", b"", stat.S_IFDIR | 0o755)],
    ],
)
def test_a_file_that_is_a_folder_too_is_refused(
    tmp_path: Path, members: list[tuple[str, bytes, int]]
) -> None:
    refused(tmp_path, zipped(*members))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_folder_may_be_named_twice(tmp_path: Path) -> None:
    folder = ("a/", b"", stat.S_IFDIR | 0o755)
    assert (unpacked(tmp_path, zipped(folder, folder, file("a/b"))) / "a" / "b").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"this is not a zip file",
        b"PK\x05\x06",
        b"PK\x03\x04" + b"\0" * 40,
        zipped(file("a", b"x" * 500))[:-30],
        zipped(file("a", b"x" * 500))[100:],
    ],
)
def test_what_is_no_whole_zip_is_refused_in_awss_words(tmp_path: Path, content: bytes) -> None:
    assert refused(tmp_path, content).message == CANNOT


@pytest.mark.parametrize("content", [b"", zipped()])
def test_an_empty_package_is_refused(tmp_path: Path, content: bytes) -> None:
    assert refused(tmp_path, content).message == "Uploaded file must be a non-empty zip"


def test_every_flipped_byte_is_refused_or_harmless(tmp_path: Path) -> None:
    good = zipped(file("a.py", b"content " * 20), file("b/c.txt", b"more"))
    for at in range(len(good)):
        folder = tmp_path / str(at)
        folder.mkdir()
        broken = bytearray(good)
        broken[at] ^= 0xFF
        try:
            target = unpacked(folder, bytes(broken))
        except AwsError:
            continue
        for path in target.rglob("*"):
            assert path.resolve().is_relative_to(target.resolve())


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, 9, 93, 99])
def test_what_is_not_compressed_as_it_says_is_refused(tmp_path: Path, method: int) -> None:
    content = bytearray(zipped(file("a.py", b"\xff" * 500)))
    directory = content.rfind(b"PK\x01\x02")
    struct.pack_into("<H", content, 8, method)
    struct.pack_into("<H", content, directory + 10, method)
    assert refused(tmp_path, bytes(content)).message == CANNOT


def test_an_encrypted_entry_is_refused(tmp_path: Path) -> None:
    content = bytearray(zipped(file("a")))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.index(mark) + offset
        content[at] |= 1
    assert "encrypted" in refused(tmp_path, bytes(content)).message


def test_too_much_by_its_own_word_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, zipped(*(file(f"f{n}", b"\0" * 3000) for n in range(4))))
    assert error.message == "Unzipped size must be smaller than 10000 bytes"


def test_a_package_that_lies_about_its_size_is_not_inflated(tmp_path: Path) -> None:
    """A megabyte of zeros whose headers say ten bytes."""
    content = bytearray(zipped(file("bomb", b"\0" * 1_000_000)))
    size = struct.pack("<L", 1_000_000)
    while size in content:
        at = content.index(size)
        content[at : at + 4] = struct.pack("<L", 10)
    error = refused(tmp_path, bytes(content))
    assert error.message in (CANNOT, "Unzipped size must be smaller than 10000 bytes")
    assert sum(path.stat().st_size for path in (tmp_path / "task").rglob("*")) <= 10_000


def test_overlapping_entries_count_each(tmp_path: Path) -> None:
    """Many directory entries that share one compressed body."""
    body = zlib.compress(b"\0" * 6000)[2:-4]
    crc = zlib.crc32(b"\0" * 6000)
    out, directory = bytearray(), bytearray()
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 8, 0, 0, crc, len(body), 6000, 1, 0)
    out += local + b"a" + body
    for number in range(5):
        name = chr(ord("a") + number).encode()
        directory += (
            struct.pack(
                "<4s6H3L5H2L",
                *(b"PK\x01\x02", 20, 20, 0, 8, 0, 0, crc, len(body), 6000, 1, 0, 0, 0, 0, 0, 0),
            )
            + name
        )
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 5, 5, len(directory), len(out), 0)
    refused(tmp_path, bytes(out + directory) + end)


def test_an_absurd_number_of_entries_is_refused_before_they_are_read(tmp_path: Path) -> None:
    error = refused(tmp_path, zipped(*(file(f"f{n}", b"") for n in range(51))))
    assert "more than 50 entries" in error.message


def test_an_end_that_hides_its_directory_is_seen_through(tmp_path: Path) -> None:
    """The entry count of the end record says one; the directory holds more than the limit."""
    content = bytearray(zipped(*(file(f"f{n}", b"") for n in range(200))))
    at = content.rindex(b"PK\x05\x06")
    content[at + 8 : at + 12] = struct.pack("<HH", 1, 1)
    refused(tmp_path, bytes(content))
