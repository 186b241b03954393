"""The table of docs/freshness.md, by what `policy.decide` says: what a caller gets."""

from collections.abc import Iterator

from twofold.freshness.policy import Age, Outcome, Policy, Step, decide

COLUMNS = {
    "`wait=0`": Policy(10.0, stale=60.0),
    '`wait="500ms"`': Policy(10.0, stale=60.0, wait=0.5),
    "`wait=None`": Policy(10.0, stale=60.0, wait=None),
    '`wait=None, max_wait="2s"`': Policy(10.0, stale=60.0, wait=None, max_wait=2.0),
}

FOUND = {
    Age.FRESH: ("fresh", "the value"),
    Age.EARLY: ("due", "the value"),
    Age.STALE: ("stale", "the stale value"),
    Age.GONE: ("none", "the new value"),
}

THEN = {
    Outcome.COMPUTED: "returns in time",
    Outcome.FAILED: "fails",
    Outcome.LATE: "takes longer",
    Outcome.BUSY: "finds no worker free",
}

RESTING = "has failed just before"

SAID = {
    Step.RETURN: "the new value",
    Step.COMPUTE: "the new value",
    Step.RAISE: "the error",
    Step.TIME_OUT: "`ComputationTimeout`",
}


def lines() -> Iterator[str]:
    """Return the table in Markdown; where all that the function may do is one, it is one row."""
    yield f"| found | the function | {' | '.join(COLUMNS)} |"
    yield f"| {' | '.join(['---'] * (2 + len(COLUMNS)))} |"
    for found, (name, _) in FOUND.items():
        rows: dict[tuple[str, ...], list[str]] = {}
        for outcome, word in THEN.items():
            rows.setdefault(_row(found, outcome), []).append(word)
        if found is not Age.GONE:
            rows.setdefault(_row(found, None), []).append(RESTING)
        if len(rows) == 1:
            rows = {cells: ["whatever it does"] for cells in rows}
        for cells, words in rows.items():
            yield f"| {name} | {', '.join(words)} | {' | '.join(cells)} |"


def _row(found: Age, outcome: Outcome | None) -> tuple[str, ...]:
    return tuple(given(found, policy, outcome) for policy in COLUMNS.values())


def given(found: Age, policy: Policy, outcome: Outcome | None) -> str:
    """Return what a caller gets; None is a refresh that is not to be tried now."""
    value = FOUND[found][1]
    step = decide(found, policy, resting=outcome is None)
    if step is Step.SERVE:
        return value
    if step is Step.REFRESH and outcome is not Outcome.BUSY:
        return f"{value}; refreshed behind"
    if step is Step.COMPUTE and outcome is not Outcome.FAILED:  # by the caller, to the end
        return SAID[step]
    return SAID.get(decide(found, policy, outcome=outcome), value)
