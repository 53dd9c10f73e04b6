"""What was found, in words: a quantity's values beside truth or chance, and what follows."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ired_interp.files import atomic


@dataclass(frozen=True)
class Point:
    """What the seeds of one training found of a quantity, at one place.

    Attributes
    ----------
    training : str
        Which one.
    place : str
        Label along what is not averaged; "" where all is.
    values : list of float
        Of each seed.
    beside : dict of str to float
        What they are held against, by its name.
    claimed : tuple of float, optional
        Between which bounds the claim says that they lie.
    verdict : str
        Whether it "holds" or "fails", or is "open"; "" where none is made, or of one seed.
    """

    training: str
    place: str
    values: list[float]
    beside: dict[str, float]
    claimed: tuple[float, float] | None
    verdict: str

    @property
    def mean(self) -> float:
        """Over seeds."""
        return math.fsum(self.values) / len(self.values)

    @property
    def error(self) -> float:
        """Standard error of the mean; NaN of one seed."""
        if len(self.values) < 2:
            return math.nan
        squares = math.fsum((value - self.mean) ** 2 for value in self.values)
        return math.sqrt(squares / (len(self.values) - 1) / len(self.values))


@dataclass(frozen=True)
class Statement:
    """What was found of one quantity.

    Attributes
    ----------
    title : str
        The quantity.
    summary : list of str
        Sentences: whether a claim holds, what differs, what is missing.
    columns : list of str
        Headings of the values; one for each label of what is not averaged.
    rows : dict of str to dict of str to str
        By training and column: value ± standard error over seeds, beside its truth or chance.
    points : sequence of Point
        The same as numbers.
    along : str
        What their places are of; "" where all is averaged.

    Examples
    --------
    >>> print(Statement("a mean", ["Holds."], ["value"], {"run": {"value": "1 ± 0"}}).markdown())
    **A mean.** Holds.
    <BLANKLINE>
    |  | value |
    | --- | --- |
    | run | 1 ± 0 |
    """

    title: str
    summary: list[str]
    columns: list[str]
    rows: dict[str, dict[str, str]]
    points: Sequence[Point] = ()
    along: str = ""

    def markdown(self) -> str:
        """Return it as Markdown."""
        parts = [f"**{self.title[:1].upper()}{self.title[1:]}.** {' '.join(self.summary)}"]
        if self.rows:
            lines = [["", *self.columns], ["---"] * (len(self.columns) + 1)]
            for label, cells in self.rows.items():
                lines.append([label, *(cells.get(column, "–") for column in self.columns)])
            parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
        return "\n\n".join(parts)


@dataclass(frozen=True)
class Findings:
    """A question, and what was found that answers it.

    Attributes
    ----------
    question : str
        In a sentence or two.
    statements : sequence of Statement
        The first first.
    legend : str
        What the values and marks in their rows are.
    study : str
        Its name.
    """

    question: str
    statements: Sequence[Statement]
    legend: str = ""
    study: str = ""

    def write(self, folder: Path) -> None:
        """Keep it with the runs in a folder, as what the study of its name found."""
        with atomic(_answers(folder) / f"{self.study}.json") as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False))


def read_findings(folder: Path) -> list[Findings]:
    """Return what the studies found whose runs lie in a folder, by their names."""
    contents = [json.loads(file.read_text()) for file in sorted(_answers(folder).glob("*.json"))]
    return [
        Findings(**{**one, "statements": [_statement(entry) for entry in one["statements"]]})
        for one in contents
    ]


def _statement(entry: dict[str, Any]) -> Statement:
    bounds = [one["claimed"] and tuple(one["claimed"]) for one in entry["points"]]
    points = [
        Point(**{**one, "claimed": between})
        for one, between in zip(entry["points"], bounds, strict=True)
    ]
    return Statement(**{**entry, "points": points})


def _answers(folder: Path) -> Path:
    return folder / ".study" / "answers"
