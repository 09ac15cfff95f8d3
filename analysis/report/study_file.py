"""What a study file says of itself."""

from dataclasses import dataclass
from pathlib import Path

import yaml

PROJECT = Path(__file__).resolve().parents[2]
MOST_BYTES = 1 << 20
LONGEST = 500


@dataclass(frozen=True)
class About:
    title: str
    question: str = ""
    folder: str = ""  # experiments/NAME, where it was found
    problem: str = ""  # why its study file tells nothing


def plain(text: object) -> str:
    """A text of one line; "" for what is none."""
    return " ".join(text.split())[:LONGEST] if isinstance(text, str) else ""


def find_about(name: str) -> About:
    """Of the study that is called so: from where one stands, else beside the program. Its name is all that is known of one without a file."""
    for root in (Path(), PROJECT):
        path = root / "experiments" / name / "study.yaml"
        if not path.is_file():
            continue
        try:
            with open(path, "rb") as file:
                found = yaml.safe_load(file.read(MOST_BYTES))
        except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
            return About(name, problem=f"{path}: cannot be read: {' '.join(str(error).split())[:200]}; the title is the study's name")
        found = found if isinstance(found, dict) else {}
        return About(plain(found.get("title")) or name, plain(found.get("question")), f"experiments/{name}")
    return About(name)
