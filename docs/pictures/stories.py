"""What happens, as pictures: both faces; a hit, a miss and a claim; one connection; an outage."""

from drawing import Sheet

_STORES = {
    "memory": "called directly",
    "SQLite, files": "async: a hop to a thread",
    "Redis": "native in both faces",
    "memcached": "native in both faces",
}


def faces() -> str:
    """Draw what calls a cache, what that is made of, and where the entries are."""
    sheet = Sheet(760, 290, "Two faces, one cache, any store")
    sheet.text(115, 34, "your code", "middle strong")
    sheet.text(380, 34, "one Cache", "middle strong")
    sheet.text(645, 34, "a store, by a setting", "middle strong")
    sheet.box(20, 70, 190, 40, "cache.get(key)", "plain code")
    sheet.text(115, 62, "def", "middle soft")
    sheet.box(20, 190, 190, 40, "await cache.aget(key)", "plain code")
    sheet.text(115, 182, "async def", "middle soft")
    sheet.bar(280, 50, 200, 220, "work")
    rules = (
        "keys",
        "one computation for all",
        "stale while it is made",
        "tags",
        "copies near",
        "outages",
    )
    sheet.text(380, 82, "written once:", "middle soft inside")
    for row, rule in enumerate(rules):
        sheet.text(380, 114 + 27 * row, rule, "middle")
    for y in (90, 210):
        sheet.arrow((210, y), (276, y))
    for row, (store, how) in enumerate(_STORES.items()):
        y = 50 + 57 * row
        sheet.bar(550, y, 190, 49, "good")
        sheet.text(645, y + 20, store, "middle inside strong")
        sheet.text(645, y + 39, how, "middle")
        sheet.arrow((480, y + 25), (546, y + 25))
    return str(sheet)


_TASK, _OTHER, _KEY, _ELSEWHERE = 130, 310, 560, 790


def miss() -> str:
    """Draw who asks whom, downwards in time, and what stands under the key meanwhile."""
    sheet = Sheet(920, 640, "A hit, a miss and a claim: what stands under the key meanwhile")
    sheet.bar(30, 14, 380, 612, "paper")
    sheet.text(46, 36, "one process", "soft")
    for x, name in ((_TASK, "a task"), (_OTHER, "another task")):
        sheet.box(x - 70, 48, 140, 32, name, "plain strong")
    sheet.box(_KEY - 90, 48, 180, 32, "the store: key user:7", "plain strong")
    sheet.box(_ELSEWHERE - 80, 48, 160, 32, "another process", "plain strong")
    for x in (_TASK, _OTHER, _KEY, _ELSEWHERE):
        sheet.line((x, 80), (x, 620), kind="thread dashed")
    _a_hit(sheet)
    _a_miss(sheet)
    _a_claim_that_ends(sheet)
    return str(sheet)


def _under_the_key(sheet: Sheet, y: float, to: float, what: str, fill: str) -> None:
    sheet.bar(_KEY - 9, y, 18, to - y, fill)
    if what:
        sheet.text(_KEY + 16, (y + to) / 2 + 5, what, "soft")


def _a_hit(sheet: Sheet) -> None:
    sheet.text(40, 106, "A hit", "strong")
    _under_the_key(sheet, 94, 164, "its value", "good")
    sheet.arrow((_TASK, 124), (_KEY - 10, 124), text="get")
    sheet.arrow((_KEY - 10, 150), (_TASK + 2, 150), text="the value: one round trip")


def _a_miss(sheet: Sheet) -> None:
    sheet.line((30, 184), (890, 184))
    sheet.text(40, 208, "A miss", "strong")
    sheet.arrow((_TASK, 226), (_KEY - 10, 226), text="get: nothing there")
    sheet.arrow((_TASK, 254), (_KEY - 10, 254), text="claim: a stub, for 30 s")
    _under_the_key(sheet, 254, 378, "the claim", "wait")
    sheet.bar(_TASK - 9, 266, 18, 104, "work")
    sheet.text(_TASK - 18, 312, "runs the", "end")
    sheet.text(_TASK - 18, 330, "function", "end")
    sheet.bar(_OTHER - 9, 292, 18, 104, "wait")
    sheet.arrow((_OTHER - 9, 298), (_TASK + 10, 298), text="asks: joins it")
    sheet.arrow((_ELSEWHERE, 282), (_KEY + 10, 282), text="get: claimed")
    sheet.bar(_ELSEWHERE - 9, 282, 18, 128, "wait")
    sheet.texts(_ELSEWHERE - 18, 338, ["waits, and", "looks again"], "end soft")
    sheet.arrow((_TASK, 378), (_KEY - 10, 378), text="")
    sheet.text(440, 372, "fill: only over its own stub", "middle soft")
    _under_the_key(sheet, 378, 444, "", "good")
    sheet.text(_KEY + 16, 438, "its value", "soft")
    sheet.arrow((_TASK + 10, 394), (_OTHER - 10, 394), text="the value")
    sheet.arrow((_KEY + 10, 410), (_ELSEWHERE - 10, 410))
    sheet.text((_KEY + _ELSEWHERE) / 2, 404, "the value", "middle soft")


def _a_claim_that_ends(sheet: Sheet) -> None:
    sheet.line((30, 456), (890, 456))
    sheet.text(40, 480, "A write meanwhile", "strong")
    sheet.arrow((_TASK, 496), (_KEY - 10, 496), text="claim")
    _under_the_key(sheet, 496, 532, "", "wait")
    sheet.bar(_TASK - 9, 504, 18, 62, "work")
    sheet.arrow((_ELSEWHERE, 532), (_KEY + 10, 532), text="delete: ends the claim")
    sheet.arrow((_TASK, 574), (_KEY - 10, 574), text="fill")
    sheet.arrow(
        (_KEY - 10, 600),
        (_TASK + 2, 600),
        text="refused: what was computed before the write is not kept",
    )


def connection() -> str:
    """Draw the tasks of a loop, the line of their commands, and what comes back."""
    sheet = Sheet(920, 390, "One connection for all tasks of an event loop")
    sheet.text(120, 34, "tasks of an event loop", "middle strong")
    sheet.text(480, 34, "one connection", "middle strong")
    sheet.text(820, 34, "the server", "middle strong")
    keys = ("a", "b", "c", "d")
    for row, key in enumerate(keys):
        y = 56 + 62 * row
        gone = key == "c"
        sheet.box(30, y, 180, 36, f'await aget("{key}")', "bad code" if gone else "plain code")
        if gone:
            sheet.text(120, y + 52, "cancelled: its reply is dropped", "middle soft")
        sheet.line((210, y + 10), (274, y + 10))
    sheet.text(480, 90, "commands: one write for all of a tick", "middle soft")
    for place, key in enumerate(keys):
        fill = "bad" if key == "c" else "work"
        sheet.box(610 - 80 * place, 100, 70, 36, f"get {key}", f"{fill} code")
        sheet.box(
            610 - 80 * place, 206, 70, 36, f"= {key}", f"{'bad' if key == 'c' else 'good'} code"
        )
    sheet.line((274, 66), (274, 252))
    sheet.arrow((274, 118), (358, 118))
    sheet.line((358, 224), (246, 224), (246, 84), kind="thread dashed")
    sheet.line((246, 224), (246, 270), kind="thread dashed")
    sheet.arrow((686, 118), (746, 118))
    sheet.bar(750, 56, 140, 230, "plain")
    sheet.texts(820, 150, ["answers", "in the order", "of what came"], "middle")
    sheet.arrow((746, 224), (686, 224))
    sheet.text(480, 196, "replies: the first belongs to the first in the line", "middle soft")
    for row in range(4):
        if row != 2:
            y = 56 + 62 * row
            sheet.arrow((246, y + 28), (212, y + 28), kind="arrow dashed")
    sheet.texts(
        30,
        336,
        [
            "A thousand tasks need no thousand connections, and none waits for one.",
            "Cancelling one call affects no other: its place in the line stays until its reply"
            " has come.",
        ],
        "soft",
    )
    return str(sheet)


def outage() -> str:
    """Draw a server that stands still for a while, and what callers see of it."""
    sheet = Sheet(920, 330, "An outage: the server, its circuit breaker, and what callers see")
    left, falls, opens, back, closes, right = 150, 300, 470, 690, 730, 900
    for x in (falls, opens, closes):
        sheet.line((x, 40), (x, 250), kind="thread dashed")
    rows = {"the server": 40, "circuit breaker": 104, "pings": 162, "callers": 206}
    for name, y in rows.items():
        sheet.text(left - 16, y + 22, name, "end strong")
    sheet.box(left, 40, falls - left, 34, "answers", "good")
    sheet.box(falls, 40, back - falls, 34, "does not answer", "bad")
    sheet.box(back, 40, right - back, 34, "answers", "good")
    sheet.box(left, 104, opens - left, 34, "closed: calls go to the server", "plain")
    sheet.box(opens, 104, closes - opens, 34, "open: nothing goes there", "wait")
    sheet.box(closes, 104, right - closes, 34, "closed", "plain")
    for x in (490, 516, 552, 598, 644, 690):
        sheet.dot(x, 178, "bad")
    sheet.dot(closes, 178, "good")
    sheet.text(closes + 14, 183, "a ping is answered", "soft")
    sheet.text(left, 183, "by a thread in the background, no caller waits", "soft")
    sheet.box(left, 206, falls - left, 34, "hits", "good")
    sheet.box(falls, 206, opens - falls, 34, "wait for the deadline", "bad")
    sheet.box(opens, 206, closes - opens, 34, "are answered at once", "wait")
    sheet.box(closes, 206, right - closes, 34, "hits", "good")
    sheet.texts(
        falls, 264, ["three failures open it;", "a refused connection", "does so at once"], "soft"
    )
    sheet.texts(
        opens,
        264,
        [
            "get: a miss with on_error “miss”, else an error",
            "@cached, get_or_set: the function runs",
            "with stale: copies near serve as old values",
        ],
        "soft",
    )
    return str(sheet)
