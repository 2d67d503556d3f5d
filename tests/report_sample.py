"""A report as a student might hand it in, with all that a renderer must bear; its numbers are made up by a seed."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

FRONT = """---
title: Residual networks on handwritten digits
subtitle: What augmentation, optimiser and *depth* change
author: [王小明, Zoë Müller-Łukasiewicz, José Ñáñez]
affiliation: School of Informatics, Université de l'Étang
course: Computer Vision Lab
number: Report 3
date: 2026-11-20
abstract: |
  Eight networks were trained three times each. Seeds differ by more than half of the recipes do ([](#tbl-wide)),
  so only two of our conclusions stand.
---
"""

BODY = r"""
# Introduction

This report was written by 王小明 (Wáng Xiǎomíng), Zoë and José. It finds efficient, affordable and flawless ways to
train $f_\theta: \mathbb{R}^{H\times W}\to[0,1]^{10}$ on digits.[^seeds] The mean difference between two recipes is
−0.4 ± 0.3 points, about ≈ 10⁻³ of the range; α = 0.05, 中文字符也要能复制。 See [](#fig-wide), [](#fig-tall) and
[](#tbl-long); the method is described in [Methods](#methods) and on [the paper's page](https://arxiv.org/abs/1512.03385).

[^seeds]: Three seeds are few: a footnote with `code`, *emphasis* and $\sigma/\sqrt{n}$ says so.

## Methods

We minimise the cross-entropy with label smoothing $\varepsilon$,

$$\mathcal{L}(\theta) = -\frac{1}{N}\sum_{i=1}^{N}\sum_{k=1}^{K} \left[(1-\varepsilon)\,\mathbf{1}[y_i=k]
+ \frac{\varepsilon}{K}\right] \log p_\theta(k \mid x_i),$$

and report $\mathrm{Dice} = \frac{2\,|A\cap B|}{|A|+|B|}$ for masks,

$$\hat y = \begin{cases} 1 & p > 0.5 \\ 0 & \text{otherwise.} \end{cases}$$

### What was run

```sh
labkit run 01 -e quick -p learning_rate 0.001 -p epochs 12 -p augmentation affine -p optimizer adamw --out runs/a/b
```

The run folder is `runs/01_mnist_resnet18/three_seeds-seed2-0123abcd/figures/learning_curves_of_all_seeds.png`, and
`learning_rate`, `weight_decay` and `validation_share` are parameters.

1. Split by *writer*:
    - train
    - validation, which chooses
2. Train.
3. Test **once**.

> A reviewer wrote: “Do not call it a reproduction if the data are not the data.”

Recall
:   the share of positives that were found.

# Results

The learning curves are in [](#fig-wide).

![Accuracy by epoch, *three* seeds a recipe; the band is the range and $n = 3$. A caption may well be longer than a
line, and then it should still be read with ease.](figures/wide.png){#fig-wide alt="Four rising lines: adamw is first
at 95 %, then \"sgd\"; 50 % of the gain comes in epoch_1." width=100%}

## A table of nine columns

[](#tbl-wide) has nine columns and a column of words.

WIDE

## Errors by class

![Confusion matrix of the best run.](figures/square.png){#fig-square alt="Ten by ten squares; the diagonal is dark."
width=55%}

![A tall figure: one strip an image, from sure to unsure.](figures/tall.png){#fig-tall
alt="Eight bars below each other, getting shorter."}

## All runs

[](#tbl-long) lists every run, over more than a page.

LONG

### A table without a caption

| quantity | value |
|:---------|------:|
| images   | 60 000 |
| classes  | 10 |

# Discussion

A student's own words may hold <script>alert("x")</script>, \input{/etc/passwd}, `#read("/etc/passwd")`{=typst},
@nobody and $HOME. Even a block is only text:

\begin{verbatim}
\write18{touch pwned}
\end{verbatim}

<iframe src="https://example.org/"></iframe>

```{=html}
<script>alert(1)</script>
```

---
title: taken over
---

# References {.unnumbered}

1. K. He, X. Zhang, S. Ren, J. Sun. *Deep residual learning for image recognition*. CVPR 2016.
   <https://openaccess.thecvf.com/content_cvpr_2016/html/He_Deep_Residual_Learning_CVPR_2016_paper.html>
2. Y. LeCun et al. *Gradient-based learning applied to document recognition*. Proc. IEEE 86(11), 1998.
   [doi:10.1109/5.726791](https://doi.org/10.1109/5.726791)
"""


def write_sample(folder: Path) -> Path:
    """Write ``report.md`` and its figures into ``folder``; return the Markdown file."""
    (folder / "figures").mkdir(parents=True)
    rng = np.random.default_rng(3)
    for name, plot in {"wide": wide, "square": square, "tall": tall}.items():
        figure = plot(rng)
        for form, metadata in {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}.items():
            figure.savefig(folder / "figures" / f"{name}.{form}", metadata=metadata)
        plt.close(figure)
    source = folder / "report.md"
    text = FRONT + BODY.replace("WIDE", wide_table(rng)).replace("LONG", long_table(rng))
    source.write_text(text, "utf-8")
    return source


def wide(rng: np.random.Generator) -> plt.Figure:
    """Curves, 8 x 3.2 inches."""
    figure, ax = plt.subplots(figsize=(8, 3.2), layout="constrained")
    epochs = np.arange(1, 13)
    for name in ("adamw", "sgd", "rmsprop", "adam"):
        ax.plot(epochs, 95 - 40 * np.exp(-epochs / rng.uniform(1, 4)), marker="o", label=name)
    ax.set(xlabel="epoch", ylabel="test accuracy (%)")
    ax.legend()
    return figure


def square(rng: np.random.Generator) -> plt.Figure:
    """A confusion matrix, 4 x 4 inches."""
    figure, ax = plt.subplots(figsize=(4, 4), layout="constrained")
    ax.imshow(np.eye(10) + rng.uniform(0, 0.2, (10, 10)), cmap="Blues")
    ax.set(xlabel="predicted", ylabel="true", xticks=range(10), yticks=range(10))
    return figure


def tall(rng: np.random.Generator) -> plt.Figure:
    """Bars, 3.5 x 9 inches: taller than a page if it filled the width."""
    figure, axes = plt.subplots(8, figsize=(3.5, 9), layout="constrained")
    for ax in axes:
        ax.barh(range(3), rng.uniform(0, 1, 3))
        ax.set(yticks=range(3), xlim=(0, 1))
    return figure


def pipe(header: list[str], align: str, rows: list[list[str]], caption: str) -> str:
    """A pipe table; ``align`` has l or r for each column."""
    rule = ["--:" if side == "r" else ":--" for side in align]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *rows]) + f"\n\n: {caption}"


def wide_table(rng: np.random.Generator) -> str:
    header = [
        "recipe",
        "notes",
        "parameters",
        "learning_rate",
        "accuracy (%)",
        "Dice (%)",
        "IoU (%)",
        "loss",
        "time (s)",
    ]
    notes = ["affine augmentation and label smoothing of 0.1", "as in the report", "`no_weight_decay_on_norm_layers`"]
    rows = []
    for i, name in enumerate(["baseline", "one_cycle_adamw_long", "王小明's recipe", "sgd_nesterov"] * 2):
        a = rng.normal(93, 2, 3)
        scores = [f"{x:.2f} ± {rng.uniform(0.1, 0.9):.2f}" for x in a]
        rows.append([name, notes[i % 3], "11 173 962", "1e−3", *scores, f"{rng.uniform(0, 1):.4f}", f"{a[0] * 7:.0f}"])
    return pipe(header, "llrrrrrrr", rows, "Eight recipes, mean ± standard deviation of *three* seeds. {#tbl-wide}")


def long_table(rng: np.random.Generator) -> str:
    rows = [[f"run {i}", f"{i % 3}", f"{rng.normal(93, 2):.2f}", f"{rng.uniform(60, 900):.0f}"] for i in range(70)]
    return pipe(["run", "seed", "accuracy (%)", "seconds"], "lrrr", rows, "Every run. {#tbl-long}")
