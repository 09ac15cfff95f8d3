#!/usr/bin/env python3
"""Tables as LaTeX: structure, escapes, and that LaTeX takes them where it is installed. Run: python3 tests/analysis/test_latex.py [-v]"""

import re
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

try:
    import h5py  # noqa: F401
    import pandas  # noqa: F401
except ImportError as e:
    print(f"skipped: no {e.name} (Debian's python3-{e.name})")
    sys.exit(77)

import tap  # noqa: E402
from folders import FolderCase  # noqa: E402
from made_runs import analyse, write_run  # noqa: E402

from analysis.tables.latex import as_latex, escape  # noqa: E402
from analysis.tables.model import BETTER, WORSE, Block, Cell, Heading, Table  # noqa: E402

HOSTILE = "\\end{document} {x} $y$ 50% a&b #1 _z ^q ~ <v> |w| \"u\" `t` [s] *r é ñ ß Ł 漢 € µ ± – ‘p’ \x07 \u202e \u00ad -1"
PREAMBLE = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n"


def has_latex():
    if not shutil.which("pdflatex") or not shutil.which("kpsewhich"):
        return False
    return bool(subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True, text=True).stdout.strip())


def active(text):
    """What LaTeX would read: without comments, and without characters that stand for themselves."""
    lines = (re.sub(r"(?<!\\)%.*", "", line) for line in text.splitlines())
    return re.sub(r"\\[\\{}$&#_%]", "", "\n".join(lines).replace("\\\\", " "))


class Latex(FolderCase):
    def compiled(self, *fragments):
        """Sets the fragments, and returns what LaTeX said."""
        names = [f"part{number}.tex" for number in range(len(fragments))]
        for name, fragment in zip(names, fragments):
            (self.place / name).write_text(fragment, encoding="utf-8")
        text = PREAMBLE + "".join(f"\\input{{{name}}}\n" for name in names) + "\\end{document}\n"
        (self.place / "all.tex").write_text(text, encoding="utf-8")
        done = subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"], cwd=self.place, capture_output=True, timeout=300)
        said = done.stdout.decode("utf-8", "replace")
        self.assertEqual(done.returncode, 0, said[-2000:])
        self.assertTrue((self.place / "all.pdf").stat().st_size > 1000)
        return said

    def balanced(self, text):
        read = active(text)
        self.assertEqual(read.count("{"), read.count("}"))
        self.assertEqual(read.count("$") % 2, 0)
        self.assertEqual(re.findall(r"\\begin\{(\w+)\}", read).sort(), re.findall(r"\\end\{(\w+)\}", read).sort())
        self.assertNotIn("_", re.sub(r"\\(?:label|input)\{.*?\}", "", read).replace("\\_", ""))

    def add(self, method, seed=1, **made):
        name = f"{made.get('task', '')}{method}{seed}".encode("ascii", "replace").decode()
        return write_run(self.place / f"runs/{name}.h5", seed=seed, method=method, run_id=f"{name:0>32}", **made)

    def table(self, *words):
        done = analyse("table", self.place / "runs", "--format", "latex", *words)
        self.assertEqual(done.status, 0, done.err)
        return done.out

    def test_structure(self):
        for method, shift in (("lora", 0.0), ("red", 0.1)):
            for seed in (1, 2, 3):
                self.add(method, seed, test=0.5 + shift + seed / 100 + (seed == 2) * shift / 50, trainable=900)
        text = self.table("--columns", "test,difference,trainable,verdict")
        for command in ("toprule", "midrule", "bottomrule"):
            self.assertEqual(text.count(f"\\{command}"), 1, command)
        self.assertIn("\\caption{wordnet-verbs (data wordnet-verb), minilm-l6, 2 ranks: accuracy in \\%}", text)
        self.assertIn("\\label{tab:wordnet-verbs-minilm-l6-2x1}", text)
        self.assertIn("\\begin{tabular}{@{}lr@{}lr@{}lrr@{}}", text)
        lines = [line.strip() for line in text.splitlines()]
        place = lines.index("\\midrule")
        self.assertEqual(lines[place + 1], "% lora: " + " ".join(f"{'lora' + str(seed):0>32}" for seed in (1, 2, 3)))
        self.assertEqual(lines[place + 2], "lora & 52.00 & \\,$\\pm$\\,2.48 & \\multicolumn{2}{r}{control} & 900 & ok \\\\")
        self.assertTrue(lines[place + 4].startswith("red & 62.07 & \\,$\\pm$\\,2.50 & \\textbf{+10.07} & \\textbf{\\,$\\pm$\\,0.29} & 900"), lines[place + 4])
        self.assertIn("half of its 95 \\% t interval", text)
        self.assertIn("6 runs, 2 rows.", text)
        self.balanced(text)
        for package in ("siunitx", "\\num{", "\\SI{"):
            self.assertNotIn(package, text)

    def test_columns_fit_a_page_unless_asked_for(self):
        for seed in (1, 2, 3):
            self.add("lora", seed, test=0.5 + seed / 100, trainable=22_565_376, stored=90_261_504)
        text = self.table()
        self.assertRegex(text, "% A page has no room for: .*stored")
        self.assertNotIn("90.3 MB", text)
        asked = "test,validation,trainable,head,stored,regenerated,sent,sent_with_head,step,communication,tokens_per_s,train_s"
        self.assertIn("90.3 MB", self.table("--columns", asked))

    @unittest.skipUnless(has_latex(), "no pdflatex with booktabs (Debian: texlive-latex-recommended)")
    def test_nothing_juts_out(self):
        """Also where names are long and bold numbers wide."""
        for method, options, shift in (("lora", {"rank": 8, "modules": "q,v"}, 0.0), ("unilora", {"rank": 4, "modules": "q,v"}, 0.1)):
            for seed in (1, 2, 3):
                self.add(method, seed, options=options, test=0.5 + shift + seed / 200 + shift * (seed == 2) / 200, trainable=22_565_376, stored=90_261_504,
                         sent=10_726_708, message=42_909_928)
        text = self.table("--layout", "both")
        self.assertIn(r"\textbf", text)
        self.assertNotRegex(self.compiled(text), r"Overfull \\hbox")
        self.assertIn("% A page has no room for: ", text)
        self.assertNotIn("communication share: ", active(text))
        self.assertTrue(text.rstrip().endswith(r"\end{table}"), "nothing stands loose behind the tables")

    def test_labels_are_unique(self):
        for task in ("a_b", "a b"):
            self.add("lora", task=task)
        labels = re.findall(r"\\label\{(.*?)\}", self.table())
        self.assertEqual(len(set(labels)), 2, labels)

    def test_escapes(self):
        self.assertEqual(escape("a_b & 50% of $x^2$ {~} #1 \\n"), r"a\_b \& 50\% of \$x\textasciicircum{}2\$ \{\textasciitilde{}\} \#1 \textbackslash{}n")
        self.assertEqual(escape("é ñ Ł µ ±"), r"\'{e} \~{n} \L{} $\mu$ $\pm$")
        self.assertEqual(escape("漢\x07\n"), "(U+6F22)? ")
        self.assertTrue(escape(HOSTILE).isascii())
        self.balanced(escape(HOSTILE))

    def hostile(self):
        """A table of which every text comes from outside."""
        heads = [Heading("method", ("", HOSTILE), "f"), Heading("x", (HOSTILE, HOSTILE), "f"), Heading("y", ("", "y"), "f", marked=True)]
        rows = [[Cell(HOSTILE), Cell("[1] ±2"), Cell("1.00 ±2.00", mark=BETTER)], [Cell("[a]"), Cell("*b"), Cell("-3.00 ±0.10", mark=WORSE)],
                [Cell("*"), Cell("control"), Cell("-", mark=BETTER)]]
        notes = ["Head: 1", f"  {HOSTILE}", "  [item]", "end"]
        return as_latex(Table([Block(HOSTILE, heads, rows, HOSTILE)], HOSTILE, [HOSTILE, "`code_x` a `b` odd ` one"], notes), "a_b%.tsv")

    def test_hostile_texts(self):
        text = self.hostile()
        self.balanced(text)
        self.assertNotIn("\\end{document}", active(text))
        self.assertTrue(text.isascii())
        self.assertIn(r"$-$3.00 & \,$\pm$\,0.10 $\downarrow$", text)
        self.assertIn(r"\textbf{1.00} & \textbf{\,$\pm$\,2.00} $\uparrow$", text)
        self.assertEqual(text.count(r"\begin{itemize}"), 1)

    @unittest.skipUnless(has_latex(), "no pdflatex with booktabs (Debian: texlive-latex-recommended)")
    def test_latex_takes_it(self):
        for task in ("a_b", "c&d"):
            for method, shift in (("lora", 0.0), ("red", 0.1), ("m_%x", 0.2)):
                for seed in (1, 2, 3):
                    self.add(method, seed, task=task, model="x_é%漢", contaminated=1, trainable=22_565_376,
                             test=0.5 + shift + seed / 100 + shift * (seed == 2) / 50)
        said = self.compiled(self.hostile(), self.table("--layout", "both"), self.table("--columns", "all"), self.table("--published", "--columns", "test"))
        self.assertNotIn("Missing character", said)
        self.assertNotIn("multiply defined", said)


if __name__ == "__main__":
    tap.main()
