"""Staging and the built book: what becomes a page, what stops the build, that it reads offline."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from book_browser import CHROMIUM, broken_links, camera, chromium, dragged, pages, served, violations, watched_tab
from made_up_book import RUN, WALKTHROUGH, made_up_project, put_run
from pybtex.database import parse_file
from pybtex.plugin import find_plugin

from msff.report.book import BookError, build, fragments
from msff.report.book.build import PAGES, _contents, best_store, name_for_screen_readers, render_html, stage
from msff.report.open_choices import MSFF_CHOICES
from msff.report.published import TABLE1
from msff.report.results import larger_stores
from msff.study.pages import RESULTS
from msff.study.profiles import PROFILES
from msff.study.store import Store

pytestmark = pytest.mark.slow

REPO = Path(__file__).parents[3]
RUN_PAGE = "runs/" + RUN.replace("/", "--")
ALIKE = tuple(f"book/_executed/{name}" for name in (*PAGES[1:], "runs/07-train", "larger/cpu/runs"))
"""Beginnings of the pages that differ from others by their title alone, since their notebooks here are made up."""
IMAGES_MISSING = """async () => {
  const all = [...document.images].filter(i => i.getAttribute("src"));
  all.forEach(i => i.loading = "eager");
  await Promise.all(all.map(i => i.complete ? 0 : new Promise(r => i.onload = i.onerror = r)));
  return all.filter(i => !i.naturalWidth).map(i => "no picture " + i.src);
}"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return made_up_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def html(project):
    """The pages of that project, built once for all tests that only look at them."""
    return render_html("smoke", project).parent


@pytest.fixture(scope="module")
def staged(project, html):
    return project / "book" / "_executed"


@pytest.fixture
def copy(project, staged, tmp_path):
    """The project with what was staged for the last build, for tests that change something."""
    ignore = shutil.ignore_patterns("_build", "_static")
    return shutil.copytree(project, tmp_path / "copy", ignore=ignore)


def test_a_page_about_all_runs_is_of_the_best_profile_that_has_its_runs(tmp_path):
    """gpu before cpu-long before cpu-scratch before cpu; smoke and real data show their own."""
    stores = {name: Store(tmp_path / name) for name in ("smoke", "cpu", "cpu-scratch", "cpu-long", "paper")}

    def add(profile, run_id):
        put_run(stores[profile], run_id)

    assert best_store(stores["cpu"], "09-table1").profile == "cpu"  # no other has a run
    for method in ("msff", "internet"):
        add("cpu-scratch", f"standin-rhd/{method}/full/seed0")
    assert best_store(stores["cpu"], "09-table1").profile == "cpu-scratch"
    assert best_store(stores["cpu"], "10-fig5").profile == "cpu"  # whose runs are of the other layout
    assert best_store(stores["cpu"], "08-ablation").profile == "cpu"
    for row in ("msff/bare", "msff/full"):
        add("cpu-long", f"standin-rhd/{row}/seed1")
    assert best_store(stores["cpu"], "08-ablation").profile == "cpu-long"
    assert best_store(stores["cpu"], "12-verdict").profile == "cpu-scratch"
    assert best_store(stores["smoke"], "09-table1").profile == "smoke"
    assert best_store(stores["paper"], "09-table1").profile == "paper"


def test_of_a_better_profile_only_the_pages_that_the_book_shows_are_executed(tmp_path, monkeypatch):
    """Its store may lack the images or the runs that the others need."""
    executed = {}
    monkeypatch.setattr(build, "execute_pages", lambda w, pages, **_: executed.update({w.profile.name: list(pages)}))
    monkeypatch.setattr(build, "write_tables", lambda store: None)
    for row in ("msff/bare", "msff/full"):
        put_run(Store(tmp_path / "results" / "cpu-long"), f"standin-rhd/{row}/seed0")
    build.execute("cpu", tmp_path)
    assert [page.notebook for page in executed["cpu-long"]] == ["08-ablation"]
    assert {"08-ablation", "11-fig6"} <= {page.notebook for page in executed["cpu"]}


def test_missing_notebooks_are_named_with_the_remedy(tmp_path):
    with pytest.raises(BookError, match=r"lacks notebooks/01-data.ipynb.* and \d+ more.*make study PROFILE=cpu"):
        stage("cpu", tmp_path)
    assert not (tmp_path / "book").exists()


def test_a_damaged_notebook_is_named_and_the_last_staging_kept(copy):
    bad = copy / "results" / "smoke" / "notebooks" / "09-table1.ipynb"
    bad.write_text('{"cells": [')
    with pytest.raises(BookError, match="09-table1.ipynb is no whole notebook"):
        stage("smoke", copy)
    assert (copy / "book" / "_executed" / "12-verdict.ipynb").exists()
    assert not list((copy / "book").glob("*.partial"))


def test_every_stored_run_has_a_page_also_of_larger_profiles(staged):
    names = sorted(path.relative_to(staged).as_posix() for path in staged.rglob("*.*") if "runs" in path.parts)
    assert names == [
        f"larger/cpu/{RUN_PAGE}-loss.png", f"larger/cpu/{RUN_PAGE}.md",
        *(f"{name}.ipynb" for name in sorted(WALKTHROUGH)), f"{RUN_PAGE}-loss.png", f"{RUN_PAGE}.md",
    ]  # fmt: skip
    text = (staged / "larger" / "cpu" / f"{RUN_PAGE}.md").read_text()
    assert (
        text.startswith("# MS-FF, RHD layout, seed 0\n") and f"Run `{RUN}`" in text and "Configuration abc123" in text
    )
    assert "msff train --profile cpu --dataset standin-rhd --method msff --variant full --seed 0 --force" in text
    assert (staged / "larger" / "cpu.md").read_text().count("/book/_executed/larger/cpu/") == 1


def test_without_pages_of_larger_profiles_the_contents_are_as_written(project):
    written = yaml.safe_load((project / "book" / "_toc.yml").read_text())
    none, one = (yaml.safe_load(_contents(project, larger, own=False)) for larger in ([], ["cpu"]))
    assert none == written != one
    assert [store.profile for store in larger_stores(Store(project / "results" / "smoke"))] == ["cpu"]
    assert larger_stores(Store(project / "results" / "cpu")) == []


def test_notebooks_that_the_book_may_show_twice_have_no_labels():
    for name in ("07-train", *RESULTS):
        cells = json.loads((REPO / "notebooks" / f"{name}.ipynb").read_text())["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        assert not re.findall(r"^\([\w-]+\)=|\$\$ *\(|\\label|:(?:label|name):", text, re.MULTILINE), name


def test_the_contents_name_every_page_once_and_no_other():
    entries = re.findall(r"(?:root|file): (\S+)", (REPO / "book" / "_toc.yml").read_text())
    executed = sorted(e.removeprefix("book/_executed/") for e in entries if "_executed" in e)
    assert executed == sorted(PAGES)
    chapters = sorted(e for e in entries if "_executed" not in e)
    assert chapters == sorted(f"book/{path.stem}" for path in (REPO / "book").glob("*.md"))


def test_the_config_names_no_server_and_runs_no_code():
    text = (REPO / "_config.yml").read_text()
    assert "http" not in text and "//" not in text
    config = yaml.safe_load(text)
    assert config["execute"]["execute_notebooks"] == "off"
    assert (REPO / "book" / "_static" / config["sphinx"]["config"]["mathjax_path"]).exists()


def test_the_bibliography_is_in_alphabetical_order():
    entries = parse_file(REPO / "book" / "references.bib")
    style = find_plugin("pybtex.style.formatting", "plain")()
    firsts = [entry.key for entry in style.format_entries(entries.entries.values(), entries)]
    names = [entries.entries[key].persons["author"][0].last_names[0].strip("{}").lower() for key in firsts]
    assert names == sorted(names) and ":style: plain" in (REPO / "book" / "bibliography.md").read_text()


def test_every_citation_is_in_the_bibliography():
    keys = set(re.findall(r"@\w+\{([\w-]+),", (REPO / "book" / "references.bib").read_text()))
    pages = [*(REPO / "book").glob("*.md"), *(REPO / "notebooks").glob("*.ipynb")]
    cited = {k for p in pages for k in re.findall(r"\{cite(?::\w+)?\}`([\w,-]+)`", p.read_text())}
    assert cited and {key for group in cited for key in group.split(",")} <= keys


def test_the_quoted_table_is_the_published_one():
    text = (REPO / "book" / "paper.md").read_text()
    rows = re.findall(r"^\| (\S+) \| ([YN]) \| ([YN]) \| ([\d.]+) \|", text, re.MULTILINE)
    yes = {True: "Y", False: "N"}
    assert rows == [(r.label, yes[r.gt_scale], yes[r.gt_side], f"{r.epe_mm:.2f}") for r in TABLE1]


def test_fragments_say_what_the_store_holds(staged):
    parts = {path.stem: path.read_text() for path in (staged / "fragments").glob("*.md")}
    assert "msff-standin" in parts["banner"] and "Test CPU, 2 cores" in parts["banner"] and "1 seed," in parts["banner"]
    row = next(line for line in parts["runs"].splitlines() if "full/seed0](" in line)
    assert "| 31.42 " in row and f"/book/_executed/{RUN_PAGE}.md" in row and "abc123" in row
    assert "not run yet" in parts["runs"]
    assert "No reference is shipped" in parts["check"]
    assert all(f"| {c.tag} " in parts["deviations"] for c in MSFF_CHOICES)


def test_the_banner_of_the_real_data_is_not_that_of_the_stand_in(tmp_path):
    text = fragments.banner(Store(tmp_path / "results" / "paper"))
    assert "Real data" in text and "RHD and InterHand2.6M" in text and "standin" not in text
    assert "seed" not in text  # no run is there yet


def test_departures_list_exactly_the_settings_that_differ_from_the_paper():
    table = fragments.departures_table(PROFILES)
    first, second = (line.split("|") for line in table.splitlines() if "network.crop_size" in line)
    assert [c.strip() for c in first[2:4]] == ["256", str(PROFILES["smoke"].network.crop_size)]
    assert second[-2].strip() == "same"  # the gpu profile has the paper's crops
    assert "decay_factor" not in table  # no profile touches it


def test_the_book_builds_without_a_warning_and_loads_nothing_from_elsewhere(html):
    pages = [path for path in html.rglob("*.html") if "_static" not in path.parts]
    names = {path.relative_to(html).as_posix() for path in pages}
    assert {"index.html", "book/intro.html", "book/_executed/12-verdict.html"} <= names
    assert f"book/_executed/{WALKTHROUGH[0]}.html" in names and f"book/_executed/{RUN_PAGE}.html" in names
    for path in pages:
        text = path.read_text()
        loaded = re.findall(r"<(?:script|img|iframe|source)\b[^>]*?\bsrc=\"([^\"]+)\"", text)
        loaded += re.findall(r"<link\b[^>]*?\bhref=\"([^\"]+)\"", text)
        assert not [url for url in loaded if re.match(r"(https?:)?//", url)], path
        assert "unpkg" not in text and "jsdelivr" not in text, path
    run_page = (html / f"book/_executed/{RUN_PAGE}.html").read_text()
    assert "<title>MS-FF, RHD layout, seed 0" in run_page and "standin-rhd/msff/full/seed0" in run_page
    results = (html / "book/results.html").read_text()
    assert "Caption of plausibility." in results and "Stand-in data" in results
    for place in ("cell", "line"):
        assert f"&lt;script&gt;in a {place}" in results and f"<script>in a {place}" not in results


def test_the_built_chapter_on_larger_profiles_leads_to_their_pages(html):
    run, folder = f"larger/cpu/{RUN_PAGE}.html", html / "book" / "_executed"
    assert 'href="_executed/larger/cpu.html"' in (html / "book/larger.html").read_text()
    assert f'href="{run.removeprefix("larger/")}"' in (folder / "larger" / "cpu.html").read_text()
    assert (folder / run).exists()


def test_a_warning_fails_the_build_and_keeps_the_last_pages(copy, monkeypatch):
    monkeypatch.setattr(build, "stage", lambda profile, root: None)  # it is already staged
    (copy / "book" / "_executed" / "_toc.yml").write_text("format: jb-book\nroot: book/bibliography\n")
    (copy / "book" / "bibliography.md").write_text("# Title\n\n{ref}`nowhere`\n")
    last = copy / "book" / "_build" / "html" / "index.html"
    last.parent.mkdir(parents=True)
    last.write_text("the last good build")
    with pytest.raises(BookError, match="nowhere"):
        render_html("smoke", copy)
    assert last.read_text() == "the last good build"
    assert [path.name for path in last.parents[1].iterdir()] == ["html"]


def test_every_link_anchor_image_and_download_of_every_page_is_there(html):
    assert broken_links(html) == []


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "a.html").write_text('<h1 id="top"></h1><a href="#top"></a><a href="a.html#no"></a><img src="b.png">')
    (tmp_path / "index.html").write_text('<a href="a.html?x=1#top"></a><a href="https://example.org/c"></a>')
    assert broken_links(tmp_path) == ["a.html -> a.html#no", "a.html -> b.png"]


# in a browser


@pytest.fixture(scope="module")
def browser(html):
    """A headless browser and the address of the book."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with served(html) as base, chromium() as started:
        yield started, base


@pytest.fixture(scope="module")
def faults(html, browser):
    """What is wrong with each page, loaded once: by ``troubles`` and ``accessibility``."""
    tab, troubles = watched_tab(*browser)
    found = []
    for name in pages(html):
        tab.goto(browser[1] + name)
        for width in (360, 1280):
            tab.set_viewport_size({"width": width, "height": 900})
            if tab.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
                troubles.append(f"{name} scrolls sideways at {width} px")
        troubles += tab.evaluate(IMAGES_MISSING)
        if not name.startswith(ALIKE):
            found += [f"{name}: {what}" for what in violations(tab)]
    tab.goto(f"{browser[1]}book/_executed/03-channel-conversion.html")
    tab.wait_for_selector("mjx-container")  # MathJax has typeset the formula
    tab.close()
    return {"troubles": troubles, "accessibility": found}


def test_every_page_works_in_a_browser_without_a_network(faults):
    assert not faults["troubles"]


def test_no_page_breaks_a_serious_rule_of_accessibility(faults):
    """In both themes; of the pages made from one notebook, and of those of runs, one stands for the rest."""
    assert not faults["accessibility"]


def test_on_a_phone_rows_of_sentences_are_cards_and_tables_of_numbers_scroll(browser):
    tab, troubles = watched_tab(*browser)
    tab.set_viewport_size({"width": 360, "height": 900})
    tab.goto(f"{browser[1]}book/unstated.html")
    said = tab.get_by_role("cell", name="the paper says: Nothing on pre-training.")
    box, card = said.bounding_box(), said.locator("xpath=..").bounding_box()
    assert 0 <= card["x"] <= box["x"] and box["x"] + box["width"] <= card["x"] + card["width"] <= 360
    assert said.locator("xpath=../*[last()]").bounding_box()["y"] >= box["y"] + box["height"]
    settings = tab.get_by_role("table").filter(has_text="network.crop_size").first
    assert settings.bounding_box()["width"] > 360 and not violations(tab)
    named = tab.locator(".msff-keep-names").first
    named.evaluate("box => box.scrollLeft = 60")
    assert named.locator("tbody td").first.bounding_box()["x"] >= 0
    tab.set_viewport_size({"width": 1280, "height": 900})
    row = tab.get_by_role("row").filter(has_text="Nothing on pre-training.")
    tops = [cell.bounding_box()["y"] for cell in row.get_by_role("cell").all()]
    assert len(tops) == 4 and len(set(tops)) == 1 and not troubles


def test_search_finds_a_term_and_the_theme_switches(browser):
    tab, troubles = watched_tab(*browser)
    tab.goto(f"{browser[1]}search.html?q=heat")
    tab.wait_for_selector("#search-results li a")
    tab.goto(f"{browser[1]}book/intro.html")
    themes = []
    for _ in range(3):
        themes.append(tab.evaluate("document.documentElement.dataset.theme"))
        tab.locator(".theme-switch-button:visible").first.click()
    assert {"light", "dark"} <= set(themes)
    assert not troubles


def test_hands_turn_when_dragged_and_disappear_when_their_name_is_clicked(browser):
    tab, troubles = watched_tab(*browser)
    tab.goto(f"{browser[1]}book/_executed/11-fig6.html")
    tab.locator(".msff-3d-view").scroll_into_view_if_needed()
    tab.wait_for_selector(".msff-3d .legendtoggle", state="attached")
    before, after = camera(tab, ".msff-3d-view"), dragged(tab, ".msff-3d-view")
    assert sum((a - b) ** 2 for a, b in zip(before, after, strict=True)) ** 0.5 > 0.1
    tab.locator(".msff-3d .legendtoggle").last.click()
    tab.wait_for_function("document.querySelector('.msff-3d-view')._fullData[1].visible === 'legendonly'")
    assert not troubles


def test_arrows_of_the_side_bar_get_a_name_and_the_rest_of_a_page_stays(tmp_path):
    page = tmp_path / "book" / "page.html"
    page.parent.mkdir()
    arrow = '<details><summary><span class="toctree-toggle" role="presentation"></span></summary></details>'
    page.write_text(f'<p>ä</p>{arrow}<summary>Shown</summary><div role="list" class="citation-list">', encoding="utf-8")
    name_for_screen_readers(tmp_path)
    named = arrow.replace("<summary>", '<summary aria-label="Pages below">')
    assert page.read_text(encoding="utf-8") == (f'<p>ä</p>{named}<summary>Shown</summary><div class="citation-list">')
