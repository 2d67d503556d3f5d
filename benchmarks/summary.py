"""Put all tables in ``results/`` into ``measured.md``: nothing in it is typed by hand.

A table takes the place of the one with its heading and a processor and GPU of the same name; the others stay.
"""

import json
import re
from pathlib import Path
from typing import Any

from timing import RESULTS, machine

PAGE = Path(__file__).parent / "measured.md"
HEAD = """# Measured

Written by `python benchmarks/summary.py` from what the scripts beside it measured. Each table is one call, in which all
rows took turns (but for `make lab`); the ratio is the median over the rounds of a row's value over the first row's,
lowest to highest in brackets. Seconds and images a second belong to the machine named under the table; ratios travel
further. A heading that stands twice was measured on two machines.
"""


def table(content: dict[str, Any]) -> str:
    """One result as a Markdown table with a heading and a line on the machine."""
    shares = content.get("shares", {})
    first, rounds = next(iter(content["sides"])), len(next(iter(content["sides"].values()))["values"])
    where = f"{rounds} round{'s' * (rounds > 1)}; {machine(content['machine'])}."
    lines = [
        f"## {content['title']}",
        "",
        f"|  | median, {content['unit']} | ratio to {first} |" + (" share of a matrix product |" if shares else ""),
        "|---|---|---|" + ("---|" if shares else ""),
    ]
    for side, row in content["sides"].items():
        ratios = row["ratios"]
        cells = [side, f"{row['median']:.3g}", f"{row['ratio']:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"]
        lines.append(f"| {' | '.join([*cells, *([f'{shares[side]:.0%}'] if shares else [])])} |")
    if fitted := content.get("exponents"):
        lines += ["", f"Fitted exponents: {', '.join(f'{name} {value:.2f}' for name, value in fitted.items())}."]
    return "\n".join([*lines, "", where])


def place(text: str) -> tuple[str, str]:
    """What a table is put in order by: its heading, and the processor and GPU that its last line names."""
    heading, *_, last = text.strip().splitlines()
    return heading, re.search(r"threads of (.+), torch", last)[1]


def main() -> None:
    """Write the page."""
    earlier = re.split(r"^(?=## )", PAGE.read_text("utf-8"), flags=re.MULTILINE)[1:]
    found = [table(json.loads(path.read_text("utf-8"))) for path in RESULTS.glob("*.json")]
    tables = {place(text): text.strip() for text in [*earlier, *found]}
    PAGE.write_text("\n\n".join([HEAD.strip(), *(tables[each] for each in sorted(tables))]) + "\n", "utf-8")
    print(f"{PAGE}: {len(tables)} tables, {len(found)} of them from {RESULTS}")


if __name__ == "__main__":
    main()
