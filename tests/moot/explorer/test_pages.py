"""The shells and static files: types, tags, policy, escaping; and what the sources may hold."""

from __future__ import annotations

import fnmatch
import re
import tomllib
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from moot.explorer import add_pages
from moot.explorer.assets import load_assets
from moot.explorer.pages import PAGES, STATIC_PATH

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "moot" / "explorer"
SCRIPT_LINES_MAX = 600
SCRIPT_COLUMNS_MAX = 100
ID = "ab" * 32

Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    app = web.Application()
    add_pages(app)
    async with TestClient(TestServer(app)) as client:
        yield client


class Shell(HTMLParser):
    """What a page's markup refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def body(self) -> dict[str, str | None]:
        return next(attributes for tag, attributes in self.tags if tag == "body")


PATHS = (
    "/",
    f"/block/{ID}",
    "/block-height/7",
    f"/tx/{ID}",
    "/address/rmoot1qqqqqqqqqqqq",
    "/mempool",
    "/peers",
    "/consensus",
    "/search?q=x",
)


def test_every_kind_of_page_is_tried_below() -> None:
    assert len(PATHS) == len(PAGES)


@pytest.mark.parametrize("path", PATHS)
async def test_a_shell_carries_a_strict_policy_and_nothing_inline(
    client: Client, path: str
) -> None:
    answer = await client.get(path)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and "*" not in policy and "http" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    shell = Shell(await answer.text())
    for tag, attributes in shell.tags:
        assert tag != "style" and "style" not in attributes
        assert not any(name.startswith("on") for name in attributes), attributes
        assert tag != "script" or (attributes.get("src") or "").startswith(STATIC_PATH)
        for name in ("src", "href", "action"):
            assert re.match(r"[/#]($|[^/])", attributes.get(name) or "/"), attributes


@pytest.mark.parametrize("path", PATHS)
async def test_a_shell_finds_all_its_files(client: Client, path: str) -> None:
    shell = Shell(await (await client.get(path)).text())
    files = [
        attributes[name] or ""
        for _, attributes in shell.tags
        for name in ("src", "href")
        if (attributes.get(name) or "").startswith(STATIC_PATH)
    ]
    assert len(files) >= 4
    for file in files:
        assert (await client.get(file)).status == 200, file


async def test_a_page_learns_its_subject_and_the_browser_learns_no_markup(client: Client) -> None:
    evil = "\"><script>alert('x')</script>"
    answer = await client.get("/search", params={"q": evil})
    text = await answer.text()
    assert "<script>alert" not in text
    shell = Shell(text)
    assert shell.body()["data-subject"] == evil
    assert [attributes for tag, attributes in shell.tags if tag == "script"] == [
        {"type": "module", "src": f"{STATIC_PATH}app.js"}
    ]


@pytest.mark.parametrize(
    "path",
    [
        "/block/zz",
        f"/block/{ID}0",
        "/tx/<b>",
        "/address/a%20b",
        "/block-height/-1",
        "/tx/" + "a" * 999,
    ],
)
async def test_what_cannot_be_is_not_found_in_the_same_dress(client: Client, path: str) -> None:
    answer = await client.get(path)
    text = await answer.text()
    assert answer.status == 404
    assert Shell(text).body()["data-page"] == "missing"
    assert "Not found" in text and "<b>" not in text
    assert "Content-Security-Policy" in answer.headers


async def test_static_files_have_types_and_tags_and_are_asked_again(client: Client) -> None:
    for name, media_type in (
        ("app.js", "text/javascript; charset=utf-8"),
        ("base.css", "text/css; charset=utf-8"),
        ("mark.svg", "image/svg+xml"),
        ("pages/home.js", "text/javascript; charset=utf-8"),
    ):
        answer = await client.get(STATIC_PATH + name)
        assert answer.status == 200
        assert answer.headers["Content-Type"] == media_type
        assert answer.headers["Cache-Control"] == "no-cache"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        tag = answer.headers["ETag"]
        again = await client.get(STATIC_PATH + name, headers={"If-None-Match": f'"x", W/{tag}'})
        assert again.status == 304
        assert await again.read() == b""
        other = await client.get(STATIC_PATH + name, headers={"If-None-Match": '"x"'})
        assert other.status == 200


@pytest.mark.parametrize("name", ["../pages.py", "..%2fpages.py", "nothing.js", "pages", ""])
async def test_only_the_static_files_are_served(client: Client, name: str) -> None:
    assert (await client.get(STATIC_PATH + name)).status == 404


async def test_the_favourite_icon_is_where_browsers_look(client: Client) -> None:
    answer = await client.get("/favicon.ico")
    assert answer.headers["Content-Type"] == "image/svg+xml"


# ---------------------------------------------------------------------------------- the sources


def scripts() -> dict[str, str]:
    return {
        name: asset.body.decode() for name, asset in load_assets().items() if name.endswith(".js")
    }


def test_no_script_parses_markup_or_code() -> None:
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser"
        r"|setHTML|createContextualFragment|srcdoc"
    )
    assert {name for name, text in scripts().items() if forbidden.search(text)} == set()


def test_nothing_names_another_host() -> None:
    for name, asset in load_assets().items():
        text = asset.body.decode().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(https?:|wss?:)?//[a-z0-9.-]+\.[a-z]{2,}", text), name


def test_modules_import_only_what_exists() -> None:
    for name, text in scripts().items():
        folder = name.rpartition("/")[0]
        for target in re.findall(r'^(?:im|ex)port [^"]*from "([^"]+)";$', text, re.M):
            parts = [part for part in folder.split("/") if part]
            for part in target.split("/"):
                if part == "..":
                    parts.pop()
                elif part != ".":
                    parts.append(part)
            assert "/".join(parts) in scripts(), f"{name} imports {target}"


def test_scripts_and_styles_are_short_enough_to_hold_in_mind() -> None:
    for name, asset in load_assets().items():
        lines = asset.body.decode().splitlines()
        assert len(lines) <= SCRIPT_LINES_MAX, name
        assert max(map(len, lines)) <= SCRIPT_COLUMNS_MAX, name


def test_a_wheel_carries_every_file_of_the_pages() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    data = settings["tool"]["setuptools"]["package-data"]
    patterns = data["*"] + data["moot.explorer"]
    for path in PACKAGE.rglob("*"):
        name = path.relative_to(PACKAGE).as_posix()
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in name:
            # setuptools' patterns do not cross folders.
            assert any(
                fnmatch.fnmatch(name, pattern) and name.count("/") == pattern.count("/")
                for pattern in patterns
            ), name


# ------------------------------------------------------------------------------------- contrast


def schemes() -> list[dict[str, str]]:
    text = (PACKAGE / "static" / "base.css").read_text(encoding="utf-8")
    roots = re.findall(r":root \{(.*?)\}", text, re.DOTALL)
    light, dark = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", root)) for root in roots)
    return [light, {**light, **dark}]


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_all_letters_stand_out_from_their_ground() -> None:
    pairs = [
        (letters, ground) for letters in ("ink", "soft", "link") for ground in ("paper", "sheet")
    ]
    pairs += [(tone, f"{tone}-tint") for tone in ("good", "open", "bad", "lead")]
    pairs += [("ink", f"{tone}-tint") for tone in ("good", "open", "bad")]
    pairs += [
        ("link", "open-tint"),
        ("soft", "good-tint"),
        ("soft", "open-tint"),
        ("good", "paper"),
    ]
    pairs += [("ink", "line"), ("bad", "paper"), ("bad", "sheet"), ("paper", "good")]
    for scheme in schemes():
        for letters, ground in pairs:
            ratio = contrast(scheme[letters], scheme[ground])
            assert ratio >= 4.5, f"{letters} {scheme[letters]} on {ground}: {ratio:.2f}"
