"""Data sets of every kind: recognised, read as they are meant, and refused with file and line where they are wrong."""

import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fixtures.own_data import conversation, make_every_kind, picture, samples, write_lines, write_pictures, write_tar
from illume.core.errors import ConfigError, DataError, UsageError
from illume.data.check import check
from illume.data.collection import Collection, CollectionSource, OpenCollection
from illume.data.kinds import check_kind, open_kind, recognise
from illume.data.records import Record, Turn
from illume.data.webdataset import WebDataset


def records(collection: Collection) -> list[Record]:
    """All of them; the first problem is raised."""
    found = []
    for where, row in collection.rows():
        if isinstance(row, DataError):
            raise DataError(f"{where}: {row}")
        found.append(row)
    return found


def only(path: Path, **more: Any) -> Record:
    (found,) = records(open_kind(path, **more))
    return found


def refused(path: Path, says: str, where: str, **more: Any) -> None:
    """Its one problem: where it is, and what is said of it."""
    problems = [(place, str(row)) for place, row in open_kind(path, **more).rows() if isinstance(row, DataError)]
    assert [place for place, _ in problems] == [f"{path}{where}"]
    assert says in problems[0][1]


def test_every_kind_is_recognised_and_becomes_a_source(tmp_path: Path) -> None:
    counts = {"folder": 6, "webdataset": 12, "conversations": 7, "edits": 5, "pix2pix": 6, "chat": 6, "records": 2}
    for name, path in make_every_kind(tmp_path).items():
        opened = open_kind(path)
        assert opened.kind == ("edits" if name == "pix2pix" else name)
        source = CollectionSource(OpenCollection(opened, 16, name=name))
        assert (source.name, len(source)) == (name, counts[name])
        for index in range(len(source)):
            for key in source.record(index).images:
                assert source.images.image(key).shape == (16, 16, 3)
        report = check(path)
        assert (report.num_records, report.num_problems) == (counts[name], 0)
    assert recognise(tmp_path / "llava" / "talks.json") == "conversations"
    assert recognise(tmp_path / "chat") == "chat", "the one file in a folder"


def test_what_cannot_be_recognised_says_what_was_looked_for(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"question": 1}])
    with pytest.raises(DataError, match=r"a\.jsonl: not of a kind that is known: .*'conversations'"):
        recognise(path)
    write_lines(tmp_path / "b.jsonl", [{"task": "text", "text": "a"}])
    with pytest.raises(DataError, match="several JSON files"):
        recognise(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no metadata\.csv, metadata\.jsonl, seeds\.json, \*\.tar"):
        recognise(tmp_path / "empty")
    for name in ("gone", "x" * 300, "gone.jsonl"):
        with pytest.raises(DataError, match="there is no such file"):
            open_kind(tmp_path / name)
    with pytest.raises(UsageError, match="tables"):
        check_kind("tables")


# Conversations


def talk(path: Path, *talks: object) -> Path:
    path.write_text(json.dumps(talks, indent=1), encoding="utf-8")
    return path


def test_images_stand_where_their_placeholders_do(tmp_path: Path) -> None:
    said = conversation(["a.png", "b.png"], "Here <image>\nand\n<image>", "Two", "Draw it", "<image>", id=7, source="x")
    said["image"].append("c.png")
    opened = open_kind(talk(tmp_path / "t.json", said))
    (record,) = records(opened)
    assert record.images == ("a.png", "b.png", "c.png")
    assert record.messages == (
        Turn("user", ("Here ", 0, "and", 1)),
        Turn("assistant", ("Two",)),
        Turn("user", ("Draw it",)),
        Turn("assistant", (2,)),
    )
    assert (record.id, record.where, opened.ignored) == ("7", f"{tmp_path}/t.json:2", ("source",))


def test_a_system_prompt_is_a_turn(tmp_path: Path) -> None:
    said = conversation(None, "Hello", "Hi", system="Be kind")
    assert only(talk(tmp_path / "t.json", said)).messages[0] == Turn("system", ("Be kind",))
    lines = {"conversations": [{"from": "system", "value": "Be kind"}, *said["conversations"]]}
    assert only(write_lines(tmp_path / "t.jsonl", [lines])).messages[0] == Turn("system", ("Be kind",))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (conversation("a.png", "What?", "That"), "<image> stands 0 times in the conversation, but it has 1 images"),
        (conversation(None, "<image>What?", "That"), "<image> stands 1 times"),
        (conversation(None, "What?"), "the last message has to be the assistant's"),
        (conversation(None, " ", "That"), "conversations[0].value is empty"),
        (conversation([3], "<image>What?", "That"), "image[0] has to be a text, not int"),
        (conversation("a.png", "<image>What?", "That", images=["a.png"]), "both 'image' and 'images'"),
        ({"conversations": [{"from": "tool", "value": "a"}]}, "nobody is called 'tool'"),
        ({"conversations": [{"from": "human"}]}, "conversations[0] needs the field 'value'"),
        ({"conversations": {}}, "a list with at least one turn"),
        ({"conversations": [{"from": "gpt", "value": "a"}]}, "conversations[0]: user speaks here, not assistant"),
        (["conversations"], "a conversation is a JSON object, not list"),
    ],
)
def test_a_bad_conversation_is_named_by_its_line(bad: object, says: str, tmp_path: Path) -> None:
    good = conversation(None, "Hello", "Hi")
    path = talk(tmp_path / "t.json", good, bad)
    line = 1 + json.dumps([good], indent=1).count("\n")
    refused(path, says, f":{line}")
    refused(write_lines(tmp_path / "t.jsonl", [good, bad]), says, ":2")


@pytest.mark.parametrize(
    ("text", "says", "line"),
    [
        ("[1 2]", "a JSON object, not int", 1),
        ('[\n{"conversations"', "nothing after it can be read", 2),
        ("[", "nothing after it can be read", 1),
        ("[]", None, 0),
        ('[{"a": 1, "a": 2}]', "'a' stands twice", 1),
        ("[\n\n" + "9" * 5000 + "]", "limit", 3),
        ("[" * 100_000, "nothing after it can be read", 1),
        ("[] x", "after the end of the list stands more", 1),
        ("[{},]", "expected ',' and a value, or ']'", 1),
    ],
)
def test_a_broken_list_says_where(text: str, says: str | None, line: int, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(text)
    rows = list(open_kind(path, "conversations").rows())
    assert any(where == f"{path}:{line}" and (says or "") in str(row) for where, row in rows) == (says is not None)


def test_byte_order_marks_and_carriage_returns_are_no_matter(tmp_path: Path) -> None:
    line = json.dumps({"task": "text", "text": "words"})
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + line.encode() + b"\r\n")
    assert only(tmp_path / "a.jsonl").text == "words"
    (tmp_path / "a.jsonl").write_bytes(line.encode("utf-16"))
    with pytest.raises(DataError, match="binary"):
        open_kind(tmp_path / "a.jsonl")


# Chats


def test_chats_of_openai(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    said: list[dict[str, Any]] = [
        {"role": "developer", "content": "Be kind"},
        {"role": "user", "content": [{"type": "text", "text": "Hello"}], "name": "Ann"},
        {"role": "assistant", "content": "Hi", "tool_calls": None, "weight": 1},
    ]
    opened = open_kind(write_lines(path, [{"messages": said, "id": 3}]))
    (record,) = records(opened)
    assert record.messages == (Turn("system", ("Be kind",)), Turn("user", ("Hello",)), Turn("assistant", ("Hi",)))
    assert (record.id, "messages.name" in opened.ignored) == ("3", True)
    for change, says in {
        "weight": "messages[2].weight: only texts that are all learnt",
        "tool_calls": "messages[2].tool_calls",
    }.items():
        refused(write_lines(path, [{"messages": [*said[:2], said[2] | {change: 0}]}]), says, ":1")
    shown = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a.png"}}]}
    refused(write_lines(path, [{"messages": [shown, said[2]]}]), "chats of this kind have no images", ":1")
    refused(write_lines(path, [{"messages": [{"role": "tool", "content": "a"}]}]), "unknown role 'tool'", ":1")


# Edits


@pytest.mark.parametrize(
    ("names", "suffix"),
    [
        (("input_image", "edited_image", "edit_prompt"), "jsonl"),
        (("original_image", "edited_image", "edit_prompt"), "json"),
        (("source_img", "target_img", "instruction"), "csv"),
        (("source", "target", "edit"), "jsonl"),
        (("input_image_file_name", "output_image_file_name", "edit"), "csv"),
    ],
)
def test_edits_by_the_names_of_published_sets(names: Sequence[str], suffix: str, tmp_path: Path) -> None:
    row = dict(zip(names, ("a.png", "b.png", "make it red"), strict=True))
    path = tmp_path / f"edits.{suffix}"
    lines = {"jsonl": json.dumps(row), "json": json.dumps([row]), "csv": f"{','.join(row)}\n{','.join(row.values())}"}
    path.write_text(lines[suffix] + "\n")
    record = only(path)
    assert (record.task, record.images, record.instruction) == ("edit", ("a.png", "b.png"), "make it red")


def test_bad_edits_are_named(tmp_path: Path) -> None:
    good = {"source": "a.png", "target": "b.png", "edit": "x"}
    path = write_lines(tmp_path / "edits.jsonl", [good, {"source": "a.png", "edit": "x"}])
    refused(path, "the image after is missing: one of edited_image", ":2")
    refused(write_lines(path, [good, good | {"target": {"bytes": ""}}]), "target has to be a text, not dict", ":2")
    (tmp_path / "edits.csv").write_text("source,edit\na,b\n")
    with pytest.raises(DataError, match=r"edits\.csv:1: the image after is missing"):
        list(open_kind(tmp_path / "edits.csv", "edits").rows())


def test_instruct_pix2pix_folders(tmp_path: Path) -> None:
    make_every_kind(tmp_path)
    root = tmp_path / "pix2pix"
    found = records(open_kind(root))
    assert (found[1].images, found[1].instruction) == (("0000001/121_0.jpg", "0000001/121_1.jpg"), "edit 1")
    (root / "0000001" / "prompt.json").write_text("{")
    (root / "seeds.json").write_text(
        '[["0000000", ["120"]],\n["0000001", ["121"]],\n["..", ["1"]], 5, ["a", ["../b"]]]'
    )
    bad = [(where, str(row)) for where, row in open_kind(root).rows() if isinstance(row, DataError)]
    assert [where for where, _ in bad] == [f"{root}/seeds.json:{line}" for line in (2, 3, 3, 3)]
    for says, (_, problem) in zip(("prompt.json: not JSON", "leads out", "expected", "a seed"), bad, strict=True):
        assert says in problem


# Webdatasets


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_any_sample_of_a_tar_is_read_alone(form: int, tmp_path: Path) -> None:
    long = "deep/" + "n" * (120 if form != tarfile.USTAR_FORMAT else 90)
    members = [
        *samples(3),
        (f"{long}.jpg", picture(9)),
        (f"{long}.txt", b"long"),
        ("ü.png", picture(4)),
        ("ü.txt", b"u"),
    ]
    path = write_tar(tmp_path / "a.tar", members, format=form)
    source = CollectionSource(OpenCollection(open_kind(path), 32, name="t"), "draw", name="t/draw")
    assert [source.record(i).text for i in range(len(source))] == ["scene 0", "scene 1", "scene 2", "long", "u"]
    assert source.record(3).images == (f"t/a.tar/{long}.jpg",)
    assert source.record(0).task == "draw"
    theirs = OpenCollection(open_kind(path), 32, name="t").images.stored.read(f"a.tar/{long}.jpg")
    assert theirs == picture(9)


def test_captions_from_json_and_classes(tmp_path: Path) -> None:
    parts = [("a.jpg", picture(0)), ("a.json", b'{"caption": "from json"}'), ("b.png", picture(1)), ("b.cls", b"1\n")]
    path = write_tar(tmp_path / "a.tar", [*parts, ("c.webp", picture(2)), ("c.txt", b"words"), ("c.json", b"{")])
    refused(path, "classnames.txt", ":b")
    (tmp_path / "classnames.txt").write_text("cat\ndog\n")
    opened = open_kind(path)
    assert [record.text for record in records(opened)] == ["from json", "dog", "words"]
    with pytest.raises(ConfigError, match="has no records of task 'edit'"):
        CollectionSource(OpenCollection(opened, 16, name="t"), "edit")  # type: ignore[arg-type]


def test_patterns_name_tars(tmp_path: Path) -> None:
    for name in ("train-00", "train-01", "test-00"):
        write_tar(tmp_path / f"{name}.tar", samples(1))
    for pattern, count in {"train-*.tar": 2, "train-{00..01}.tar": 2, "*.tar": 3, "train-00.tar": 1}.items():
        assert len(records(open_kind(tmp_path / pattern))) == count
    with pytest.raises(DataError, match=r"train-02\.tar: there is no such file"):
        open_kind(tmp_path / "train-{00..02}.tar")
    with pytest.raises(DataError, match="there are no tars"):
        open_kind(tmp_path / "none-*.tar")


@pytest.mark.parametrize("name", ["set [2]", "set{0..1}", "set*", "set?", "[a-z]"])
def test_what_is_there_is_no_pattern(name: str, tmp_path: Path) -> None:
    make_every_kind(tmp_path / name, 2)
    for kind in ("folder", "webdataset", "edits", "chat"):
        (tmp_path / name / kind).rename(tmp_path / f"{kind} {name}")
        assert open_kind(tmp_path / f"{kind} {name}").kind == kind
    file = write_lines(tmp_path / f"{name}.jsonl", [{"task": "text", "text": "a"}])
    assert recognise(file) == "records"
    assert recognise(tmp_path / f"{name} that is not there") == "webdataset"


@pytest.mark.parametrize(
    ("members", "where", "says"),
    [
        ([("a.png", b"x")], ":a", "it needs a caption"),
        ([("a.txt", b"x")], ":a", "it needs one image, but has none (its files: .txt)"),
        ([("a.png", b"x"), ("a.jpg", b"x"), ("a.txt", b"x")], ":a", "one image, but has .png, .jpg"),
        ([("a.txt", b"x"), ("a.txt", b"y")], ":a", "two files .txt"),
        ([("../a.png", b"x")], ":../a.png", "leads out"),
        ([("/a.png", b"x")], ":/a.png", "absolute"),
        ([("a\\..\\..\\b.png", b"x")], ":a\\..\\..\\b.png", "leads out"),
        ([("a.png", b"x"), ("a.txt", b"\xff")], ":a", "a.txt: not UTF-8"),
        ([("a.png", b"x"), ("a.txt", b" ")], ":a", "the caption is empty"),
        ([("a.png", b"x"), ("a.json", b"[1]")], ":a", "a JSON object, not list"),
        ([("a.png", b"x"), ("a.json", b"{}")], ":a", "neither 'caption' nor 'text'"),
        ([("a.png", b"x"), ("a.cls", b"-1")], ":a", "a class is a number"),
    ],
)
def test_a_bad_sample_is_named(members: list[tuple[str, bytes]], where: str, says: str, tmp_path: Path) -> None:
    refused(write_tar(tmp_path / "a.tar", [*samples(1), *members]), says, where)


def test_a_name_comes_once_in_a_tar(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [*samples(1), *samples(1, 1), *samples(1)])
    refused(path, "stands before it in the same tar", ":0000")


def test_links_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in {"a.png": tarfile.SYMTYPE, "b.png": tarfile.LNKTYPE, "c.png": tarfile.FIFOTYPE}.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    problems = [(where, str(row)) for where, row in open_kind(path).rows()]
    assert [where for where, _ in problems] == [f"{path}:{name}.png" for name in "abc"]
    assert all("not a plain file" in said for _, said in problems)


def test_a_damaged_tar_is_no_shorter_tar(tmp_path: Path) -> None:
    """The standard library's reader takes a damaged header for the end."""
    path = write_tar(tmp_path / "a.tar", samples(3))
    whole = path.read_bytes()
    second = whole.index(b"0001.png")
    for data, says in {
        whole[: second + 700]: "goes on beyond the end",
        whole[: whole.index(b"0002.png")]: "without its end mark",
        whole[:second] + b"X" + whole[second + 1 :]: "a damaged header",
        whole[:second] + b"\0" * 100 + whole[second + 100 :]: "a damaged header",
    }.items():
        path.write_bytes(data)
        found = [str(row) for _, row in open_kind(path).rows() if isinstance(row, DataError)]
        assert any(says in said for said in found), (says, found)
    for data, says in {b"": "empty", b"\x1f\x8b" + whole: "gzip", b"no tar" * 100: "not a tar"}.items():
        path.write_bytes(data)
        with pytest.raises(DataError, match=says):
            open_kind(path)


def test_an_index_is_kept_until_its_tar_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tar(tmp_path / "set" / "a.tar", samples(2))
    cache = tmp_path / "cache"
    first = records(WebDataset(path, cache))
    (kept,) = cache.iterdir()
    monkeypatch.setattr("illume.data.tar_index._scan", None)
    assert records(WebDataset(path, cache)) == first, "not read again"
    monkeypatch.undo()
    kept.write_text("[")
    assert records(WebDataset(path, cache)) == first, "a damaged index is made again"
    write_tar(path, samples(3))
    assert len(records(WebDataset(path, cache))) == 3
    assert [file.name for file in path.parent.iterdir()] == ["a.tar"]


def test_images_may_stand_elsewhere(tmp_path: Path) -> None:
    names = write_pictures(tmp_path / "images", 1)
    path = talk(tmp_path / "t.json", conversation(names[0], "<image>", "A scene"))
    assert check(path).num_problems == 1
    assert check(path, folder=tmp_path / "images").num_problems == 0
