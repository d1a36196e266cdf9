"""Recompute the tables of `fibseg compare` without fibseg, and hold every number against them.

python -m benchmarks.recompute RUNS... --output DIR

RUNS are folders of run directories, and DIR is what `fibseg compare RUNS... --output DIR` wrote
with its default options. Only scores.json and components.csv are read, by json, csv, NumPy and
SciPy. Table 1, Table 2, the scores, the answer and the contrasts are computed anew and compared
with the CSV files; then the Markdown, the LaTeX and the page must hold the cells of each CSV file.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import itertools
import json
import math
import re
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

Rows = list[list[str]]


class Run:
    """Scores of one run directory."""

    def __init__(self, path: Path) -> None:
        content = json.loads((path / "scores.json").read_text())
        self.path = path
        self.facts = content["run"]
        self.seed = int(self.facts["seed"])
        self.configuration = path.name[: path.name.rindex("-s")]
        self.classes = content["classes"]
        self.confusions = {
            split: np.array([entry["confusion"] for entry in entries], float)
            for split, entries in content["splits"].items()
        }

    def f1(self, split: str, k: int) -> float:
        """Mean over the slices whose truth holds class k of 2 TP / (2 TP + FP + FN)."""
        counts = self.confusions[split]
        truth = counts[:, k, :].sum(axis=1)
        predicted = counts[:, :, k].sum(axis=1)
        holds = truth > 0
        if not holds.any():
            return math.nan
        return float(np.mean(2 * counts[holds, k, k] / (truth + predicted)[holds]))

    def validation_sum(self) -> float:
        """By which runs are ranked without a look at the test slices."""
        scores = [self.f1("validation", k) for k in range(1, len(self.classes))]
        return float(np.nansum(scores))

    def components(self) -> dict[str, list[tuple[bool, float, int]]]:
        """Class -> of each component of the test slices: of the truth, share, touched."""
        plain = self.path / "components.csv"
        found = defaultdict(list)
        with plain.open() if plain.exists() else gzip.open(f"{plain}.gz", "rt") as file:
            for row in csv.DictReader(file):
                if row["split"] == "test":
                    share = int(row["overlap"]) / int(row["area"])
                    found[row["class"]].append((row["of"] == "truth", share, int(row["touched"])))
        return found


class Checked:
    """Counts cells that agree; stops at one that does not."""

    def __init__(self) -> None:
        self.numbers = 0

    def same(self, what: str, expected: str, cell: str) -> None:
        """The same words, with numbers that round to those of the cell; a tie rounds either way."""
        self.numbers += 1
        pattern = r"[-+]?\d*\.?\d+"
        if re.sub(pattern, "", expected) != re.sub(pattern, "", cell):
            raise SystemExit(f"{what}: computed {expected!r}, written {cell!r}")
        for computed, written in zip(
            re.findall(pattern, expected), re.findall(pattern, cell), strict=True
        ):
            decimals = len(written.partition(".")[2])
            if abs(float(computed) - float(written)) > 0.5 * 10**-decimals + 2e-6:
                raise SystemExit(f"{what}: computed {expected!r}, written {cell!r}")


def mean_and_deviation(values: list[float]) -> str:
    """As Table 1 writes them."""
    if any(math.isnan(value) for value in values):
        return "-"
    if len(values) == 1:
        return f"{values[0]:.6f}"
    return f"{np.mean(values):.6f} ± {np.std(values, ddof=1):.6f}"


def brief(value: float) -> str:
    """Six digits without the leading zero."""
    return f"{value:.6f}".replace("0.", ".", 1)


def best(runs: list[Run]) -> list[Run]:
    """The best two thirds by validation."""
    ordered = sorted(runs, key=lambda run: (-run.validation_sum(), run.seed))
    return ordered[: math.ceil(2 * len(runs) / 3)]


def check_table_1(rows: Rows, groups: dict[str, list[Run]], checked: Checked) -> None:
    """Means and deviations, of the best runs and of all."""
    for row in rows:
        runs = groups[row[0]]
        if row[1].startswith("less"):
            seeds = set(map(int, re.findall(r"\d+", row[1])))
            chosen = [run for run in runs if run.seed not in seeds]
        else:
            chosen = best(runs) if row[1].startswith("best") else runs
            count = f"best {len(chosen)} of {len(runs)}" if row[1][0] == "b" else f"all {len(runs)}"
            checked.same("table 1, runs", count, row[1])
        for k, cell in enumerate(row[2:], 1):
            if cell:
                expected = mean_and_deviation([run.f1("test", k) for run in chosen])
                checked.same(f"table 1, {row[:2]}", expected, cell)


def check_answer(rows: Rows, groups: dict[str, list[Run]], checked: Checked) -> None:
    """Means, Student's intervals and ranks."""
    classes = len(next(iter(groups.values()))[0].classes)
    for k in range(1, classes):
        means = {
            label: float(np.mean([run.f1("test", k) for run in runs]))
            for label, runs in groups.items()
        }
        for row in rows:
            if math.isnan(means[row[0]]):
                checked.same("answer", "-", row[k])
                continue
            scores = [run.f1("test", k) for run in groups[row[0]]]
            ends = ""
            if len(scores) > 1:
                half = stats.sem(scores) * stats.t.ppf(0.975, len(scores) - 1)
                ends = f" ({brief(means[row[0]] - half)} to {brief(means[row[0]] + half)})"
            rank = 1 + sum(other > means[row[0]] + 1e-12 for other in means.values())
            expected = f"{brief(means[row[0]])}{ends} #{rank}"
            checked.same(f"answer, {row[0]}", expected, row[k].rstrip("*"))


def check_scores(rows: Rows, groups: dict[str, list[Run]], checked: Checked) -> None:
    """Scores of all pixels together, means over runs."""
    for label, name, *cells in rows:
        runs = groups[label]
        k = runs[0].classes.index(name)
        of_runs: dict[str, list[float]] = defaultdict(list)
        for run in runs:
            counts = run.confusions["test"]
            hits = counts[:, k, k].sum()
            truth = counts[:, k, :].sum()
            predicted = counts[:, :, k].sum()
            of_runs["f1"].append(2 * hits / (truth + predicted) if truth + predicted else math.nan)
            union = truth + predicted - hits
            of_runs["iou"].append(hits / union if union else math.nan)
            of_runs["precision"].append(hits / predicted if predicted else math.nan)
            of_runs["recall"].append(hits / truth if truth else math.nan)
            empty = counts[:, k, :].sum(axis=1) == 0
            of_runs["false"].append(float(counts[empty][:, :, k].sum()))
        means = [np.nanmean(of_runs[score]) for score in ("f1", "iou", "precision", "recall")]
        holds = (runs[0].confusions["test"][:, k, :].sum(axis=1) > 0).sum()
        expected = [f"{mean:.6f}" for mean in means] + [str(holds)]
        for one, cell in zip([*expected, f"{np.mean(of_runs['false']):.6f}"], cells, strict=True):
            checked.same(f"scores, {label}, {name}", one, cell.replace(",", ""))


def check_table_2(rows: Rows, groups: dict[str, list[Run]], checked: Checked) -> None:
    """Components of the run that is best by validation, with the range over the runs."""
    counted: dict[Path, dict[str, list[int]]] = {}
    for run in itertools.chain.from_iterable(groups.values()):
        counted[run.path] = {}
        for name in run.classes[1:]:
            found = run.components().get(name, [])
            truth = [(share, touched) for is_truth, share, touched in found if is_truth]
            predicted = [(share, touched) for is_truth, share, touched in found if not is_truth]
            detected = sum(share > 0.8 for share, _ in truth)
            missed = sum(share < 0.1 for share, _ in truth)
            right = sum(share > 0.8 for share, _ in predicted)
            false = sum(share < 0.1 for share, _ in predicted)
            counted[run.path][name] = [
                *(detected, missed, len(truth) - detected - missed),
                *(right, false, len(predicted) - right - false),
                sum(touched > 1 for _, touched in predicted),
                sum(touched > 1 for _, touched in truth),
            ]
    for head, cls, *cells in rows:
        label, _, seed = head.rpartition(", seed ")
        name, _, total = cls.rpartition(" (")
        run = best(groups[label])[0]
        counts = counted[run.path][name]
        checked.same("table 2, seed", str(run.seed), seed)
        checked.same("table 2, components", str(sum(counts[:3])), total.rstrip(")"))
        for number in range(3):
            of_runs = [counted[other.path][name][number] for other in groups[label]]
            share = f"{counts[number] / sum(counts[:3]):.5%}" if sum(counts[:3]) else "-"
            expected = f"{share} ({counts[number]}; {min(of_runs)} to {max(of_runs)})"
            checked.same(f"table 2, {head}, {name}", expected, cells[number])
        for count, cell in zip(counts[3:], cells[3:], strict=True):
            checked.same(f"table 2, {head}, {name}", str(count), cell)


def sides(name: str) -> tuple[list[str], list[str], bool]:
    """Configurations that a contrast adds and subtracts, and whether it sums them."""
    added, subtracted = name.split(" less ")
    is_sum = " + " in name
    parts = [side.removeprefix("mean of ") for side in (added, subtracted)]
    first, second = (re.split(r" \+ |, ", part) for part in parts)
    return first, second, is_sum


def differences(name: str, k: int, groups: dict[str, list[Run]]) -> dict[int, float]:
    """Seed -> difference of a contrast."""
    added, subtracted, is_sum = sides(name)
    by_seed = {
        label: {run.seed: run.f1("test", k) for run in groups[label]}
        for label in (*added, *subtracted)
    }
    seeds = set.intersection(*(set(of) for of in by_seed.values()))
    combine: Any = sum if is_sum else (lambda values: float(np.mean(list(values))))
    return {
        seed: combine(by_seed[label][seed] for label in added)
        - combine(by_seed[label][seed] for label in subtracted)
        for seed in seeds
    }


def adjusted_p(tests: list[dict[int, float]]) -> tuple[list[float], float]:
    """Step-down p of the largest |t| under joint sign flips, by brute force.

    The second is the |t| that the largest one exceeds under one of 20 signs.
    """
    seeds = sorted(set().union(*tests))

    def sizes(signs: dict[int, int]) -> list[float]:
        result = []
        for test in tests:
            flipped = np.array([signs[seed] * value for seed, value in test.items()])
            error = flipped.std(ddof=1) / math.sqrt(len(flipped))
            result.append(abs(flipped.mean()) / error if error > 1e-12 else math.inf)
        return result

    observed = sizes(dict.fromkeys(seeds, 1))
    order = sorted(range(len(tests)), key=lambda index: -observed[index])
    exceed = np.zeros(len(tests))
    largest_of_all = []
    flips = list(itertools.product((1, -1), repeat=len(seeds) - 1))
    for flip in flips:
        flipped = sizes(dict(zip(seeds, (1, *flip), strict=True)))
        largest_of_all.append(max(flipped))
        for rank, index in enumerate(order):
            largest = max(flipped[other] for other in order[rank:])
            exceed[index] += largest >= observed[index] * (1 - 1e-9)
    result = [0.0] * len(tests)
    highest = 0.0
    for index in order:
        highest = max(highest, float(exceed[index]) / len(flips))
        result[index] = highest
    critical = sorted(largest_of_all, reverse=True)[math.floor(0.05 * len(flips) + 1e-9)]
    return result, critical


def check_contrasts(rows: Rows, groups: dict[str, list[Run]], checked: Checked) -> None:
    """Mean differences, p of each family, equivalence; Student's interval without a test."""
    classes = next(iter(groups.values()))[0].classes
    families: dict[str, list[list[str]]] = defaultdict(list)
    for row in rows:
        if not row[0].startswith("less collapsed"):
            families[row[0]].append(row)
    for family, of_family in families.items():
        tests = [differences(row[1], classes.index(row[2]), groups) for row in of_family]
        tested = [index for index, test in enumerate(tests) if len(test) >= 6]
        # Signs of more seeds are drawn, and cannot be drawn again here.
        enumerated = len(set().union(*tests)) <= 16
        if tested and enumerated:
            ps, critical = adjusted_p([tests[index] for index in tested])
            for index, p in zip(tested, ps, strict=True):
                row = of_family[index]
                what = f"contrasts, {row[:3]}"
                checked.same(what, f"{p:.6f}", row[6])
                values = np.array(list(tests[index].values()))
                half = critical * float(stats.sem(values))
                low = float(values.mean()) - half
                high = float(values.mean()) + half
                # The interval says about 0 what p says.
                if p <= 0.05:
                    low = max(low, 0.0) if values.mean() > 0 else low
                    high = min(high, 0.0) if values.mean() < 0 else high
                checked.same(what, f"{low:+.6f}", row[4])
                checked.same(what, f"{high:+.6f}", row[5])
        for row, test in zip(of_family, tests, strict=True):
            values = np.array(list(test.values()))
            what = f"contrasts, {family}, {row[1:3]}"
            checked.same(what, f"{values.mean():+.6f}", row[3])
            checked.same(what, str(len(values)), row[8])
            if len(values) < 2:
                continue
            error = stats.sem(values)
            if len(values) < 6:
                half = error * stats.t.ppf(0.975, len(values) - 1)
                checked.same(what, f"{values.mean() - half:+.6f}", row[4])
                checked.same(what, f"{values.mean() + half:+.6f}", row[5])
            if error > 1e-12:
                upper = stats.t.cdf((values.mean() - 0.01) / error, len(values) - 1)
                lower = stats.t.sf((values.mean() + 0.01) / error, len(values) - 1)
                checked.same(what, f"{max(upper, lower):.6f}", row[7])


class Page(HTMLParser):
    """Cells of the tables of a page, by the title of each table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, Rows] = {}
        self._title = ""
        self._text: list[str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "tr":
            self.tables.setdefault(self._title, []).append([])
        if tag in ("caption", "td", "th"):
            self._text = []

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "caption":
            self._title = "".join(self._text or [])
        if tag in ("td", "th"):
            self.tables[self._title][-1].append("".join(self._text or []))
        if tag in ("caption", "td", "th"):
            self._text = None


def plain(text: str) -> str:
    """LaTeX or Markdown without its escapes."""
    for code, letter in {
        r"\textbackslash{}": "\\",
        r"$\pm$": "±",
        "$<$": "<",
        "$>$": ">",
        r"\textasciitilde{}": "~",
    }.items():
        text = text.replace(code, letter)
    return re.sub(r"\\([&%$#_{}|*<\[`\\])", r"\1", text).strip()


def check_formats(name: str, rows: Rows, folder: Path, page: Page, checked: Checked) -> None:
    """The cells of a CSV file in LaTeX, Markdown and the page."""
    latex = (folder / f"{name}.tex").read_text()
    lines = [line.removesuffix(r" \\") for line in latex.splitlines() if line.endswith(r" \\")]
    written = {
        "LaTeX": [[plain(cell) for cell in re.split(r"(?<!\\) & ", line)] for line in lines],
        "the page": next(of for of in page.tables.values() if of[0] == rows[0] and of == rows),
    }
    markdown = (folder / "comparison.md").read_text()
    for row in rows:
        cells = [re.escape(cell.strip()) for cell in row]
        if not re.search(
            r"\| " + r" +\| ".join(cells).replace(r"\ ", " *") + r" *\|", plain(markdown)
        ):
            raise SystemExit(f"{name}, Markdown: no row {row}")
        checked.numbers += len(row)
    for kind, of_kind in written.items():
        stripped = [[cell.strip() for cell in row] for row in rows]
        if of_kind != stripped and of_kind != rows:
            differing = next((a, b) for a, b in zip(of_kind, stripped, strict=True) if a != b)
            raise SystemExit(f"{name}, {kind}: {differing}")
        checked.numbers += sum(map(len, rows))


def recompute(folders: list[Path], output: Path) -> int:
    """Check every table; gives how many cells were compared."""
    runs = [Run(path.parent) for folder in folders for path in sorted(folder.glob("*/scores.json"))]
    datasets: dict[str, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        datasets[run.facts["data"]][run.configuration].append(run)
    checked = Checked()
    page = Page((output / "index.html").read_text())
    for data, groups in datasets.items():
        for name, check in (
            ("answer", check_answer),
            ("table1", check_table_1),
            ("table2", check_table_2),
            ("scores", check_scores),
            ("contrasts", check_contrasts),
        ):
            path = output / f"{name}-{data}.csv"
            if not path.exists():
                continue
            with path.open(newline="") as file:
                rows = list(csv.reader(file))
            check(rows[1:], groups, checked)
            check_formats(path.stem, rows, output, page, checked)
    if checked.numbers == 0:
        raise SystemExit(f"{output}: no table of these runs")
    return checked.numbers


def main() -> None:
    """Check a comparison, and print how many cells agree."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    print(f"{recompute(options.runs, options.output)} cells agree")


if __name__ == "__main__":
    main()
