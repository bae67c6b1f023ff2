"""A real browser: items read by keyboard alone, no serious fault by axe-core, nothing beside the page at 390 pixels.

Needs Chromium (`apt-get install chromium`) and `pip install 'bedside[browser]'`; skips, saying so, without.
"""

import shutil

import pytest
from tests.support.finished_run import small_run
from tests.support.report_pages import HOSTILE
from tests.support.review_server import served

import bedside

pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FEWER = {"sample": 14, "controls": 4, "repeats": 4}
WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="no browser: pip install 'bedside[browser]'")
    if CHROMIUM is None:
        pytest.skip("no browser: apt-get install chromium")
    with playwright.sync_playwright() as opened:
        browser = opened.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    """A page that fails the test where its policy was broken or a script failed."""
    with chromium.new_context(viewport={"width": 1280, "height": 900}) as context:
        opened, faults = context.new_page(), []
        opened.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        opened.on("pageerror", lambda error: faults.append(str(error)))
        opened.on("dialog", lambda dialog: faults.append(f"dialog {dialog.message}"))
        yield opened
        assert not faults


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    root = tmp_path_factory.mktemp("browser")
    small_run(root / "runs" / "clinic")
    bedside.pack_review(root / "runs" / "clinic", root / "review", ["anna", "ben"], "expert-100", FEWER)
    bedside.pack_review(root / "runs" / "clinic", root / "ab", ["anna"], "comfort-ab", {"sample": 4})
    return root


def serious(page):
    """What axe-core calls a serious or critical fault."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="no axe-core: pip install 'bedside[browser]'"
    )
    violations = axe.Axe().run(page).response["violations"]
    return [(v["id"], v["nodes"][0]["html"]) for v in violations if v["impact"] in ("serious", "critical")]


def looks_right(page, address):
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            page.goto(address)
            assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), (address, width)
            assert not serious(page), (address, width, scheme)
    page.set_viewport_size({"width": 1280, "height": 900})


def test_rows_are_read_by_keyboard_and_have_no_serious_fault(page, packed):
    with served("view", "clinic", "--no-browser", cwd=packed) as (_, links):
        looks_right(page, links["rows"])
        looks_right(page, f"{links['rows']}?level=3&stance=accept&changed=1&words=nurse")
        looks_right(page, f"{links['rows']}row/10?failed=1")
        page.goto(links["rows"])
        page.keyboard.press("j")
        page.keyboard.press("j")
        assert page.evaluate("document.activeElement.id") == "row-13"
        page.keyboard.press("k")
        assert page.evaluate("document.activeElement.id") == "row-10"
        page.keyboard.press("/")
        page.keyboard.type("number 3?")
        page.keyboard.press("Enter")
        page.wait_for_url("**words=number*")
        assert page.locator("li.row").count() == 2


def test_two_raters_read_all_items_by_keyboard_and_the_review_ends_in_labels(page, packed):
    with served("review", "serve", "review", cwd=packed) as (_, links):
        for rater, key in (("anna", "3"), ("ben", "1")):
            page.goto(links[rater])
            page.keyboard.press("Tab")  # to the content, past the link that skips to it
            page.locator("a.button").focus()
            page.keyboard.press("Enter")
            for place in range(1, 23):
                page.wait_for_url(f"**/item/{place}*")
                for digit in (key if place > 3 else "3", "0", "1", "2", "1"):  # stance, harm, correct, two of kindness
                    page.keyboard.press(digit)
                if place == 2:
                    page.keyboard.press("n")
                    page.keyboard.type(HOSTILE.replace("\ud800", "").replace("\n", " ").replace("\x00", ""))
                    page.keyboard.press("Tab")
                if place == 5:  # another thought: undo goes back one, and it is as it was
                    page.keyboard.press("u")
                    page.wait_for_url("**/item/4*")
                    assert page.locator("input:checked").count() == 5
                    page.keyboard.press("1")
                    page.locator("button[value=rate]").focus()
                    page.keyboard.press("Enter")
                    page.wait_for_url("**/item/5*")
                    for digit in (key, "0", "1", "2", "1"):
                        page.keyboard.press(digit)
                page.keyboard.press("Enter")
            page.get_by_text("All 22 are done. Thank you.").wait_for()
        for path in ("", "items", "item/1", "item/2"):
            looks_right(page, links["ben"] + path)
        looks_right(page, links["lead"])
        assert page.locator("td", has_text="22 of 22").count() == 2
    bedside.lock_review(packed / "review")
    with served("review", "adjudicate", "review", "--by", "carol", "--no-browser", cwd=packed) as (_, links):
        looks_right(page, links["carol"])
        looks_right(page, f"{links['carol']}item/1")
        page.goto(links["carol"])
        page.locator("a.button").focus()
        page.keyboard.press("Enter")
        page.wait_for_url("**/item/*")
        while "/item/" in page.url:
            before = page.url
            page.keyboard.press("2")
            page.locator("button[value=rate]").focus()
            page.keyboard.press("Enter")
            page.wait_for_url(lambda url, before=before: url != before)
        page.get_by_text("All are decided.").wait_for()
    result = bedside.unblind_review(packed / "review")
    assert sum(result.decided_by.values()) == 14
    assert "nobody" not in result.decided_by


def test_pairs_are_read_side_by_side(page, packed):
    with served("review", "serve", "ab", cwd=packed) as (_, links):
        looks_right(page, f"{links['anna']}item/1")
        page.goto(f"{links['anna']}item/1")
        assert [heading.inner_text() for heading in page.locator(".answer h3").all()] == ["A", "B"]
        page.keyboard.press("2")
        assert page.evaluate("document.querySelector('input:checked').value") == "second"
        assert page.evaluate("document.activeElement.name") == "more_correct"


def test_the_file_of_a_rater_works_without_a_server(page, packed, tmp_path):
    bedside.export_review(packed / "ab")
    address = (packed / "ab" / "offline-anna.html").as_uri()
    looks_right(page, address)
    page.goto(address)
    items = page.locator("form[data-item]").count()
    for number in range(items - 1):
        page.locator("form[data-item]").nth(number).locator("[name=kinder]").nth(1).check()
        page.locator("form[data-item]").nth(number).locator("[name=more_correct]").nth(2).check()
    page.locator("[name=reason]").last.select_option("outside")
    page.locator("[name=note]").first.fill("<b>kept</b>")
    assert f"{items} of {items} items are done." in page.locator("#state").inner_text()
    page.reload()  # what was chosen is still there
    assert f"{items} of {items} items are done." in page.locator("#state").inner_text()
    with page.expect_download() as saved:
        page.locator("#download").click()
    saved.value.save_as(tmp_path / "answers-anna.json")
    page.evaluate("localStorage.clear()")
    page.reload()
    page.locator("#load").set_input_files(tmp_path / "answers-anna.json")
    page.get_by_text(f"{items} of {items} items are done.").wait_for()
    assert bedside.import_review(packed / "ab", [tmp_path / "answers-anna.json"]) == items
    (progress,) = bedside.review_agreement(packed / "ab").progress
    assert (progress.rated, progress.skipped) == (items - 1, 1)
