"""Style control: how much labels and scores follow length and markdown, and how good the scores are without.

The features are those of Chatbot Arena's style control (Li et al. 2024, "Does style matter?"). With a and b the counts
of the better and of the worse response, and densities the counts over the lengths,

    length = (a - b) / (a + b),    headers, bold, list items: (a - b) / (a + b + 1) of the densities,

each divided by the root mean square over the judgments, the standard deviation of the pairs in both orders.

Regressions are logistic, without intercept, clustered by prompt (`fit_logit`), over all judgments. Below, z is the
vector of features [k], y the label (probability of the better response; a tie is 1/2), d the score of the better
response minus the score of the worse response, and sigma the sigmoid. For each feature:

- `label`: b_y in y ~ sigma(z b_y): the taste of the annotators.
- `label_given_score`: c_z in y ~ sigma(d c_d + z c_z): the taste that the scores leave out. Below 0, the scores value
  the feature more than the labels do.
- `probability`: b_p in p(d) ~ sigma(z b_p): the taste of the model's probabilities p(d), see below.
- `choice`: b_c in [d > 0] ~ sigma(z b_c): the taste of the model's decisions, equal scores being 1/2.
- `excess`: b_p - b_y.
- `choice_excess`: b_c - b_y.

Scores have no unit, so p(d) is read off the labels. Judgments are put into `BINS` bins of equal size by |d|, and

    p(d) = 1/2 + sign(d) (r - 1/2),    r = share of labels in the bin on the side of the score, the own prompt left out.

The `excess` is 0 exactly if the mean of z y equals the mean of z p(d): the model gives long responses the probability
with which annotators prefer long responses. The equality holds, up to the width of the bins, for each model whose
probabilities are calibrated after some increasing odd transform of d, in particular for a model that knows nothing but
the annotators' taste. The `choice_excess` is 0 for a model that decides like one more annotator. Decisions carry no
noise, while labels do: a calibrated model decides for long responses more often than annotators, and has a
`choice_excess` above 0 wherever the labels favour length. The `excess` is therefore the figure that tells bias of the
model from bias of the data.

Both intervals come from the joint sandwich of all regressions. The influence of a prompt on a difference is the
difference of the influences. The influence of r on b_p enters by the chain rule, for each bin as

    H_p^-1 (sum of z sign(d) over the bin) * influence of r.

`controlled_accuracy` is the accuracy of d - z theta, theta by least squares of d on z over the other folds of prompts.
`controlled_change` is `controlled_accuracy` minus `accuracy`, paired. `style_alone` is the accuracy of z g, g by least
squares of y - 1/2 on z over the other folds: the yardstick for both.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..records import Comparison, ScoredComparison
from .intervals import PROPORTION, clustered_mean, interval_figures
from .judgments import Floats, half_ties
from .logit import LogitFit, cluster_sums, fit_logit, influence_dict, root_mean_square, undefined
from .matching import FeatureTable, distinct, table_of

DENSITIES = ("headers", "bold", "list_items")
"""Features that count per token."""
STYLE = ("length", *DENSITIES)
COEFFICIENTS = ("label", "label_given_score", "probability", "choice", "excess", "choice_excess")
MIN_PROMPTS = 10
"""Fewest prompts in which a feature differs: with fewer, chance alone can separate the labels."""
BINS = 20
"""Most bins of |d|. With 20, the bins lower the excess of a calibrated model by under 1 % of the labels' taste."""
BIN_SIZE = 25
"""Fewest judgments of a bin, on average."""
FOLDS = 5
"""Parts of the prompts, each predicted from the others."""
NEGLIGIBLE = 1e-9
"""Share of the deviation of the scores below which a residual is rounding, and counts as 0."""


def style(
    rows: Sequence[ScoredComparison] | FeatureTable, comparisons: Sequence[Comparison] | None = None
) -> dict[str, Any]:
    """Regress labels and scores on style, and compute the accuracy of the scores without style.

    `help("bradley.evaluate.style")` gives every formula. Swapping the two sides of a pair, and the order of the rows,
    change nothing. The keys:

    - `judgments`, `prompts`, `unscored`, `unit`: all judgments, their prompts, comparisons without scores, and the
      unit of length.
    - `features`: {feature: `deviation` and `prompts` (deviation of the difference, prompts in which the feature
      differs), then the six coefficients}, in logits for one standard deviation of the feature.
    - `score`: `deviation` of d, and `coefficient`, c_d for one standard deviation of d.
    - `accuracy`, `controlled_accuracy`, `controlled_change`, `style_alone`: over decided judgments.

    A coefficient has `value`, `se`, `low`, `high` (95 %) and `reason`. An accuracy has `value`, `low`, `high`, `n`,
    `clusters` and `reason`. A figure that does not exist is None, and `reason` says why.

    Example:
        figures = style(rows, comparisons)
        figures["features"]["length"]["excess"]["value"]

    Args:
        rows: scored comparisons, or a table from `match` with texts and scores.
        comparisons: the comparisons that were scored; None with a table.

    Returns:
        A dict of plain values, ready for JSON.

    Raises:
        DataError: rows that do not match the comparisons; see `match`.
    """
    table = table_of(rows, comparisons)
    z, cluster, margin = style_features(table), table.cluster, table.judgments.margin
    differs = [distinct(cluster[column != 0.0]) for column in z.T]
    kept = [k for k, prompts in enumerate(differs) if prompts >= MIN_PROMPTS]
    deviation = root_mean_square(z)
    standard = z[:, kept] / deviation[kept]
    names = [STYLE[k] for k in kept]
    found = regress_style(standard, table.judgments.probability, margin, cluster, names)
    absent = dict.fromkeys(COEFFICIENTS, undefined(f"differs in fewer than {MIN_PROMPTS} prompts"))
    return {
        "judgments": len(z),
        "prompts": distinct(cluster),
        "unscored": table.unscored,
        "unit": table.unit,
        "features": {
            name: {
                "deviation": float(deviation[k]),
                "prompts": differs[k],
                **(found.per_feature(kept.index(k)) if k in kept else absent),
            }
            for k, name in enumerate(STYLE)
        },
        "score": {
            "deviation": float(root_mean_square(margin[:, None])[0]),
            "coefficient": found.label_given_score.coefficient(0),
        },
        **_accuracies(standard, table),
    }


@dataclass(frozen=True, slots=True)
class StyleFits:
    """Regressions of one set of judgments on one set of k style features; the terms are those of the module.

    Attributes:
        label, probability, choice: fits with k columns.
        label_given_score: fit with the score in column 0, then the features.
    """

    label: LogitFit
    label_given_score: LogitFit
    probability: LogitFit
    choice: LogitFit

    def per_feature(self, k: int) -> dict[str, Any]:
        """Coefficients of feature k by the names of `COEFFICIENTS`."""
        figures = [
            self.label.coefficient(k),
            self.label_given_score.coefficient(k + 1),
            self.probability.coefficient(k),
            self.choice.coefficient(k),
            self._difference(self.probability, k),
            self._difference(self.choice, k),
        ]
        return dict(zip(COEFFICIENTS, figures, strict=True))

    def _difference(self, fit: LogitFit, k: int) -> dict[str, Any]:
        """Coefficient k of `fit` minus the coefficient of the labels."""
        reason = fit.reason or self.label.reason
        if reason is not None:
            return undefined(reason)
        value = float(fit.coefficients[k] - self.label.coefficients[k])
        return influence_dict(value, fit.influence[:, k] - self.label.influence[:, k])


def regress_style(
    z: Floats, labels: Floats, margin: Floats, cluster: NDArray[np.intp], names: Sequence[str]
) -> StyleFits:
    """Fit the regressions of `StyleFits`.

    Args:
        z: standardised features, better minus worse response [J, k].
        labels: probability of the better response [J].
        margin: score of the better minus score of the worse response [J].
        cluster: number of the prompt [J].
        names: names of the features [k].
    """
    score = margin[:, None] / (float(root_mean_square(margin[:, None])[0]) or 1.0)
    return StyleFits(
        label=fit_logit(z, labels, cluster, names),
        label_given_score=fit_logit(np.hstack([score, z]), labels, cluster, ["score", *names]),
        probability=_fit_probability(z, labels, margin, cluster, names),
        choice=fit_logit(z, half_ties(margin), cluster, names),
    )


def style_features(table: FeatureTable) -> Floats:
    """Style differences [J, 4] in the order of `STYLE`, better minus worse response, not yet standardised."""
    long, short = table.better["length"], table.worse["length"]
    columns = [_ratio(long - short, long + short)]
    for name in DENSITIES:
        a, b = _ratio(table.better[name], long), _ratio(table.worse[name], short)
        columns.append((a - b) / (a + b + 1.0))
    return np.stack(columns, axis=1)


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Elementwise part / whole; 0 for an empty whole."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole != 0.0)


def _fit_probability(
    z: Floats, labels: Floats, margin: Floats, cluster: NDArray[np.intp], names: Sequence[str]
) -> LogitFit:
    """Regress the model's probabilities p(d) on z, with the error of p in the influence."""
    side = np.sign(margin)
    sided = side * (labels - 0.5)
    _, codes = np.unique(cluster, return_inverse=True)
    bins = _bins(margin)
    fit = fit_logit(z, 0.5 + side * _reliability(sided, bins, codes), cluster, names)
    if fit.reason is not None:
        return fit
    right = clustered_mean(0.5 + sided, cluster, PROPORTION)
    # Scores at chance make every probability 1/2: the excess would be minus the labels' taste, and say nothing.
    if not right.low > 0.5:
        return replace(fit, reason="the scores do not predict the labels better than chance")
    # A judgment moves the share of its bin by (sided - share) / count, and the share moves all p(d) of the bin.
    count = np.maximum(np.bincount(bins), 1)
    away = sided - (np.bincount(bins, weights=sided) / count)[bins]
    pull = cluster_sums(z * side[:, None], bins, len(count)) / count[:, None]
    return replace(
        fit, influence=fit.influence + cluster_sums(away[:, None] * pull[bins], codes, fit.clusters) @ fit.bread
    )


def _reliability(sided: Floats, bins: NDArray[np.intp], codes: NDArray[np.intp]) -> Floats:
    """r - 1/2 for each judgment [J]: mean of `sided` [J] over the bin, without the judgments of the same prompt.

    A label inside its own prediction would shrink the excess by one part in the size of a bin. The result is 0 where a
    bin holds no other prompt.
    """
    _, own = np.unique(bins * (int(codes.max(initial=0)) + 1) + codes, return_inverse=True)
    total = np.bincount(bins, weights=sided)[bins] - np.bincount(own, weights=sided)[own]
    count = np.bincount(bins)[bins] - np.bincount(own)[own]
    # Rounding must not push a share of certain labels past 1.
    result: Floats = np.clip(np.divide(total, count, out=np.zeros(len(sided)), where=count > 0), -0.5, 0.5)
    return result


def _bins(margin: Floats) -> NDArray[np.intp]:
    """Number of the bin of |d| of each judgment [J]; equal values share a bin."""
    size = np.abs(margin)
    wanted = min(BINS, max(1, len(size) // BIN_SIZE))
    edges = np.unique(np.quantile(size, np.arange(1, wanted) / wanted)) if len(size) else size
    result: NDArray[np.intp] = np.searchsorted(edges, size, side="right")
    return result


def _accuracies(z: Floats, table: FeatureTable) -> dict[str, Any]:
    """Accuracy of scores, of scores without style, and of style alone, over decided judgments."""
    margin, decided = table.judgments.margin, table.judgments.decided
    cluster = table.cluster[decided]
    correct = half_ties(margin[decided])
    figures = {"accuracy": interval_figures(correct, cluster)}
    folds = table.cluster % FOLDS
    if distinct(folds) < 2 or not z.shape[1]:
        reason = "one prompt alone: no other prompts to learn the effect of style from" if z.shape[1] else "no features"
        empty = {"value": None, "low": None, "high": None, "n": 0, "clusters": 0, "reason": reason}
        return {**figures, "controlled_accuracy": empty, "controlled_change": empty, "style_alone": empty}
    residual = margin - cross_fitted(z, margin, folds)
    residual[np.abs(residual) <= NEGLIGIBLE * float(root_mean_square(margin[:, None])[0])] = 0.0
    controlled = half_ties(residual[decided])
    rule = half_ties(cross_fitted(z, table.judgments.probability - 0.5, folds)[decided])
    return {
        **figures,
        "controlled_accuracy": interval_figures(controlled, cluster),
        "controlled_change": interval_figures(controlled - correct, cluster, bounds=(-1.0, 1.0)),
        "style_alone": interval_figures(rule, cluster),
    }


def cross_fitted(z: Floats, target: Floats, folds: NDArray[np.intp]) -> Floats:
    """Predict `target` [n] from `z` [n, k] by least squares without intercept, each fold from the other folds.

    Collinear columns share their effect, as in the solution of smallest norm.
    """
    parts = np.flatnonzero(np.bincount(folds))
    squares = np.stack([z[folds == part].T @ z[folds == part] for part in parts])
    products = np.stack([z[folds == part].T @ target[folds == part] for part in parts])
    predicted = np.zeros_like(target)
    for part, square, product in zip(parts, squares, products, strict=True):
        inverse = np.linalg.pinv(squares.sum(axis=0) - square, hermitian=True)
        predicted[folds == part] = z[folds == part] @ (inverse @ (products.sum(axis=0) - product))
    return predicted
