"""Lists of images to train on, in the formats that people have."""

import pytest

from jaxssl.core import UserError
from jaxssl.data import image_list

NAMES = ["train/cat/1.png", "train/cat/2.jpg", "train/dog/1.png", "train/dog/ü 3.jpg", "train/dog/deep/4.png"]
FOLDERS = ["train/cat", "train/dog", "train/dog/deep", "val/cat"]
ROOT = "/data/sets/pets"


def read(tmp_path, text, ending=".txt", names=NAMES, root=ROOT):
  path = tmp_path / f"list{ending}"
  path.write_bytes(text if isinstance(text, bytes) else text.encode(errors="surrogateescape"))
  return sorted(image_list.read(str(path), names, FOLDERS, root))


@pytest.mark.parametrize(
  "line, position",
  [
    ("train/cat/1.png", 0),
    ("cat/1.png", 0),
    ("./cat/1.png", 0),
    ("/train/cat/1.png", 0),
    ("/data/sets/pets/train/cat/1.png", 0),
    ("pets/train/cat/1.png", 0),
    ("train\\cat\\2.jpg", 1),
    ("cat/2", 1),
    ("2.jpg", 1),
    ("  2  ", 1),
    ('"2.jpg"', 1),
    ("dog/u\u0308 3.jpg", 3),
    ("4.png", 4),
  ],
)
def test_a_line_names_an_image_in_many_ways(line, position, tmp_path):
  assert read(tmp_path, f"{line}\r\n\r\n") == [position]


def test_a_list_below_the_training_folder_may_begin_with_train(tmp_path):
  assert read(tmp_path, "train/cat/1.png\n", names=["cat/1.png"], root="/data/sets/pets") == [0]
  assert read(tmp_path, "pets/v2/cat/1.png\n", names=["cat/1.png"], root="/data/pets/v2") == [0]


@pytest.mark.parametrize(
  "line, message",
  [
    ("val/cat/1.png", "1 of 1 lines name no image of /data/sets/pets/, e.g. line 1, val/cat/1.png"),
    ("/elsewhere/cat/1.png", "1 of 1 lines name no image"),
    ("1.png", "line 1, 1.png, names several images, e.g. train/cat/1.png and train/dog/1.png; add their folders"),
    ("at/1.png", "name no image"),
    ("cow", "name no image"),
    ("", "the list is empty; expected one path per line"),
    ("cat:\n\n# dogs\n", "the list is empty"),
    ("train/dog/\ncat/2.jpg\n", "line 1, train/dog/, names a folder, but no image in it is listed; list the images in it"),
    ("x" * 100, f"e.g. line 1, {'x' * 80}; expected"),
  ],
)
def test_a_line_that_names_no_image_or_several_is_an_error(line, message, tmp_path):
  with pytest.raises(UserError) as error:
    read(tmp_path, line)
  assert message in str(error.value) and str(error.value).startswith(f"data.list_path={tmp_path}/list.txt: ")


@pytest.mark.parametrize("line", ["train/cat/2.jpg 7", "cat/2.jpg\tcat", "2.jpg, 7", "/train/cat/2.jpg;7"])
def test_a_label_may_follow_a_path(line, tmp_path):
  path = tmp_path / "list.txt"
  path.write_text(line)
  assert image_list.read(str(path), NAMES, FOLDERS, ROOT) == {1: line[-1] if line[-1] == "7" else "cat"}


def test_a_name_may_look_like_a_path_and_a_label(tmp_path):
  assert read(tmp_path, "a.jpg b.jpg\n", names=["a.jpg", "a.jpg b.jpg"]) == [1]


def test_lines_may_end_as_on_old_macs_and_comments_are_skipped(tmp_path):
  assert read(tmp_path, "# mine\rcat/2.jpg\rdog/1.png\r") == [1, 2]


def test_headings_are_skipped(tmp_path, caplog):
  caplog.set_level("INFO", "jaxssl")
  published = "class names : \ncat\ndog\nTrain Images: \n/train/cat/1.png\n/train/dog/1.png\n/train/cat/1.png\n"  # as of ISD
  assert read(tmp_path, published) == [0, 2]
  assert "2 images; skipped 4 headings" in caplog.text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_unicode_is_recognized_by_its_mark(encoding, tmp_path):
  mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
  assert read(tmp_path, mark + "cat/2.jpg\ndog/ü 3.jpg\n".encode(encoding)) == [1, 3]


def test_names_that_are_not_unicode_are_found(tmp_path):
  assert read(tmp_path, b"cat/\xff.png\n", names=["train/cat/\udcff.png"]) == [0]


@pytest.mark.parametrize(
  "ending, text",
  [
    (".csv", "path,label\ncat/2.jpg,1\ndog/1.png,0\n"),
    (".csv", 'id;x,Image_Path\n7,"cat/2.jpg"\n8,dog/1.png\n\n'),
    (".csv", '"Image Path";"Species"\n"cat/2.jpg";"cat, big"\n"dog/1.png";x\n'),
    (".csv", "img_path|y\ncat/2.jpg|0\ndog/1.png|1\n"),
    (".tsv", "label\tfile\n1\tcat/2.jpg\n0\tdog/1.png\n"),
    (".txt", "filename\tlabel\ncat/2.jpg\t1\ndog/1.png\t0\n"),
    (".csv", "file\ncat/2.jpg\ndog/1.png\n"),
  ],
)
def test_tables_have_a_column_of_paths(ending, text, tmp_path):
  assert read(tmp_path, text, ending) == [1, 2]


@pytest.mark.parametrize("caption", ['"a 6 inch fish', '12" dog', '"end"'])
def test_a_quote_in_a_table_of_tabs_is_a_character(caption, tmp_path):
  text = f'path\tcaption\tlabel\ncat/2.jpg\t{caption}\t"a"\ndog/1.png\tend"\tb\n'
  (tmp_path / "list.tsv").write_text(text)
  assert image_list.read(str(tmp_path / "list.tsv"), NAMES, FOLDERS, ROOT) == {1: "a", 2: "b"}


@pytest.mark.parametrize(
  "ending, caption, problem",
  [
    (".csv", ',"a 6 inch fish', "a quoted cell spans lines"),
    (".csv", ',"two\nlines"', "a quoted cell spans lines"),
    (".csv", f',"{"x" * 200_000}', r"field larger than field limit .131072."),
    (".tsv", f'\t"{"x" * 200_000}', r"field larger than field limit .131072."),
  ],
)
def test_a_cell_that_would_hide_lines_is_an_error(ending, caption, problem, tmp_path):
  text = f'path{caption[0]}caption\ncat/1.png{caption[0]}x\ncat/2.jpg{caption}\ndog/1.png{caption[0]}end"\n'
  with pytest.raises(UserError, match=f"data.list_path=.*list{ending}: line 3: {problem}; expected one line per image"):
    read(tmp_path, text, ending)


def test_a_table_without_a_column_of_paths_is_an_error(tmp_path):
  with pytest.raises(UserError, match="its first line is 'cat/2.jpg,1'; expected a header with a column of paths, named e.g."):
    read(tmp_path, "cat/2.jpg,1\n", ".csv")


@pytest.mark.parametrize(
  "header, train, test",
  [("split", "train", "val"), ("Subset", "Training", "test"), ("is_valid", "False", "True"), ("is_training_image", "1", "0")],
)
def test_held_out_rows_of_a_table_are_left_out(header, train, test, tmp_path, caplog):
  rows = f"path,{header}\ncat/1.png,{test}\ncat/2.jpg,{train}\ntest/9.png,{test}\ndog/1.png,{train}\n"
  assert read(tmp_path, rows, ".csv") == [1, 2]
  assert f"left out by column {header.lower().replace('_', '')}: 2 of {test}" in caplog.text


@pytest.mark.parametrize("value", ["", "0", "public"])
def test_rows_of_an_unknown_split_are_an_error(value, tmp_path):
  with pytest.raises(UserError, match=f"line 3: split is '{value}', neither training nor held-out images; list only images to"):
    read(tmp_path, f"path,split\ncat/2.jpg,train\ndog/1.png,{value}\n", ".csv")


def test_an_image_with_several_labels_has_none(tmp_path, caplog):
  path = tmp_path / "list.csv"
  path.write_text("path,label\ncat/1.png,a\ncat/2.jpg,a\ncat/2.jpg,b\ncat/1.png,a\n")
  assert image_list.read(str(path), NAMES, FOLDERS, ROOT) == {0: "a", 1: ""}
  assert "1 images with several labels count as unlabeled" in caplog.text
