"""The documentation keeps up with the code: settings, routes, frames, links, examples."""

import json
import re
from pathlib import Path

import pytest

from app import create_app
from config import Settings
from sockets import chat, crdt, relay, widget

ROOT = Path(__file__).parent.parent
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [page for page in [ROOT / "README.md", *DOCS] if page.exists()]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FRAMES = {
    "frontends/larc.md": chat.CHAT_HANDLERS,
    "frontends/widget.md": widget.HANDLERS,
    "frontends/brolostack.md": relay.HANDLERS,
    "sync.md": crdt.HANDLERS,
}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def words_in_code(page: Path) -> set[str]:
    """The words of everything between backticks in the prose of a page."""
    prose = FENCED.sub("", page.read_text())
    spans = re.findall(r"`([^`\n]+)`", prose)
    return {word.partition("?")[0] for span in spans for word in span.split()}


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def shown(default: object) -> str:
    """A default as one writes it in an environment variable."""
    if isinstance(default, bool):
        return str(default).lower()
    return ",".join(default) if isinstance(default, tuple) else str(default)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_default_of_a_setting_is_documented(name: str) -> None:
    default = shown(Settings.model_fields[name].default)
    cell = f"`{default}`" if default else ""
    row = rf"^\| `{name}` \| {re.escape(cell)} ?\|"
    assert re.search(row, (ROOT / "docs/settings.md").read_text(), re.MULTILINE)
    line = rf"^# {name}={re.escape(default)}$"
    assert re.search(line, (ROOT / ".env.example").read_text(), re.MULTILINE)


@each_page
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(FENCED.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), link


@each_page
def test_every_json_example_parses(page: Path) -> None:
    for language, text in FENCED.findall(page.read_text()):
        if language == "json":
            json.loads(text)


@each_page
def test_every_test_named_exists(page: Path) -> None:
    sources = "".join(source.read_text() for source in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", page.read_text()):
        assert f"def {name}(" in sources, name


@pytest.mark.parametrize(
    ("page", "kind"), [(page, kind) for page, table in FRAMES.items() for kind in table]
)
def test_every_frame_is_described(page: str, kind: str) -> None:
    path = ROOT / "docs" / page
    assert kind in words_in_code(path)
    assert f'"type": "{kind}"' in path.read_text()


def test_every_table_of_frames_has_a_page() -> None:
    documented = {kind for table in FRAMES.values() for kind in table}
    spoken = (chat.dialect, crdt.dialect, relay.dialect)
    assert documented == {kind for dialect in spoken for kind in dialect.handlers}


def test_every_route_is_described(tmp_path: Path) -> None:
    app = create_app({"SECRET_KEY": "x" * 32, "DATABASE_URL": f"sqlite:///{tmp_path}/wharf.db"})
    named = set().union(*(words_in_code(page) for page in DOCS))
    assert {rule.rule for rule in app.url_map.iter_rules()} - named == set()
