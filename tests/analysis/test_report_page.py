#!/usr/bin/env python3
"""What a report says and what its file is made of, without a browser. Run: python3 tests/analysis/test_report_page.py [-v]"""

import base64
import hashlib
import html.parser
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

try:
    import h5py  # noqa: F401
    import jinja2  # noqa: F401
    import matplotlib  # noqa: F401
    import pandas  # noqa: F401
except ImportError as e:
    print(f"skipped: no {e.name} (Debian's python3-{e.name})")
    sys.exit(77)

import tap  # noqa: E402
from made_runs import analyse, write_index, write_run  # noqa: E402
from made_study import NAME, MadeStudy  # noqa: E402
from test_commfit import write_file as write_comm  # noqa: E402

from analysis.report.blocks import Anchors, Bullets, Cell, Chapter, Document, Head, Link, Mono, Paragraph, Table, typed  # noqa: E402
from analysis.report.page import write_page  # noqa: E402
from analysis.report.study_file import find_about  # noqa: E402
from analysis.report.svg import BadPicture, inline  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
EMPTY = {"meta", "br", "link", "img", "input", "hr"}  # elements without an end
# What figures are drawn with, and what the page itself has.
DRAWN = {"svg", "title", "desc", "g", "defs", "path", "rect", "circle", "line", "polyline", "polygon", "text", "tspan", "use", "clippath", "pattern"}
TAGS = {"html", "head", "meta", "title", "style", "body", "a", "header", "h1", "h2", "h3", "p", "nav", "ol", "ul", "li", "main", "section", "div", "table",
        "caption", "thead", "tbody", "tr", "th", "td", "dl", "dt", "dd", "pre", "code", "figure", "figcaption", "b", "details", "summary", "script",
        "span"} | DRAWN


class Reader(html.parser.HTMLParser):
    """Elements with their attributes, texts by element, and whether what is opened is closed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.found, self.texts, self.wrong = [], [], [], []
        self.feed(text)
        self.close()
        self.wrong += [f"<{tag}> is not closed" for tag in self.open]

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if len(dict(attributes)) != len(attributes):
            self.wrong.append(f"<{tag}> has an attribute twice")
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> ends something else")

    def handle_data(self, text):
        if self.open and text.strip():
            self.texts.append((self.open[-1], text))

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]

    def said(self):
        """In the page's own words, without style and script."""
        return " ".join(" ".join(text for tag, text in self.texts if tag not in ("style", "script")).split())


class Report(unittest.TestCase):
    """Of a made study."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.base = Path(cls.folder.name)
        cls.study = MadeStudy(cls.base).write()
        cls.done = analyse("report", "--study", cls.study)
        cls.path = cls.study / "report.html"
        cls.content = cls.path.read_text(encoding="utf-8") if cls.path.exists() else ""
        cls.reader = Reader(cls.content)

    def test_where_it_is_written(self):
        self.assertEqual((self.done.status, self.done.out, self.done.err), (0, f"Written: {self.path}\n", ""))

    def test_form(self):
        self.assertTrue(self.content.startswith("<!DOCTYPE html>\n"))
        self.assertEqual(self.reader.wrong, [])
        self.assertEqual({tag for tag, _ in self.reader.found} - TAGS, set())
        for tag in ("h1", "main", "nav", "title", "script"):
            self.assertEqual(len([each for each in self.reader.all(tag) if tag != "title" or "id" not in each]), 1, tag)

    def test_nothing_from_elsewhere(self):
        for tag, attributes in self.reader.found:
            self.assertNotIn("style", attributes, "the policy would stop it")
            for name, value in attributes.items():
                self.assertFalse(name.startswith("on"), f"<{tag} {name}>")
                self.assertNotIn(name, ("src", "srcset", "action", "data", "formaction", "background", "poster"))
                if name in ("href", "xlink:href"):
                    self.assertRegex(value, r"^(#[\w.-]+|https://\S+)$")
        self.assertNotRegex(self.content, r"@import|url\((?!#)")

    def test_policy_names_its_style_and_script(self):
        policy = next(each["content"] for each in self.reader.all("meta") if each.get("http-equiv") == "Content-Security-Policy")
        for tag in ("style", "script"):
            (inner,) = re.findall(rf"<{tag}>(.*?)</{tag}>", self.content, re.S)
            name = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
            self.assertIn(f"{tag}-src 'sha256-{name}'", policy)
        self.assertTrue(policy.startswith("default-src 'none';"))
        self.assertNotIn("unsafe", policy)

    def test_places(self):
        ids = [attributes["id"] for _, attributes in self.reader.found if "id" in attributes]
        self.assertEqual(len(ids), len(set(ids)))
        links = {value[1:] for _, attributes in self.reader.found for name, value in attributes.items() if name.endswith("href") and value.startswith("#")}
        self.assertEqual(links - set(ids), set())
        chapters = ("Summary", "Comparison", "What can be separated", "Figures", "What is sent and stored", "Trials of tuned values",
                    "What is not in the tables", "Conditions", "Runs and their validity", "How to make it again", "How to cite")
        self.assertEqual([text for tag, text in self.reader.texts if tag == "h2"], ["Contents", *chapters])

    def test_outside_texts_are_texts(self):
        self.assertEqual(len(self.reader.all("script")), 1)
        self.assertEqual(self.reader.all("img"), [])
        for text in ("A study of <script>window.hacked = 1</script> and \"><img src=x onerror='window.hacked = 2'>", "Is <b>this</b> \"safe\" & sound?",
                     "glora r=<script>window.hacked = 1</script>", "onerror='window.hacked = 2'> $\\frac{$"):
            self.assertIn(text, self.reader.said())
        self.assertIn(f"Study {NAME}", self.reader.said())

    def test_the_same_runs_make_the_same_bytes(self):
        with tempfile.TemporaryDirectory() as elsewhere:
            copy = Path(elsewhere) / "deeper" / NAME
            shutil.copytree(self.study, copy)
            (copy / "report.html").unlink()
            environment = {**os.environ, "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "5", "COLUMNS": "60", "LC_ALL": "C"}
            done = subprocess.run([sys.executable, "-B", "-m", "analysis", "report", "--study", copy], cwd=ROOT, env=environment, capture_output=True,
                                  text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual((copy / "report.html").read_bytes(), self.path.read_bytes())

    def test_no_place_of_this_machine(self):
        self.assertNotIn(str(self.base), self.content)
        self.assertNotIn(str(ROOT), self.content)

    # ---- what it says ----

    def test_summary(self):
        said = self.reader.said()
        for text in ("5 methods (", "on 2 tasks (cola and trec6), with minilm-l6: 30 runs in 10 rows, 3 seeds each (1, 2, 3), on 2 ranks with 1 thread.",
                     "Control: lora r=8 q,v.", "minilm-l6, 2 ranks: accuracy in %, against lora r=8 q,v: ",
                     "red: better, +1.50 points (95 % interval +0.88 to +2.12, with other test examples ",
                     "head: worse, -27.25 points (95 % interval -29.40 to -25.10, with other test examples ",
                     "Not separated from lora r=8 q,v: full and glora",
                     "Of 32 planned runs 30 are finished and 2 have no number; 2 of 30 runs are contaminated, so that their times do not count: details"):
            self.assertIn(text, said)
        summary = said[said.index("Summary 5 methods"):said.index("Comparison A heading")]
        self.assertNotRegex(summary, r"(?i)\b(best|worst|win|winner|rank(ed|ing)|outperform\w*|state.of.the.art)\b")

    def test_frugality(self):
        for text in ("full fine-tuning sends 90.3 MB of its own, the other methods but the head alone 18.4 kB (1/4,897 of it, red) to 406 kB (1/222 of it, glora", "1/306"):
            self.assertIn(text, self.reader.said())

    def test_what_is_not_in_the_tables(self):
        said = self.reader.said()
        for text in ("Study a \"study\" & <more>: 32 runs planned, 30 finished; 30 trials planned, 30 finished.", "Not in the table: 2",
                     "1 failed: diverged at step 12: loss nan", "1 missing", "Contaminated: 2 runs"):
            self.assertIn(text, said)

    def test_conditions(self):
        said = self.reader.said()
        self.assertIn("MPI library Open MPI v4.1.4", said)
        self.assertRegex(said, r"host of rank 0 one 20 .*host of rank 0 other 10 ")
        self.assertIn("2024-02-01T10:03:00Z to 2024-02-03T10:59:00Z", said)

    def test_every_run_has_its_line(self):
        rows = [attributes["id"] for tag, attributes in self.reader.found if tag == "tr" and attributes.get("id", "").startswith("run-")]
        self.assertEqual(len(rows), 30)
        targets = {attributes["href"][1:] for attributes in self.reader.all("a") if attributes["href"].startswith("#run-")}
        self.assertEqual(targets, set(rows), "each is linked from a table")
        self.assertIn("2 runs: ", self.reader.said())

    def test_numbers_can_be_sorted(self):
        cells = [attributes for attributes in self.reader.all("td") if "n" in attributes.get("class", "").split()]
        self.assertGreater(len(cells), 300)
        for attributes in cells:
            value = attributes["data-value"]
            self.assertTrue(value == "" or float(value) == float(value), value)

    def test_cells_name_their_runs(self):
        titles = [attributes["title"] for attributes in self.reader.all("td") if "title" in attributes]
        self.assertGreater(len([title for title in titles if re.search(r"; runs [0-9a-f]{8}(, [0-9a-f]{8})*$", title)]), 100)

    def test_how_to_make_it_again(self):
        said = self.reader.said()
        self.assertIn("git checkout " + "c" * 40, said)
        self.assertIn("results/'a \"study\" & <more>'", said)
        self.assertIn("@software{peftscale,", said)
        self.assertIn("year = {2024}", said)


class Others(unittest.TestCase):
    """Of few, broken and no runs, and wrong words."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.base = Path(folder.name)

    def report(self, *words, code=0):
        done = analyse("report", *words)
        self.assertEqual(done.status, code, done.out + done.err)
        self.assertNotIn("Traceback", done.err)
        if code:
            self.assertEqual(done.out, "")
        return done

    def said(self, *words):
        out = self.base / "out.html"
        self.report(*words, "--out", out)
        reader = Reader(out.read_text(encoding="utf-8"))
        self.assertEqual(reader.wrong, [])
        return reader.said()

    def test_one_run_alone(self):
        said = self.said(write_run(self.base / "a.h5", test=0.5))
        self.assertIn("1 method (lora) on 1 task (wordnet-verbs), with minilm-l6: 1 run in 1 row, 1 seed each (1), on 2 ranks with 1 thread.", said)
        self.assertIn("Nothing was left out", said)
        self.assertNotIn("What is sent and stored", said)

    def test_files_of_no_use(self):
        write_run(self.base / "runs/a.h5")
        write_run(self.base / "runs/b.h5", status="failed: <i>no</i>", seed=2)
        (self.base / "runs/c.h5").write_bytes(b"\x00" * 5000)
        (self.base / "runs/d\udcff\x1b[31m.h5").write_bytes(b"no HDF5")
        said = self.said(self.base / "runs")
        self.assertIn("3 files were left out", said)
        self.assertIn("not finished (failed: <i>no</i>)", said)
        self.assertIn("not a whole HDF5 file", said)
        self.assertNotIn("\x1b", said)

    def test_scores_that_are_no_numbers(self):
        for seed, score in ((1, float("nan")), (2, float("inf")), (3, 0.5)):
            write_run(self.base / f"runs/{seed}.h5", seed=seed, test=score, validation=score)
            write_run(self.base / f"runs/h{seed}.h5", seed=seed, method="head", trainable=0, sent=0, stored=0)
        self.assertIn("2 methods", self.said(self.base / "runs"))

    def test_a_run_that_tells_little(self):
        path = write_run(self.base / "a.h5", model="", task="")
        with h5py.File(path, "r+") as file:
            del file["provenance"]
        self.assertIn("1 run in 1 row", self.said(path))

    def test_ranks_in_a_column(self):
        place = self.base / "scaling"
        lines = []
        for ranks in (1, 2, 4):
            for method in ("lora", "head"):
                identity = f"{ranks}{len(lines):031}"
                write_run(place / f"runs/{method}{ranks}.h5", method=method, ranks=ranks, run_id=identity, request_id=identity)
                lines.append({"request_id": identity, "run_id": identity, "role": "run", "state": "done", "task": "wordnet-verbs", "method": method, "seed": 1,
                              "ranks": ranks, "file": f"runs/{method}{ranks}.h5", "validation": 0.4, "metric": "accuracy"})
        write_index(place, lines, remarks=("# columns: ranks test step",))
        said = self.said("--study", place)
        self.assertIn("on 1, 2 and 4 ranks", said)

    def test_published_numbers(self):
        for method in ("lora", "full"):
            write_run(self.base / f"runs/{method}.h5", method=method, model="roberta-base", task="cola", metric="matthews", trainable=294_912)
        said = self.said(self.base / "runs", "--published")
        self.assertIn("What papers print", said)
        self.assertRegex(said, r"Published numbers beside ours: cola method test numbers trained \S+.*arXiv")
        self.assertNotIn("What papers print", self.said(self.base / "runs"))

    def test_files_of_sums_alone(self):
        said = self.said(write_run(self.base / "a.h5"), "--comm", write_comm(self.base / "comm.h5"))
        self.assertIn("Times of sums over ranks", said)
        self.assertIn("PROJECTION", said)
        wrong = self.report(self.base / "a.h5", "--out", self.base / "r.html", "--comm", self.base / "a.h5", code=1)
        self.assertEqual(wrong.err.count("\n"), 1)

    def test_disturbed_times(self):
        """Those of all runs: no figure and no number of them, unless it is allowed."""
        steps = [(10, 1, 0.4, 0.5, 0.1), (20, 2, 0.5, 0.4, 0.1)]
        for seed in (1, 2):
            for method in ("lora", "red"):
                write_run(self.base / f"runs/{method}{seed}.h5", method=method, seed=seed, contaminated=2, validations=steps, train_s=12.0)
        said = self.said(self.base / "runs")
        self.assertIn("4 of 4 runs are contaminated, so that their times do not count: details", said)
        self.assertRegex(said, "Not known of any row: [^.]*step time")
        self.assertIn("12.00 s", self.said(self.base / "runs", "--allow", "contaminated"))

    def test_target_out_of_reach(self):
        run = write_run(self.base / "a.h5", validations=[(10, 1, 0.4, 0.5, 0.1), (20, 2, 0.5, 0.4, 0.1)])
        self.assertIn("at most 1", self.report(run, "--out", self.base / "r.html", "--target", "93", code=2).err)

    def test_words_that_are_wrong(self):
        run = write_run(self.base / "a.h5")
        for words, told in (((), "name files and folders, or a study"), (("--study", self.base, run), "--study takes the place of files"), ((run,), "--out FILE says where"),
                            ((run, "--out", self.base / "x", "--stage", "1"), "--stage needs --study")):
            self.assertIn(told, self.report(*words, code=2).err)
        self.assertIn("no such file or directory", self.report(self.base / "none", "--out", self.base / "x", code=2).err)
        self.assertIn("has neither index.tsv", self.report("--study", self.base, code=1).err)

    def test_a_stage_that_has_not_begun(self):
        study = MadeStudy(self.base)
        for method in ("full", "red"):
            study.add("cola", method, 1, score=0.2)
            study.add("cola", method, 1, role="trial", score=0.1)
            study.add("trec6", method, 1, role="trial", stage="two", state="missing")
            study.add("trec6", method, 1, stage="two", state="waiting", reason=f"for the trial trec6 method={method}")
        said = self.said("--study", study.write_lines())
        self.assertIn("Trials of train.lr on cola, stage one, 2 ranks: matthews on validation", said)
        self.assertIn("Without a score so far are all trials of train.lr on trec6, stage two, 2 ranks All trials, one by one", said)
        self.assertIn("No row, because no run is finished: trec6 full, trec6 red.", said)

    def test_nothing_is_finished(self):
        self.assertIn("no finished run", self.report(write_run(self.base / "a.h5", status="failed: x"), "--out", self.base / "r.html", code=1).err)
        self.assertFalse((self.base / "r.html").exists())

    def test_it_cannot_be_written(self):
        run = write_run(self.base / "a.h5")
        (self.base / "file").write_text("")
        self.assertIn("cannot be written: ", self.report(run, "--out", self.base / "file/r.html", code=1).err)
        (self.base / "folder").mkdir()
        self.assertIn("cannot be written", self.report(run, "--out", self.base / "folder", code=1).err)

    def test_a_library_is_missing(self):
        run = write_run(self.base / "a.h5")
        for library in ("jinja2", "matplotlib"):
            code = f"import sys; sys.modules[{library!r}] = None; sys.argv[0] = 'analysis'; import runpy; runpy.run_module('analysis', run_name='__main__')"
            done = subprocess.run([sys.executable, "-B", "-c", code, "report", run, "--out", self.base / "r.html"], cwd=ROOT, capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (1, "", f"analysis: {library} is missing (Debian: python3-{library})\n"))

    def test_help_needs_no_library(self):
        code = ("import sys; sys.modules.update(dict.fromkeys(('jinja2', 'matplotlib', 'h5py', 'pandas', 'numpy'))); import runpy; "
                "runpy.run_module('analysis', run_name='__main__')")
        done = subprocess.run([sys.executable, "-B", "-c", code, "report", "--help"], cwd=ROOT, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))


class Parts(unittest.TestCase):
    def page(self, *blocks, title="T"):
        return write_page(Document(title, "", [], [Chapter("C", "c", list(blocks))]))

    def test_places_are_new(self):
        anchors = Anchors()
        self.assertEqual([anchors.new(word) for word in ("A b", "a-B!", "1", "<\"'>", "")], ["a-b", "a-b-2", "part-1", "part", "part-2"])
        self.assertEqual(len({anchors.new("x" * 500) for _ in range(20)}), 20)

    def test_links_lead_nowhere_else(self):
        for target in ("javascript:alert(1)", "http://x", "#a\" onclick=", "data:,x", "#", "//x", "#a\n"):
            with self.assertRaises(ValueError):
                Link("x", target)
        Link("x", "#run-1"), Link("x", "https://example.org/a?b")

    def test_texts_are_escaped_everywhere(self):
        evil = "</script></style><script>1</script>\"'&<b onx=1>"
        cells = [Cell(evil, title=evil, mark="better"), Cell([evil, Mono(evil), Link(evil, "#c", evil)], evil, evil)]
        table = Table("t", evil, [Head(evil, title=evil), Head(evil, True, evil)], [cells] * 2, notes=[evil])
        content = self.page(Paragraph([evil, Link(evil, "#c", evil), Mono(evil)]), Bullets([evil]), table, title=evil)
        reader = Reader(content)
        self.assertEqual(reader.wrong, [])
        self.assertEqual((len(reader.all("script")), len(reader.all("style"))), (1, 1))
        self.assertTrue(all(not name.startswith("on") for _, attributes in reader.found for name in attributes))
        self.assertGreater(sum(evil in text for _, text in reader.texts), 8)

    def test_signs_that_do_harm_are_replaced(self):
        content = self.page(Paragraph("a\x00b\x1b[0m c\u202edef\udcff g\x85h\u2028i"))
        content.encode("utf-8")
        self.assertIn("a\ufffdb\ufffd[0m c\ufffddef\ufffd g hi".replace("g h", "g h").replace("hi", "h i"), content)

    def test_typed(self):
        self.assertEqual(typed("see `a b` there"), ["see ", Mono("a b"), " there"])
        self.assertEqual(typed("plain"), ["plain"])

    def test_pictures(self):
        picture = (b'<svg xmlns="http://www.w3.org/2000/svg" width="244.8pt" height="100pt" viewBox="0 0 244.8 100">'
                   b'<g style="fill: none; stroke: #fff; font: italic 7px \'DejaVu Sans\', x"><text>a &lt; b</text></g></svg>')
        svg, is_broad = inline(picture)
        self.assertFalse(is_broad)
        self.assertNotIn(" style=", svg)
        for part in ('fill="none"', 'stroke="#fff"', 'font-size="7px"', 'font-style="italic"', 'width="326"', "a &lt; b"):
            self.assertIn(part, svg)
        self.assertTrue(inline(picture.replace(b'width="244.8pt"', b'width="504pt"'))[1])
        for wrong in (b"", b"<svg", b"<svg/>", picture.replace(b'width="244.8pt"', b'width="5em"')):
            with self.assertRaises(BadPicture):
                inline(wrong)

    def test_study_files(self):
        with tempfile.TemporaryDirectory() as folder:
            before = os.getcwd()
            self.addCleanup(os.chdir, before)
            os.chdir(folder)
            path = Path("experiments/x/study.yaml")
            path.parent.mkdir(parents=True)
            for text, expected in (("title: A\nquestion: |\n  B\n  c\n", ("A", "B c")), ("title: [1]\n", ("x", "")), ("- 1\n", ("x", "")), ("", ("x", ""))):
                path.write_text(text)
                about = find_about("x")
                self.assertEqual((about.title, about.question, about.problem), (*expected, ""))
            for text in ("a: [", "a: !!python/object/apply:os.system ['x']", "\x00", "[" * 5000):
                path.write_text(text)
                about = find_about("x")
                self.assertEqual(about.title, "x")
                self.assertIn("cannot be read", about.problem)
                self.assertNotIn("\n", about.problem)
            self.assertEqual(find_about("minilm-glue").title, "Ten methods on MiniLM-L6, five tasks, one budget for all")
            self.assertEqual(find_about("no-such-study").title, "no-such-study")


if __name__ == "__main__":
    tap.main()
