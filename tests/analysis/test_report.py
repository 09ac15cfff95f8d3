#!/usr/bin/env python3
# needs: browser
# timeout: 600
"""Reports as a reader sees them: opened from disk in a headless browser, by mouse and keyboard, on a phone, in the dark and in print.
Run: python3 tests/analysis/test_report.py [-v]. Screenshots and PDF files stay in BUILD/tests/report for people to look at."""

import os
import re
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

try:
    import h5py  # noqa: F401
    import jinja2  # noqa: F401
    import matplotlib.image
    import numpy as np
    import pandas  # noqa: F401
    import selenium  # noqa: F401
except ImportError as e:
    print(f"skipped: no {e.name} (Debian's python3-{e.name})")
    sys.exit(77)

import tap  # noqa: E402
from browser import browse  # noqa: E402
from made_runs import analyse  # noqa: E402
from made_study import MadeStudy  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SHOTS = Path(os.environ.get("PEFTSCALE_BUILD") or ROOT / "build") / "tests/report"
PHONE, TABLET, DESKTOP = 360, 768, 1280
LEAST_CONTRAST = 4.5
LEAST_TEXT, LEAST_FIGURE_TEXT = 14, 8.5  # CSS pixels on a phone

# Every text that is seen outside of figures, with its size, its colour and the colour behind it.
TEXTS = """
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const parts = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
function behind(element) {
  const layers = [];
  for (let each = element; each; each = each.parentElement) {
    const colour = parts(getComputedStyle(each).backgroundColor);
    layers.push(colour.length === 3 ? [...colour, 1] : colour);
    if (layers[layers.length - 1][3] === 1) break;
  }
  let result = [255, 255, 255];
  for (const [r, g, b, a] of layers.reverse()) result = result.map((value, index) => value * (1 - a) + [r, g, b][index] * a);
  return result;
}
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
  const element = node.parentElement;
  if (!node.textContent.trim() || element.closest("svg, script, style") || !element.checkVisibility({contentVisibilityAuto: true})) continue;
  const style = getComputedStyle(element);
  found.push([node.textContent.trim().slice(0, 40), parseFloat(style.fontSize), parts(style.color).slice(0, 3), behind(element)]);
}
return found;
"""
# Of every figure: its card's box, how many things are drawn and how large the largest is, its name, its smallest text on the screen.
FIGURES = """
return Array.from(document.querySelectorAll("figure"), function (figure) {
  const svg = figure.querySelector("svg"), card = figure.querySelector(".card").getBoundingClientRect(), box = svg.getBoundingClientRect();
  const drawn = Array.from(svg.querySelectorAll("path, use, rect, line, circle, polyline, polygon, text")).map((each) => each.getBoundingClientRect())
    .filter((each) => each.width > 0 || each.height > 0);
  const names = (svg.getAttribute("aria-labelledby") || "").split(" ").concat((svg.getAttribute("aria-describedby") || "").split(" ")).filter(Boolean);
  const scale = box.width / svg.viewBox.baseVal.width;
  const sizes = Array.from(svg.querySelectorAll("text")).map((text) => parseFloat(getComputedStyle(text).fontSize) * scale);
  return {id: figure.id, left: card.left, right: card.right, height: card.height, width: box.width, visible: svg.checkVisibility(), drawn: drawn.length,
          outside: drawn.filter((each) => each.right < box.left || each.left > box.right || each.bottom < box.top || each.top > box.bottom).length,
          told: names.map((name) => (document.getElementById(name) || {textContent: ""}).textContent.trim()),
          caption: figure.querySelector("figcaption").textContent, smallest: Math.min(...sizes)};
});
"""
WIDER = """
return Array.from(document.querySelectorAll("main *, header *, nav *")).filter(function (each) {
  if (each.closest(".box, pre, .broad, svg") && !each.matches(".box, pre, .broad")) return false;
  return each.getBoundingClientRect().right > innerWidth + 0.5;
}).map((each) => each.tagName + " " + each.id + " " + each.className + " " + each.textContent.slice(0, 40));
"""


def luminance(colour):
    """WCAG 2's relative luminance."""
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in (each / 255 for each in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def pages_of(pdf):
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


class Pages:
    """The checks, on each report."""

    @classmethod
    def setUpClass(cls):
        cls.name = cls.__name__.lower()
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.path = Path(cls.folder.name) / f"{cls.name}.html"
        cls.study = cls.make_study(Path(cls.folder.name))
        done = analyse("report", "--study", cls.study, "--out", cls.path)
        assert done.status == 0, done.out + done.err
        cls.page = cls.enterClassContext(browse())

    def setUp(self):
        self.page.emulate()
        self.page.resize(DESKTOP)
        self.page.open(self.path)

    def find(self, selector):
        return self.page.driver.find_elements(By.CSS_SELECTOR, selector)

    # ---- what it is made of ----

    def test_asks_for_nothing_and_complains_of_nothing(self):
        self.page.complaints(), self.page.requests()
        self.page.open(self.path)
        for button in self.find("th button")[:3]:
            button.click()
        self.page.print(SHOTS / f"{self.name}.pdf")
        self.assertEqual(self.page.complaints(), [])
        self.assertEqual(self.page.requests(), [self.path.resolve().as_uri()])
        self.assertEqual(self.page.ask("return performance.getEntriesByType('resource').map((each) => each.name)"), [])

    def test_no_text_became_markup(self):
        self.assertIsNone(self.page.ask("return window.hacked ?? null"))
        self.assertEqual(len(self.find("script")), 1)
        self.assertEqual(self.find("img, iframe, object, embed, link, base, form, input"), [])

    def test_the_policy_stops_what_is_put_in(self):
        self.page.ask("const each = document.createElement('script'); each.textContent = 'window.hacked = 3'; document.body.append(each);")
        self.assertIsNone(self.page.ask("return window.hacked ?? null"))
        self.assertIn("Content Security Policy", " ".join(self.page.complaints()))

    def test_ids_and_links(self):
        ids = self.page.ask("return Array.from(document.querySelectorAll('[id]'), (each) => each.id)")
        self.assertEqual(sorted(ids), sorted(set(ids)))
        inner = self.page.ask("return Array.from(document.querySelectorAll('a[href^=\"#\"]'), (each) => each.getAttribute('href').slice(1))")
        self.assertEqual(set(inner) - set(ids), set())
        self.assertGreater(len(inner), 20)
        used = self.page.ask("return Array.from(document.querySelectorAll('svg use'), (each) => each.href.baseVal.slice(1))")
        self.assertEqual(set(used) - set(ids), set())
        labels = self.page.ask("return Array.from(document.querySelectorAll('[aria-labelledby]'), (each) => each.getAttribute('aria-labelledby'))")
        self.assertEqual({name for label in labels for name in label.split()} - set(ids), set())

    def test_a_link_to_a_run_opens_the_list(self):
        link = self.find("main td a[href^='#run-']")[0]
        target = link.get_attribute("href").rpartition("#")[2]
        self.page.ask("document.querySelectorAll('details').forEach((each) => { each.open = false; })")
        self.page.ask("arguments[0].click()", link)
        row = self.find(f"#{target}")[0]
        self.page.wait("const box = arguments[0].getBoundingClientRect(); return box.height > 0 && box.top >= 0 && box.bottom <= innerHeight", row)

    # ---- sorting ----

    def cells(self, table, column):
        return self.page.ask("return Array.from(arguments[0].tBodies[0].rows, (row) => row.cells[arguments[1]].textContent)", table, column)

    def values(self, table, column):
        texts = self.page.ask("return Array.from(arguments[0].tBodies[0].rows, (row) => row.cells[arguments[1]].dataset.value)", table, column)
        return [float(text) if text else None for text in texts]

    def states(self, table):
        return self.page.ask("return Array.from(arguments[0].tHead.rows[0].cells, (each) => each.getAttribute('aria-sort'))", table)

    def check_order(self, values, sign):
        known = [value for value in values if value is not None]
        self.assertEqual(known, sorted(known, reverse=sign < 0))
        self.assertEqual(values, known + [None] * (len(values) - len(known)), "what is not known comes last")

    def test_sorting_by_click(self):
        tables = self.find("table.sortable")
        self.assertGreater(len(tables), 4)
        sorted_columns = 0
        for table in tables:
            if not table.is_displayed():
                continue
            heads = table.find_elements(By.CSS_SELECTOR, "thead th")
            original = self.page.ask("return Array.from(arguments[0].tBodies[0].rows, (row) => row.textContent)", table)
            for column, head in enumerate(heads):
                button = head.find_element(By.TAG_NAME, "button")
                is_number = "n" in (head.get_attribute("class") or "").split()
                for word, sign in (("ascending", 1), ("descending", -1)):
                    self.page.ask("arguments[0].click()", button)
                    self.assertEqual(self.states(table), [word if place == column else None for place in range(len(heads))])
                    if is_number:
                        self.check_order(self.values(table, column), sign)
                    rows = self.page.ask("return Array.from(arguments[0].tBodies[0].rows, (row) => row.textContent)", table)
                    self.assertEqual(sorted(rows), sorted(original), "rows stay whole, and none is lost")
                self.page.ask("arguments[0].click()", button)
                self.assertEqual(self.states(table), [None] * len(heads))
                self.assertEqual(self.page.ask("return Array.from(arguments[0].tBodies[0].rows, (row) => row.textContent)", table), original)
                sorted_columns += is_number
        self.assertGreater(sorted_columns, 20)

    def test_sorting_by_mouse_and_keyboard(self):
        table = next(each for each in self.find("table.sortable") if "numbers trained" in each.text.replace("\n", " "))
        names = [head.text.replace("\n", " ").strip("\u2195\u00a0 ") for head in table.find_elements(By.CSS_SELECTOR, "thead th")]
        column = next(place for place, name in enumerate(names) if name.startswith("numbers trained"))
        button = table.find_elements(By.CSS_SELECTOR, "thead th")[column].find_element(By.TAG_NAME, "button")
        self.page.ask("arguments[0].scrollIntoView({block: 'center'})", button)
        original = self.cells(table, 0)
        button.click()
        self.check_order(self.values(table, column), 1)
        # 9 comes before 10 only for numbers: as texts these would stand otherwise.
        self.assertNotEqual(self.cells(table, column), sorted(self.cells(table, column)))
        button.send_keys(Keys.ENTER)
        self.check_order(self.values(table, column), -1)
        button.send_keys(Keys.SPACE)
        self.assertEqual(self.cells(table, 0), original)
        self.page.driver.switch_to.active_element.send_keys(Keys.TAB)
        self.assertEqual(self.page.ask("return document.activeElement.textContent"), names[column + 1])
        self.page.driver.switch_to.active_element.send_keys(Keys.ENTER)
        self.assertEqual(self.states(table)[column + 1], "ascending")
        outline = self.page.ask("return parseFloat(getComputedStyle(document.activeElement).outlineWidth)")
        self.assertGreaterEqual(outline, 2, "who uses the keyboard sees where he is")

    # ---- figures ----

    def test_figures(self):
        for width in (PHONE, TABLET, DESKTOP):
            self.page.resize(width, mobile=width == PHONE)
            self.page.open(self.path)
            figures = self.page.ask(FIGURES)
            self.assertGreaterEqual(len(figures), 4)
            for figure in figures:
                with self.subTest(width=width, figure=figure["id"]):
                    self.assertTrue(figure["visible"])
                    self.assertGreaterEqual(figure["left"], 0)
                    self.assertLessEqual(figure["right"], width)
                    self.assertGreater(figure["height"], 100)
                    self.assertGreater(figure["width"], 250)
                    self.assertGreater(figure["drawn"], 10)
                    self.assertEqual(figure["outside"], 0)
                    self.assertEqual(len(figure["told"]), 2, "a title and a description")
                    self.assertTrue(all(figure["told"]))
                    self.assertGreater(len(figure["caption"]), 20)
                    self.assertGreaterEqual(figure["smallest"], LEAST_FIGURE_TEXT)

    def test_figures_stay_on_white(self):
        for scheme in ("light", "dark"):
            self.page.emulate(scheme=scheme)
            colours = self.page.ask("return Array.from(document.querySelectorAll('figure .card'), (each) => getComputedStyle(each).backgroundColor)")
            self.assertEqual(set(colours), {"rgb(255, 255, 255)"})

    # ---- layout and legibility ----

    def test_nothing_is_wider_than_the_screen(self):
        for width in (320, PHONE, TABLET, 1024, DESKTOP, 1920):
            self.page.resize(width, mobile=width <= PHONE)
            self.page.open(self.path)
            self.page.ask("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
            with self.subTest(width=width):
                self.assertLessEqual(self.page.ask("return document.documentElement.scrollWidth"), width)
                self.assertEqual(self.page.ask(WIDER), [])

    def test_what_scrolls_can_be_reached_by_keyboard(self):
        self.page.resize(PHONE, mobile=True)
        scrolled = self.page.ask("""return Array.from(document.querySelectorAll("main *")).filter((each) => each.scrollWidth > each.clientWidth + 1
            && ["auto", "scroll"].includes(getComputedStyle(each).overflowX)).map((each) => [each.tabIndex, each.className, each.tagName])""")
        self.assertGreater(len(scrolled), 0)
        self.assertEqual([each for each in scrolled if each[0] != 0], [])

    def texts(self):
        self.page.ask("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        found = self.page.ask(TEXTS)
        self.assertGreater(len(found), 100)
        return found

    def test_size_of_text_on_a_phone(self):
        self.page.resize(PHONE, scale=2, mobile=True)
        self.page.open(self.path)
        self.assertEqual([text for text in self.texts() if text[1] < LEAST_TEXT], [])

    def test_contrast(self):
        for media, scheme in (("screen", "light"), ("screen", "dark"), ("print", "light"), ("print", "dark")):
            self.page.emulate(media, scheme)
            low = [(round(contrast(colour, ground), 2), text) for text, _, colour, ground in self.texts() if contrast(colour, ground) < LEAST_CONTRAST]
            self.assertEqual(low, [], f"{media}, {scheme}")

    def test_dark_is_dark(self):
        grounds = {}
        for scheme in ("light", "dark"):
            self.page.emulate(scheme=scheme)
            colour = self.page.ask("return getComputedStyle(document.body).backgroundColor")
            grounds[scheme] = luminance([int(value) for value in re.findall(r"\d+", colour)[:3]])
        self.assertGreater(grounds["light"], 0.9)
        self.assertLess(grounds["dark"], 0.05)

    def test_without_its_script(self):
        self.page.command("Emulation.setScriptExecutionDisabled", value=True)
        try:
            self.page.open(self.path)
            self.assertEqual(len(self.find("th button")), 0)
            self.assertGreater(len([table for table in self.find("table") if table.is_displayed()]), 4)
            self.assertGreater(len(self.find("figure svg")), 3)
        finally:
            self.page.command("Emulation.setScriptExecutionDisabled", value=False)

    # ---- pictures of it ----

    def check_picture(self, path, width, height):
        """Not blank, and nothing cut off at its sides."""
        pixels = (matplotlib.image.imread(path)[..., :3] * 255).round().astype(int)
        self.assertEqual(pixels.shape[:2], (height, width))
        ground = pixels[0, 0]
        inked = (np.abs(pixels - ground).sum(axis=2) > 60)
        self.assertGreater(inked.mean(), 0.01)
        for band in np.array_split(inked, 4):
            self.assertGreater(band.sum(), 100)
        margin = width // 60
        self.assertEqual((int(inked[:, :margin].sum()), int(inked[:, -margin:].sum())), (0, 0), "something touches the edge")

    def test_screenshots(self):
        for name, width, scale, scheme in (("phone", PHONE, 2, "light"), ("phone-dark", PHONE, 2, "dark"), ("desktop", DESKTOP, 1, "light"),
                                           ("desktop-dark", DESKTOP, 1, "dark")):
            self.page.emulate(scheme=scheme)
            self.page.resize(width, 800, scale, mobile=width == PHONE)
            self.page.open(self.path)
            with self.subTest(name=name):
                shot = self.page.screenshot(SHOTS / f"{self.name}-{name}.png")
                self.check_picture(shot, width * scale, 800 * scale)
                self.page.screenshot(SHOTS / f"{self.name}-{name}-whole.png", whole=True)
                figure = self.find("figure")[0]
                self.page.ask("arguments[0].scrollIntoView()", figure)
                self.check_picture(self.page.screenshot(SHOTS / f"{self.name}-{name}-figure.png"), width * scale, 800 * scale)

    # ---- print ----

    def test_print(self):
        pdf = self.page.print(SHOTS / f"{self.name}.pdf").read_bytes()
        self.assertTrue(pdf.startswith(b"%PDF"))
        self.assertGreater(pages_of(pdf), 4)
        self.assertLess(pages_of(pdf), 60)
        sizes = {tuple(round(float(number)) for number in found) for found in re.findall(rb"/MediaBox\s*\[\s*0 0 ([\d.]+) ([\d.]+)\s*\]", pdf)}
        self.assertEqual(sizes, {(595, 842)}, "A4")
        self.page.ask("document.querySelectorAll('details').forEach((each) => each.remove())")
        self.assertLess(pages_of(self.page.print(SHOTS / "without.pdf").read_bytes()), pages_of(pdf), "folds are in print")
        (SHOTS / "without.pdf").unlink()

    def test_print_opens_folds_and_closes_them_again(self):
        before = self.page.ask("return Array.from(document.querySelectorAll('details'), (each) => each.open)")
        self.assertIn(False, before)
        self.page.ask("dispatchEvent(new Event('beforeprint'))")
        self.assertEqual(self.page.ask("return Array.from(document.querySelectorAll('details'), (each) => each.open)"), [True] * len(before))
        self.page.ask("dispatchEvent(new Event('afterprint'))")
        self.assertEqual(self.page.ask("return Array.from(document.querySelectorAll('details'), (each) => each.open)"), before)

    def test_print_fits_the_paper(self):
        self.page.emulate("print")
        self.page.resize(695, 1000)  # A4 without its margins
        self.page.ask("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        self.assertLessEqual(self.page.ask("return document.documentElement.scrollWidth"), 695)
        wide = self.page.ask("return Array.from(document.querySelectorAll('table, svg, pre')).filter((each) => each.getBoundingClientRect().right > 695.5)"
                             ".map((each) => each.tagName + ' ' + each.textContent.slice(0, 60))")
        self.assertEqual(wide, [])
        sticky = self.page.ask("return Array.from(document.querySelectorAll('*')).map((each) => getComputedStyle(each).position)"
                               ".filter((position) => ['sticky', 'fixed'].includes(position))")
        self.assertEqual(sticky, [])


class Made(Pages, unittest.TestCase):
    """With texts that want to be markup, failures, a contaminated run and trials."""

    @staticmethod
    def make_study(folder):
        return MadeStudy(folder).write()

    def test_texts_are_shown_as_they_are(self):
        said = self.page.ask("return document.body.textContent")
        for text in ("A study of <script>window.hacked = 1</script>", "Is <b>this</b> \"safe\" & sound?", "diverged at step 12: loss nan",
                     "onerror='window.hacked = 2'"):
            self.assertIn(text, said)


class Glue(Pages, unittest.TestCase):
    """A study that was really made: 160 runs in the repository."""

    @staticmethod
    def make_study(folder):
        return ROOT / "results/minilm-glue"

    def test_its_size(self):
        self.assertLess(self.path.stat().st_size, 3_000_000)


if __name__ == "__main__":
    tap.main()
