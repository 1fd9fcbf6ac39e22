"""`voxflate params`: parameter counts next to the paper's."""

from __future__ import annotations

import typer

from voxflate.cli.printing import number_table, print_wide

DIFFERS = 1
"""Exit status if a row differs."""


def params() -> None:
    """Count the parameters of every model in the paper's tables, and compare with the printed numbers.

    The exit status is 1 if a row differs. E is an encoder, C a discriminator of codes.
    """
    from voxflate.config.params import compare_counts, differences

    comparisons = compare_counts()
    networks = {"generator": "G", "discriminator": "D", "encoder": "E", "code_discriminator": "C"}
    numbers = ["paper (M)", "ours (M)", *networks.values()]
    table = number_table(["setting", "model"], numbers, "Trainable parameters")
    table.add_column("")
    for each in comparisons:
        millions = (f"{count:.3f}" for count in (each.row.millions, each.total / 1e6))
        counts = (f"{each.ours[name]:,}" if name in each.ours else "" for name in networks)
        table.add_row(each.row.setting, each.row.label, *millions, *counts, each.remark)
    print_wide(table, 160)
    rows, different = sum(each.preset.exact for each in comparisons), differences(comparisons)
    typer.echo(
        f"{rows - len(different)} of {rows} rows equal the paper; second readings of a row, not counted: "
        f"{len(comparisons) - rows}",
        err=True,
    )
    if different:
        raise typer.Exit(DIFFERS)
