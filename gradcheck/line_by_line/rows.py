"""The rows of the report: a verdict on each target, and why."""

from gradcheck.line_by_line.instrument import equation_at
from gradcheck.line_by_line.report import FOLLOWS, NOT_FOLLOWED, RIGHT, WRONG, StepRow, StepsReport


def rows_of(scene, source, targets, reads, found):
    """Return the StepsReport."""
    parameters = {i for i, argument in enumerate(scene.run.arguments) if argument.parameter is not None}
    rows = []
    for target in targets:
        site = scene.sites[target.event.site]
        verdict, sentence = _verdict(scene, target, targets, reads, found)
        is_known = target.outside and target.at not in parameters and verdict == RIGHT
        if not is_known:
            rows.append(StepRow(target.name, equation_at(source, site.statement), site.line, verdict, sentence))
    finals = [target for target in targets if target.argument is not None]
    right = sum(target not in found.wrong for target in finals if target.is_followed)
    problems = (scene.run.problem,) if scene.run.problem else ()
    return StepsReport(source.name, tuple(rows), problems, right, len(finals))


def _verdict(scene, target, targets, reads, found):
    """Return (verdict, sentence) of a Target."""
    if not target.is_followed:
        return NOT_FOLLOWED, target.reason
    if target not in found.wrong:
        return RIGHT, ""
    if target in found.parts:
        return (
            NOT_FOLLOWED,
            "it is not the whole gradient of that name, nor need it be: what is computed from it is right",
        )
    if target in found.at_fault:
        return WRONG, "with the truth in all that it reads, the line gives something else"
    if target in found.elsewhere:
        return NOT_FOLLOWED, "what these lines hand back is right, and this is not: others make it of that"
    if target in found.unknown:
        return NOT_FOLLOWED, "it is not the whole gradient of that name, and whether it is meant to be cannot be told"
    return FOLLOWS, f"from {_origin(target, targets, reads, found)}"


def _origin(target, targets, reads, found):
    """Return the names of the nearest wrong gradients that a Target is computed from."""
    wrong = {t.key: t.name for t in found.wrong if t.key is not None and t is not target}
    names = [wrong[e.key] for e in reads.through(target.event, wrong) if e.key in wrong]
    return " and ".join(sorted(set(names))) or "the one above"
