"""Exported tables hold the numbers of the dataset, each once, with the labels beside them."""

from pathlib import Path

import pandas as pd
import pytest

from ired_interp.errors import InputError
from ired_interp.results import export
from runs import spectrum


@pytest.mark.parametrize(("format", "read"), [("csv", pd.read_csv), ("parquet", pd.read_parquet)])
def test_tables_hold_every_number_with_its_labels(tmp_path: Path, format: str, read) -> None:
    result = spectrum(500, 0).assign(total=3.5)
    paths = export(result, tmp_path, format)
    assert {path.name for path in paths} == {
        f"{name}.{format}"
        for name in ("landscape-problem-rank", "landscape", "landscape-rank", "values")
    }
    table = read(tmp_path / f"landscape-problem-rank.{format}")
    assert len(table) == 10 * 4 * 3
    for row in table.sample(20, random_state=0).itertuples():
        exact = result["eigenvalues"].sel(
            landscape=row.landscape, problem=row.problem, rank=row.rank
        )
        assert row.eigenvalues == pytest.approx(float(exact), rel=1e-15)
    assert read(tmp_path / f"values.{format}")["total"].tolist() == [3.5]
    assert read(tmp_path / f"landscape.{format}")["lambda_min"].tolist() == pytest.approx(
        result["lambda_min"].values.tolist()
    )


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="choose 'csv' or 'parquet'"):
        export(spectrum(500, 0), tmp_path, "xlsx")
