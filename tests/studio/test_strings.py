"""The words of the pages are in both languages, and none is in the pages themselves."""

import json
import re
from html.parser import HTMLParser

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from paddlevideo_studio.server import STATIC

FILES = {name: STATIC / "strings" / f"{name}.json" for name in ("en", "zh")}
PAGES = sorted(STATIC.glob("*.html"))
MARK = "data-t"
SHOWN = ("title", "placeholder", "alt", "aria-label", "label")  # attributes that people read
WORDLESS = ("script", "style", "code", "kbd")
VOID = ("area", "br", "col", "hr", "img", "input", "link", "meta", "source", "track", "wbr")


@pytest.fixture(scope="module")
def strings():
    if not all(file.is_file() for file in FILES.values()):
        pytest.skip("the pages are not there: no static/strings/en.json")
    return {name: json.loads(file.read_text(encoding="utf-8")) for name, file in FILES.items()}


class Words(HTMLParser):
    """Words of a page outside of elements with a mark, and the keys of its marks."""

    def __init__(self, html):
        super().__init__()
        self.found, self.keys, self._open = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        given = {name: value or "" for name, value in attributes}
        self.keys += [value for name, value in given.items() if name == MARK or name.startswith(f"{MARK}-")]
        for name in SHOWN:
            if has_words(given.get(name, "")) and f"{MARK}-{name}" not in given:
                self.found.append(f"line {self.getpos()[0]}: {name}={given[name]!r}")
        if tag not in VOID:
            self._open.append((tag, MARK in given))

    def handle_endtag(self, tag):
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, text):
        if has_words(text) and not any(marked or tag in WORDLESS for tag, marked in self._open):
            self.found.append(f"line {self.getpos()[0]}: {text.strip()!r}")


def has_words(text):
    return re.search(r"[^\W\d_]{2,}|[\u4e00-\u9fff]", text) is not None


def test_both_languages_have_the_same_keys_and_blanks(strings):
    english, chinese = strings["en"], strings["zh"]
    assert english.keys() ^ chinese.keys() == set()
    assert all(isinstance(text, str) and text.strip() for texts in strings.values() for text in texts.values())
    blanks = [{key: sorted(re.findall(r"\{\w+\}", text)) for key, text in texts.items()} for texts in strings.values()]
    assert blanks[0] == blanks[1]


def test_chinese_is_chinese(strings):
    same = [key for key, text in strings["zh"].items() if text == strings["en"][key] and re.search("[a-z]{4}", text)]
    assert same == []  # a name that is the same in both languages goes into this list


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_a_page_names_its_words_by_keys(strings, file):
    words = Words(file.read_text(encoding="utf-8"))
    assert words.found == []
    assert {*words.keys} - strings["en"].keys() == set()


def test_words_outside_of_marks_are_found():
    words = Words('<h1 data-t="a">Say <b>it</b></h1><p>Add<br>one <img alt="Dot"><input data-t-title="b" title="Go">')
    assert words.found == ["line 1: 'Add'", "line 1: 'one'", "line 1: alt='Dot'"] and words.keys == ["a", "b"]
