"""What was found, in words: a quantity's values beside truth or chance, and what follows."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ired_interp.files import atomic


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
    """

    question: str
    statements: Sequence[Statement]
    legend: str = ""

    def write(self, folder: Path, study: str) -> None:
        """Keep it with the runs in a folder, as what the study of that name found."""
        with atomic(_answers(folder) / f"{study}.json") as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False))


def read_findings(folder: Path) -> list[Findings]:
    """Return what the studies found whose runs lie in a folder, by their names."""
    contents = [json.loads(file.read_text()) for file in sorted(_answers(folder).glob("*.json"))]
    return [
        Findings(one["question"], [Statement(**s) for s in one["statements"]], one["legend"])
        for one in contents
    ]


def _answers(folder: Path) -> Path:
    return folder / ".study" / "answers"
