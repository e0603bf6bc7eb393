"""The page is whole, harmless, self-contained, and fits a phone."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from browser import chromium
from PIL import Image
from small_sweep import SmallSweep, sweep

from orchestrator.grid import Grid, specs
from orchestrator.plan import plan
from orchestrator.plan.ranking import champion
from orchestrator.report import findings, page, paper
from orchestrator.report.findings import Findings
from orchestrator.report.tables import plus_minus
from qdllm.families.quantum import StudentSpec

VOID = {"meta", "img", "br", "hr", "input", "link"}


class Page(HTMLParser):
    """A page's elements, and its text by the element that it stands in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.texts: dict[str, list[str]] = {}
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.texts.setdefault(self.open[-1] if self.open else "", []).append(text)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += text


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> SmallSweep:
    return sweep(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def found(small) -> Findings:
    return findings.findings(
        small.history, small.record, failures={small.trials[-1].fingerprint: "<i>lost</i>"}
    )


@pytest.fixture(scope="module")
def written(found, tmp_path_factory) -> Path:
    return page.write(found, tmp_path_factory.mktemp("reports"))


@pytest.fixture(scope="module")
def read(written) -> Page:
    return Page(written.read_text(encoding="utf-8"))


def test_names_of_classes_are_text_and_nothing_else(read, written):
    scripts = [tag for tag, _ in read.elements if tag == "script"]
    assert len(scripts) == 1
    assert not [tag for tag, _ in read.elements if tag == "i"]
    said = "".join(text for texts in read.texts.values() for text in texts)
    assert "<script>alert('found')</script>" in said
    assert "<i>lost</i>" in said
    assert r"安い\x1b[7m" in said
    assert "\x1b" not in written.read_text(encoding="utf-8")
    for picture in pictures(written):
        assert "<script" not in picture
        assert "\x1b" not in picture


def pictures(written: Path) -> list[str]:
    """The pictures inside a page."""
    data = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', written.read_text("utf-8"))
    return [base64.b64decode(one).decode() for one in data]


def test_nothing_is_fetched(read, written):
    for _, attributes in read.elements:
        for name in ("src", "href", "srcset", "action", "data"):
            assert attributes.get(name, "data:").startswith("data:")
    policy = next(at["content"] for _, at in read.elements if "http-equiv" in at)
    assert policy.startswith("default-src 'none'; img-src data:;")
    (script,) = read.texts["script"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.endswith(f"script-src 'sha256-{digest}'")
    for text in (written.read_text("utf-8"), *pictures(written)):
        assert "@import" not in text
        assert "url(http" not in text
    assert len(pictures(written)) == 8
    assert written.stat().st_size < 2_000_000


def test_every_trial_has_its_row(read, found):
    for rank, one in enumerate(found.order, start=1):
        row = next(row for row in read.rows if row and row[-1] == one.trial.fingerprint)
        assert row[0].split()[0] == str(rank)
        assert ("★" in row[0]) == (one is found.champion)
        assert row[1] == plus_minus(one.over_seeds("val.accuracy"))
        assert row[2] == plus_minus(one.over_seeds("test.accuracy"))
        assert row[3] == str(one.trial.spec.circuit.layers)


def test_trials_without_a_result_are_listed(read, small):
    row = next(row for row in read.rows if row[0] == small.trials[-1].fingerprint)
    assert row[1:] == ["circuit layers 2, guidance weight α 0.9, learning rate 0.1", "<i>lost</i>"]


def test_what_stands_beside_the_champion_is_told(read, found):
    rows = {row[0]: row for row in read.rows if row}
    (head,) = (one for one in found.beside if one.name == "classical head")
    assert rows["classical head"][1] == page.tables.accuracy(head.metrics["test.accuracy"])
    assert rows["teacher minilm, LoRA rank 64"][3] == "1,234 trained"
    test = plus_minus(found.champion.over_seeds("test.accuracy"))
    assert rows["★ champion"][1] == rows["★ champion, simulated by MindQuantum"][1] == test
    assert rows["best by validation"][2] == plus_minus(found.order[0].over_seeds("val.accuracy"))


def test_teachers_are_told_apart(tmp_path):
    two = sweep(tmp_path, axes={"teacher.epochs": (1, 2), "fit.lr": (0.1,)}, left_out=0)
    found = two.found
    rows = {row[0] for row in Page(page.render(found, [])).rows if row}
    for name in ("teacher minilm, LoRA rank 64", "classical head"):
        assert {f"{name} (teacher's epochs {n})" for n in (1, 2)} <= rows


def test_time_is_that_of_the_records(read, found):
    rows = {row[0]: row for row in read.rows if len(row) == 5}
    assert rows["features"][1:4] == ["1", "0", "1.5 s"]
    seconds = sum(one.record.seconds for one in found.order)
    assert rows["students"][3] == page.duration(seconds)


def test_the_grid_on_the_page_makes_the_same_sweep_again(read, small):
    text = next(text for text in read.texts["pre"] if text.startswith("name:"))
    again = Grid.parse(yaml.safe_load(text))
    assert plan(specs(again), small.dataset, small.store).name == small.plan.name
    assert f"python -m orchestrator.report {small.plan.name}" in "".join(read.texts["pre"])


def test_a_sweep_that_has_just_begun_has_a_page_too(tmp_path):
    early = sweep(tmp_path, left_out=8)
    written = page.write(early.found, tmp_path)
    text = written.read_text(encoding="utf-8")
    Page(text)
    assert "0 of 8 trials finished" in text
    assert "No trial has finished, so there is no champion." in text
    assert "8 trials failed, or had not run" in text


def test_the_papers_means_are_those_of_its_teachers():
    printed = yaml.safe_load(paper.FILE.read_text(encoding="utf-8"))
    for task in printed["tasks"].values():
        assert set(task["by_teacher"]) == set(printed["teachers"])
        for part in (0, 1):
            mean = sum(row[part] for row in task["by_teacher"].values()) / 5
            assert task["overall"]["QD-LLM"][part] == pytest.approx(mean, abs=6e-5)
    overall = sum(task["overall"]["QD-LLM"][0] for task in printed["tasks"].values()) / 3
    assert printed["losses"]["KL+JS+CE"][0] == pytest.approx(overall, abs=5e-4)


@pytest.mark.parametrize(
    ("loss", "named"),
    [
        ({"alpha": 0}, "CE"),
        ({"alpha": 0, "teacher_terms": "kl"}, "CE"),
        ({"alpha": 0.9}, "KL+JS+CE"),
        ({"alpha": 1, "teacher_terms": "kl"}, "KL"),
        ({"alpha": 1, "teacher_terms": "js"}, "JS"),
        ({"alpha": 1}, None),
        ({"alpha": 0.5, "teacher_terms": "js"}, None),
    ],
)
def test_losses_have_the_papers_names(loss, named):
    assert paper.loss(StudentSpec.parse({"loss": loss})) == named


def test_the_papers_numbers_stand_beside_ours_on_its_tasks(found):
    assert paper.beside(found) == []
    asked = found.sweep.summary | {"task": "sample-emotion"}
    there = replace(found, sweep=found.sweep.model_copy(update={"summary": asked}))
    teachers, methods, losses = paper.beside(there)
    rows = {row[0]: row[1:] for row in teachers.rows}
    assert teachers.title == "Students by their teacher: Tables 4 and 8"
    assert rows["LLaMA2-7B"] == ("0.8105", "", "0.8133", "")
    chosen = found.champion
    ours = [plus_minus(chosen.over_seeds(f"test.{name}")) for name in ("accuracy", "f1")]
    assert rows["minilm"] == ("", ours[0], "", ours[1])
    assert methods.rows[-1] == ("champion (ours)", *ours, f"{chosen.parameters:,}")
    plain = champion([one for one in found.order if one.trial.spec.loss.alpha == 0])
    rows = {row[0]: row[1:] for row in losses.rows}
    assert rows["CE"][:2] == ("0.7388", plus_minus(plain.over_seeds("test.accuracy")))
    assert rows["KL"] == ("0.8195", "", "0.8217", "")


PROBE = """
<script>
addEventListener("load", () => {
  const table = document.querySelector(".trials table"), column = 2;
  table.tHead.rows[0].cells[column].firstChild.click();
  const sorted = [...table.tBodies[0].rows].map(row => parseFloat(row.cells[column].textContent));
  const images = [...document.images];
  document.body.textContent = JSON.stringify({
    wide: document.documentElement.scrollWidth,
    inner: innerWidth,
    fetched: performance.getEntriesByType("resource").map(one => one.name),
    drawn: images.filter(one => one.naturalWidth > 0).length,
    sorted,
  });
});
</script>
"""


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 390, 1200])
def test_a_browser_shows_it_without_scrolling_sideways(written, found, tmp_path, width):
    text = written.read_text(encoding="utf-8")
    # The page's own policy would refuse the probe.
    probed = re.sub(r"<meta http-equiv[^>]*>", "", text).replace("</body>", f"{PROBE}</body>")
    copy = tmp_path / "probed.html"
    copy.write_text(probed, encoding="utf-8")
    output = chromium("--dump-dom", f"--window-size={width},900", copy.as_uri())
    told = json.loads(re.search(r"<body>(\{.*?\})</body>", output)[1])
    assert told["inner"] == width
    assert told["wide"] <= width
    assert told["fetched"] == []
    assert told["drawn"] == 8
    assert told["sorted"] == sorted(told["sorted"])
    assert len(told["sorted"]) == len(found.order)


@pytest.mark.browser
def test_its_own_policy_lets_pictures_through_by_day_and_night(written, tmp_path):
    shots = []
    for name, flags in (("day", []), ("night", ["--blink-settings=preferredColorScheme=0"])):
        path = tmp_path / f"{name}.png"
        chromium(f"--screenshot={path}", "--window-size=390,2400", *flags, written.as_uri())
        shots.append(Image.open(path).convert("RGB"))
    day, night = shots
    assert day.getpixel((3, 3)) == (255, 255, 255)
    assert night.getpixel((3, 3)) == (13, 17, 23)
    for shot, blue in ((day, (0, 114, 178)), (night, (86, 180, 233))):
        colours = {colour for _, colour in shot.getcolors(1 << 24)}
        assert blue in colours
