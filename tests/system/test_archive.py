"""Archives: whole or not at all, and read without running anything."""

import errno
import io
import json
import os
import pickle
import stat
import sys
import zipfile

import numpy as np
import pytest
from archives import load_archive
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as npst

from minitransformer.system import archive, files
from minitransformer.system.archive import ArchiveError, Header, open_archive, save_archive

ARRAYS = {
    "parameters.w": np.arange(12, dtype=np.float32).reshape(3, 4) / 7,
    "parameters.b": np.array([1.5, -0.0, np.inf, 5e-324]),
    "ids": np.array([[3, 1], [4, 1]], np.uint16),
    "scalar": np.array(2.5),
    "none": np.zeros((0, 3)),
}
DESCRIPTION = {"kind": "test", "words": "naïve ☃\n", "numbers": [1, 2.5, None], "nested": {"a": {"b": True}}}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.npz"
    save_archive(path, ARRAYS, DESCRIPTION)
    return path


def assert_is_the_saved_one(path):
    arrays, description = load_archive(path)
    assert_equal(arrays, ARRAYS)
    assert description == {"format": "minitransformer", "version": 1, **DESCRIPTION}


def assert_equal(arrays, expected):
    assert list(arrays) == list(expected)
    for name, array in expected.items():
        assert arrays[name].dtype == array.dtype and arrays[name].shape == array.shape
        assert arrays[name].tobytes() == array.tobytes()


def assert_refused(path, words="not a model|damaged"):
    with pytest.raises(ArchiveError, match=words) as caught:
        load_archive(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def written(path, content):
    path.write_bytes(content)
    return path


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,8}(\.[a-z0-9_]{1,8}){1,3}", fullmatch=True),
        npst.arrays(
            st.sampled_from([np.float32, np.float64, np.uint8, np.int64, np.bool_, np.complex64]),
            npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
        ),
        max_size=4,
    ),
    st.dictionaries(st.sampled_from("abc"), st.integers() | st.text(st.characters(codec="utf-8"))),
)
def test_any_arrays_and_descriptions_come_back(tmp_path_factory, arrays, description):
    path = tmp_path_factory.mktemp("archive") / "any.npz"
    save_archive(path, arrays, description)
    loaded, fields = load_archive(path)
    assert_equal(loaded, arrays)
    assert {name: fields[name] for name in description} == description


class Crash(BaseException):
    """An exception that no `except Exception` catches, like Ctrl-C."""


def failing(error, after):
    """Return a file class whose write raises `error` once `after` bytes are written."""

    class Failing(io.FileIO):
        left = after

        def write(self, data):
            size = memoryview(data).nbytes
            if size > self.left:
                super().write(memoryview(data).cast("B")[: self.left])
                raise error
            self.left -= size
            return super().write(data)

    return Failing


@pytest.mark.parametrize("moment", [0, 1, 100, 700, 1400, "fsync", "replace"])
@pytest.mark.parametrize(
    "error, words",
    [
        (OSError(errno.ENOSPC, "No space left on device"), "cannot write: No space left.*; nothing was changed"),
        (Crash("power"), "power"),
    ],
)
def test_a_failure_at_any_moment_leaves_the_old_file_and_nothing_else(path, monkeypatch, moment, error, words):
    def fail(*arguments):
        raise error

    if isinstance(moment, str):
        monkeypatch.setattr(os, moment, fail)
    else:
        monkeypatch.setattr(files, "open", failing(error, moment), raising=False)
    with pytest.raises(type(error), match=words) as caught:
        save_archive(path, {"parameters.w": np.zeros((20, 20))}, {"kind": "new"})
    monkeypatch.undo()
    if isinstance(error, OSError):
        assert caught.value.errno == error.errno and caught.value.filename == str(path)
    assert os.listdir(path.parent) == ["model.npz"]
    assert_is_the_saved_one(path)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Python 3.13's, of a half open member
def test_ctrl_c_at_any_call_of_the_writing_is_what_arrives(tmp_path):
    path, before = tmp_path / "model.npz", {"w": np.zeros(3)}
    save_archive(path, before, {})
    old, calls = path.read_bytes(), 0

    def interrupt(frame, event, argument):
        nonlocal left
        writing = frame.f_code.co_filename.endswith(
            ("zipfile.py", "zipfile/__init__.py", "minitransformer/system/archive.py")
        )
        left -= writing and frame.f_code.co_name != "__del__"  # from where nothing arrives, whatever it is
        if left == 0:
            raise KeyboardInterrupt

    while path.read_bytes() == old and calls < 10_000:
        left = calls = calls + 1
        arrived = False
        sys.setprofile(interrupt)
        try:
            save_archive(path, {"w": np.ones(3), "b": np.ones(())}, {})
        except KeyboardInterrupt:
            arrived = True
        sys.setprofile(None)
        assert arrived == (left == 0) and os.listdir(tmp_path) == ["model.npz"]
    assert calls > 100 and load_archive(path)[0]["w"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "name, error, words",
    [
        ("missing/model.npz", FileNotFoundError, "cannot write: No such file or directory; nothing was changed"),
        ("file/model.npz", NotADirectoryError, "cannot write: Not a directory"),
        ("folder", IsADirectoryError, "cannot write: Is a directory"),
    ],
)
def test_a_place_that_cannot_be_written_is_named(tmp_path, name, error, words):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(error, match=words) as caught:
        save_archive(tmp_path / name, ARRAYS, DESCRIPTION)
    assert caught.value.filename == str(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"] and os.listdir(tmp_path / "folder") == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_device_or_a_pipe_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"cannot write: is a device or a pipe.*; nothing was changed"):
        save_archive(tmp_path / "pipe", ARRAYS, DESCRIPTION)
    assert os.listdir(tmp_path) == ["pipe"] and stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)


def test_a_file_cut_short_at_any_byte_is_refused(path):
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 5), *range(len(whole) - 120, len(whole))]:
        assert_refused(written(path, whole[:length]), "truncated|damaged|not an archive")
    assert_is_the_saved_one(written(path, whole))


def test_a_flipped_bit_is_refused_or_changes_nothing(path):
    """Some bits of a zip file carry no meaning, such as dates; any other must be noticed."""
    whole = path.read_bytes()
    noticed, positions = 0, range(0, len(whole), 3)
    for position in positions:
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        written(path, damaged)
        try:
            arrays, description = load_archive(path)
        except ArchiveError:
            noticed += 1
        else:
            # Names and their number are outside the checksums; an array with a changed name is reported as missing.
            assert len(arrays) <= len(ARRAYS) and description["kind"] == "test"
            for name in arrays.keys() & ARRAYS.keys():
                assert arrays[name].tobytes() == ARRAYS[name].tobytes()
                assert arrays[name].dtype == ARRAYS[name].dtype and arrays[name].shape == ARRAYS[name].shape
    assert noticed > 0.75 * len(positions)


def test_a_header_that_claims_less_than_there_is_fails_its_checksum(path):
    content = path.read_bytes().replace(b"(3, 4)", b"(3, 2)")
    assert_refused(written(path, content), "damaged, or not an archive of minitransformer .*CRC")


def zipped(members, **options):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def described(**fields):
    return np.frombuffer(json.dumps(fields).encode(), np.uint8)


FOREIGN = {
    "empty": (b"", "not a model or checkpoint of minitransformer, or truncated"),
    "pickle": (pickle.dumps({"weights": [1.0, 2.0]}), "not a model or checkpoint of minitransformer"),
    "torch": (
        zipped({"archive/data.pkl": pickle.dumps([1]), "archive/version": b"3"}),
        "a zip archive, but not a model or checkpoint of minitransformer",
    ),
    "npz": (npz(x=np.zeros(3)), "a zip archive, but not a model or checkpoint of minitransformer"),
    "description is no JSON": (npz(description=np.arange(7, dtype=np.uint8)), "damaged, or not an archive"),
    "other format": (
        npz(description=described(format="other", version=1)),
        "not a model or checkpoint of minitransformer",
    ),
    "newer": (
        npz(description=described(format="minitransformer", version=2)),
        "has version 2 of the format, not 1",
    ),
    "compressed junk": (
        zipped({"description.npy": npy(described())}, compression=zipfile.ZIP_DEFLATED)[:-90] + b"\0" * 90,
        "truncated|damaged",
    ),
    "another member": (
        zipped({"description.npy": npy(described(format="minitransformer", version=1)), "note.txt": b"hello"}),
        "damaged, or not an archive",
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_is_refused_in_words(kind, tmp_path):
    content, words = FOREIGN[kind]
    assert_refused(written(tmp_path / "foreign.npz", content), words)


def header(said, version=b"\x01\x00"):
    return b"\x93NUMPY" + version + len(said).to_bytes(2, "little") + said


PLAIN = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }\n"
WRONG_HEADERS = {
    "a NUL": PLAIN.replace(b"}", b"\0}"),
    "nested": PLAIN.replace(b"3", b"(" * 4000 + b"3" + b")" * 4000),
    "a negative length": PLAIN.replace(b"3", b"-3"),
    "a length with an underscore": PLAIN.replace(b"3", b"0_3"),
    "10¹⁵ entries": PLAIN.replace(b"3", b"1000000000000000"),
    "10²⁴ entries": PLAIN.replace(b"3", b"1000000000000000000000000"),
    "a number too long to read": PLAIN.replace(b"3", b"1" * 5000),
    "long": PLAIN[:-1].ljust(20_000) + b"\n",
    "objects": PLAIN.replace(b"<f4", b"|O"),
    "a dtype with too many parts": PLAIN.replace(b"'<f4'", b"('<f4', 3, 4, 5)"),
    "not ASCII": PLAIN.replace(b"<f4", b"\xff\xfe"),
    "an escape that Python warns of": PLAIN.replace(b"<f4", b"\\d"),
}
HEAD = npy(described(format="minitransformer", version=1))


@pytest.mark.parametrize("kind", WRONG_HEADERS)
def test_a_header_that_numpy_would_not_write_is_refused_by_its_name(kind, tmp_path):
    content = zipped({"description.npy": HEAD, "w.npy": header(WRONG_HEADERS[kind]) + bytes(12)})
    assert_refused(written(tmp_path / "odd.npz", content), "damaged, or not an archive of minitransformer .*w[:,]")


def test_a_header_of_another_version_or_a_member_of_another_length_is_refused(tmp_path):
    path = tmp_path / "odd.npz"
    for member in (header(PLAIN, b"\x02\x00") + bytes(12), header(PLAIN) + bytes(11), header(PLAIN) + bytes(13), b""):
        assert_refused(written(path, zipped({"description.npy": HEAD, "w.npy": member})), r"damaged.*w[:,]")
    assert len(load_archive(written(path, zipped({"description.npy": HEAD, "w.npy": header(PLAIN) + bytes(12)})))) == 2


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_cannot_be_inflated_bit_by_bit_is_refused(method, tmp_path):
    content = zipped({"description.npy": HEAD, "w.npy": npy(np.zeros(9))}, compression=method)
    assert_refused(written(tmp_path / "odd.npz", content), "uses a compression that NumPy does not write")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as members:
        for name, content in (("description.npy", HEAD), ("w.npy", npy(np.zeros(2))), ("w.npy", npy(np.ones(2)))):
            members.writestr(name, content)
    assert_refused(written(tmp_path / "odd.npz", file.getvalue()), "two of its members have the same name")


def test_what_is_read_is_no_longer_than_a_file_can_be(tmp_path):
    content = zipped({"description.npy": HEAD, "w.npy": npy(np.zeros(10**6))}, compression=zipfile.ZIP_DEFLATED)
    path = written(tmp_path / "bomb.npz", content)
    assert_refused(path, r"damaged: [\d,]+ bytes cannot contain arrays of 8,000,128 bytes")
    with open_archive(path) as opened:
        assert opened.header("w") == Header(np.dtype(float), (10**6,))


@pytest.mark.parametrize(
    "text, words",
    [
        (b'{"format": ' + b"[" * 100_000, "its description: maximum recursion depth"),
        (b'{"format": ' + b"9" * 5000 + b"}", "its description: Exceeds the limit"),
        (b'{"format": "minitransformer", "version": ' + b"9" * 3000 + b"}", "has version 9+ …"),
        (b'{"format": "minitransformer", "version": "1\\n\\n2"}', "has version 1 2 of the format"),
    ],
)
def test_json_that_no_program_would_write_is_refused(text, words, tmp_path):
    content = zipped({"description.npy": npy(np.frombuffer(text, np.uint8))})
    assert_refused(written(tmp_path / "odd.npz", content), words)


def test_a_description_that_is_too_long_is_neither_written_nor_read(path, monkeypatch):
    monkeypatch.setattr(archive, "LONGEST_DESCRIPTION", 100)
    assert_refused(path, r"its description has \d+ bytes; at most 100 are")
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"its description has 1,0\d\d bytes; at most 100 are"):
        save_archive(path, ARRAYS, {"kind": "x" * 1000})
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_is_ever_unpickled(tmp_path):
    exploded = tmp_path / "exploded"
    bomb = np.empty(1, object)
    bomb[0] = Bomb(exploded)
    description = described(format="minitransformer", version=1)
    files = {
        "array": npz(description=description, x=bomb),
        "description": npz(description=bomb),
        "whole": pickle.dumps(bomb),
        "npy": npy(bomb),
        "member": zipped({"description.npy": npy(description), "x.npy": npy(bomb), "data.pkl": pickle.dumps(bomb)}),
    }
    for name, content in files.items():
        assert_refused(written(tmp_path / name, content))
        assert not exploded.exists()
    pickle.loads(files["whole"])
    assert exploded.exists(), "the bomb itself must work, or this test shows nothing"
