from __future__ import annotations

import pytest

from git_datareg.globs import is_chosen


@pytest.mark.parametrize(
    ("path", "glob", "matches"),
    [
        ("a.jpg", "*.jpg", True),
        ("sub/deep/a.jpg", "*.jpg", True),
        ("sub/a.jpg", "sub/*.jpg", True),
        ("sub/deep/a.jpg", "sub/*.jpg", True),
        ("other/a.jpg", "sub/*.jpg", False),
        ("sub/deep/a.jpg", "sub", True),
        ("sub/deep/a.jpg", "sub/", True),
        ("sub/deep/a.jpg", "deep", False),
        ("sub/deep/a.jpg", "*/deep", True),
        ("subway/a.jpg", "sub", False),
        ("sub/a.jpg", "a.jpg", True),
        ("sub/a.jpg", "?.jpg", True),
        ("A.JPG", "*.jpg", False),
        ("a[1].jpg", "a[[]1].jpg", True),
        ("b.jpg", "[!a].jpg", True),
        ("a.jpg", "", False),
        # Tied to the top, as in .gitignore.
        ("a.jpg", "/a.jpg", True),
        ("sub/a.jpg", "/a.jpg", False),
        ("sub/a.jpg", "/sub", True),
        ("sub/a.jpg", "/sub/*.jpg", True),
        ("sub/a.jpg", "./sub/*.jpg", True),
        ("sub/a.jpg", "./a.jpg", False),
        # Any number of directories, none among them.
        ("a.jpg", "**/a.jpg", True),
        ("sub/deep/a.jpg", "**/a.jpg", True),
        ("xa.jpg", "**/a.jpg", False),
        ("sub/a.jpg", "sub/**/a.jpg", True),
        ("sub/deep/a.jpg", "sub/**/a.jpg", True),
        ("sub/a.jpg", "**/sub/**/*.jpg", True),
        ("top/sub/deep/a.jpg", "/**/sub/**/*.jpg", True),
        ("sub/deep/a.jpg", "sub/**", True),
        ("deep/a.jpg", "**/deep/", True),
        ("sub/a.jpg", "sub**/a.jpg", True),
        ("suba.jpg", "sub**/a.jpg", False),
    ],
)
def test_a_glob_means_a_path_a_directory_or_a_name(path: str, glob: str, matches: bool) -> None:
    assert is_chosen(path.encode(), [glob], []) is matches
    assert is_chosen(path.encode(), [], [glob]) is not matches


def test_any_of_several_globs_is_enough() -> None:
    assert is_chosen(b"b.png", ["*.jpg", "*.png"], [])
    assert not is_chosen(b"b.gif", ["*.jpg", "*.png"], [])
    assert not is_chosen(b"b.png", [], ["*.jpg", "*.png"])


def test_to_exclude_wins() -> None:
    assert not is_chosen(b"sub/a.jpg", ["*.jpg"], ["sub"])
    assert is_chosen(b"a.jpg", ["*.jpg"], ["sub"])


def test_without_globs_everything_is_chosen() -> None:
    assert is_chosen(b"anything", [], [])


def test_names_need_not_be_text() -> None:
    assert is_chosen(b"\xff\n.jpg", ["*.jpg"], [])
    assert is_chosen(b"\xff", ["\udcff"], [])


def test_many_stars_end_soon() -> None:
    # 2 to the power of 50 spellings would not.
    assert is_chosen(b"x/a.jpg", ["**/" * 4 + "a.jpg"], [])
    assert not is_chosen(b"x/a.jpg", ["**/x/" * 50 + "a.jpg"], [])
