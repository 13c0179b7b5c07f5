"""A gradient that is not right, in words: the number of wrong entries, the worst one, and both of its values."""

import math


def in_words(report):
    """Return one line on an ArgumentReport that is not right."""
    return f"{_what_was_found(report)}. {report.diagnosis}" if report.diagnosis else _what_was_found(report)


def _what_was_found(report):
    sampled = "" if report.entries == report.size else "sampled "
    note = " (backward left no gradient, which counts as zeros)" if report.missing else ""
    if report.together:
        both = _both(*report.together, "central differences")
        return (
            f"{report.label}: {report.disagree} of {report.entries} {sampled}entries disagree: each alone may be right "
            f"at a kink, but as they move together {both}"
        )
    if report.disagree:
        return (
            f"{report.label}: {report.disagree} of {report.entries} {sampled}entries disagree{note}; "
            f"worst at {list(report.worst_index)}: {_both(report.analytic, report.numeric, report.oracle)}"
        )
    if report.cannot_tell and not report.direction_disagrees:
        return (
            f"{report.label}: cannot tell at {report.cannot_tell} of {report.entries} {sampled}entries; "
            f"for one at {list(report.worst_index)}: {_both(report.analytic, report.numeric, report.oracle)}"
            f"{_obstacle(report)}"
        )
    if not report.direction_disagrees:
        return f"{report.label}: cannot tell: {report.doubt}"
    agreeing = f"all {report.entries} sampled entries agree, but " if report.entries else ""
    return (
        f"{report.label}: {agreeing}a random direction through all {report.size} "
        f"does not{'' if report.entries else ' agree'}{note}: {_both(*report.direction, report.direction_oracle)}"
    )


def _obstacle(report):
    if not math.isfinite(report.numeric):
        return ""  # the values show it
    if math.isinf(report.worst_uncertainty):
        return ", but each finer step gives another value: the output varies on a scale shorter than the steps"
    if report.doubt:
        return f", but {report.doubt}"
    return (
        f", but may be off by {report.worst_uncertainty:.1g}: the output jumps here, or its rounding errors hide "
        "the change"
    )


def _both(analytic, numeric, oracle):
    given, true = told_apart(analytic, numeric)
    note = ": the forward pass is not finite near this entry" if not math.isfinite(numeric) else ""
    gives = "give" if oracle.endswith("s") else "gives"
    return f"backward gives {given}, {oracle} {gives} {true}{note}"


def told_apart(a, b):
    """Return two numbers as text, with enough digits to distinguish them."""
    texts = f"{a:.4g}", f"{b:.4g}"
    for digits in range(5, 18):
        if texts[0] != texts[1]:
            break
        texts = f"{a:#.{digits}g}", f"{b:#.{digits}g}"  # with zeros at the end, so that both are as long
    return texts
