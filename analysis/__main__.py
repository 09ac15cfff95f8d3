"""Command line of the analysis."""

import argparse
import sys
from pathlib import Path

EXAMPLES = """examples (from the project's root):
  python3 -m analysis                                             everything below results/
  python3 -m analysis table results/quickstart/runs --out-dir results/quickstart
  python3 -m analysis table results/minilm-trec/runs/lora-s1.h5 --format markdown
"""
FORMATS = ("text", "markdown", "csv")


def formats(text: str) -> list[str]:
    chosen = [word.strip() for word in text.split(",")]
    if unknown := [word for word in chosen if word not in FORMATS]:
        raise argparse.ArgumentTypeError(f"'{unknown[0]}' is none of {', '.join(FORMATS)}")
    return chosen


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m analysis", description="Tables from run files; results/ if nothing is named.", epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    table = verbs.add_parser("table", help="compare the methods of finished runs", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
                             description="One row per method and setting, averaged over the seeds; runs that differ in anything else stay apart. "
                             "What makes rows unlike beyond that (other programs, kernels, weights, data or sample orders, dirty builds, disturbed or unfinished "
                             "runs) is said below the table. Exit status: 0 printed, 1 no finished run or (--strict) unlike ones, 2 wrong usage.")
    table.add_argument("places", nargs="*", type=Path, default=[Path("results")], metavar="DIR_OR_FILE", help="run files, or folders with run files below "
                       "(default: results)")
    table.add_argument("--out-dir", type=Path, metavar="DIR", help="write table.md and table.csv there")
    table.add_argument("--format", type=formats, metavar="LIST", help="of text,markdown,csv (default: text, and with --out-dir all three). Text is printed; "
                       "the others are written to --out-dir, or printed where there is none")
    table.add_argument("--strict", action="store_true", help="refuse to make a table of unlike runs")
    return parser.parse_args(arguments or ["table"])


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    try:
        from .mixture import find_mixtures
        from .render import as_csv, as_markdown, as_text, write_file
        from .runs import collect
        from .summary import summarise
    except ImportError as error:
        print(f"analysis: {error.name} is missing (Debian: python3-{error.name})", file=sys.stderr)
        return 1
    try:
        collection = collect(options.places)
    except OSError as error:
        print(f"analysis: {error}", file=sys.stderr)
        return 2
    if options.strict and (mixtures := find_mixtures(collection)):
        for mixture in mixtures:
            print(f"analysis: {mixture}", file=sys.stderr)
        print("analysis: no table of such runs (--strict)", file=sys.stderr)
        return 1
    rows = summarise(collection.runs)
    chosen = options.format or (list(FORMATS) if options.out_dir else ["text"])
    texts = {"text": lambda: as_text(rows, collection), "markdown": lambda: as_markdown(rows, collection), "csv": lambda: as_csv(rows)}
    files = {"markdown": "table.md", "csv": "table.csv"}
    for name in chosen:
        if name == "text" or not options.out_dir:
            print(texts[name](), end="")
            continue
        if not rows:
            continue  # an older table is worth more than an empty one
        path = options.out_dir / files[name]
        try:
            write_file(path, texts[name]())
        except OSError as error:
            print(f"analysis: {path} cannot be written: {error.strerror}", file=sys.stderr)
            return 1
        print(f"Written: {path}")
    if not rows:
        print(f"analysis: no finished run in {' '.join(str(place) for place in options.places)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BrokenPipeError:
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)
