"""Claims to many keys in as few round trips as one; see `cas` for what each step is about."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from twofold.backends.memcached import commands
from twofold.backends.memcached.cas import CompareAndSet
from twofold.backends.memcached.claimed import Claimed
from twofold.backends.memcached.operations import ADD, CAS, GETS
from twofold.backends.network import Client, Command, Outcome, is_lost, raise_partial
from twofold.effects import Effects
from twofold.errors import BackendUnavailable


class ClaimBatches:
    """The steps of claims, for many keys at once.

    Args:
        client: the way to the servers.
        cas: does the same for one key.
        claimed: the numbers of stubs, which `cas` knows too.

    All steps together end at the monotonic time `deadline`.
    """

    def __init__(self, client: Client, cas: CompareAndSet, claimed: Claimed) -> None:
        self._client = client
        self._cas = cas
        self._claimed = claimed

    async def claim(
        self, io: Effects, expiries: Mapping[str, int], stub: bytes, deadline: float
    ) -> dict[str, bytes | None]:
        """Store `stub` where nothing is, and return what is there, by the keys of `expiries`."""
        asked = {
            key: [ADD.build(key, stub, expiry), _gets(key)] for key, expiry in expiries.items()
        }
        found: dict[str, bytes | None] = {}
        lost: list[BackendUnavailable] = []
        gone: list[str] = []
        for key, outcomes in (await self._ask(io, asked, deadline)).items():
            if _are_lost(outcomes, lost):
                continue
            is_added, item = ADD.read(key, outcomes[0]), GETS.read(key, outcomes[1])
            if item is not None and item.value != stub:
                found[key] = item.value
            elif item is None and not is_added:
                gone.append(key)
            else:
                found[key] = None
                if item is not None:
                    self._claimed.note(key, stub, item.unique)
        for key in gone:  # what was there went before it was read
            found[key] = await self._cas.claim(io, key, stub, expiries[key], deadline)
        return raise_partial(found, lost)

    async def write(
        self,
        io: Effects,
        expected: Mapping[str, bytes],
        build: Callable[[str, int], Command],
        deadline: float,
    ) -> dict[str, bool]:
        """Send what `build` makes of a key and a number where what is expected stands."""
        uniques = {key: self._claimed.take(key, each) for key, each in expected.items()}
        # Pairs first, so that none is torn where there are too many for one write.
        asked = {
            key: [_gets(key), build(key, unique)]
            for key, unique in uniques.items()
            if unique is not None
        }
        asked |= {key: [_gets(key)] for key, unique in uniques.items() if unique is None}
        written: dict[str, bool] = {}
        lost: list[BackendUnavailable] = []
        again: dict[str, list[Command]] = {}
        for key, outcomes in (await self._ask(io, asked, deadline)).items():
            if _are_lost(outcomes, lost):
                continue
            item = GETS.read(key, outcomes[0])
            stands = item is not None and item.value == expected[key]
            done = len(outcomes) > 1 and CAS.read(key, outcomes[1])
            if done and not stands:  # the server was restarted, see `_write_over_claim`
                again[key] = [commands.delete(key)]
            elif stands and not done and item is not None:
                again[key] = [build(key, item.unique)]
            written[key] = done and stands
        for key, outcomes in (await self._ask(io, again, deadline)).items():
            if _are_lost(outcomes, lost):
                del written[key]
            else:
                written[key] = CAS.read(key, outcomes[0])
        return raise_partial(written, lost)

    async def _ask(
        self, io: Effects, asked: Mapping[str, Sequence[Command]], deadline: float
    ) -> dict[str, list[Outcome]]:
        """Return the outcomes of the commands on each key, all sent side by side."""
        every = [each for several in asked.values() for each in several]
        if not every:
            return {}
        run, arun = self._client.execute_many, self._client.aexecute_many
        outcomes = iter(await io.op(run, arun, every, deadline))
        return {key: [next(outcomes) for _ in several] for key, several in asked.items()}


def _gets(key: str) -> Command:
    """Return a `gets` that is not sent again without the write beside it."""
    return GETS.build(key)._replace(reads=False)


def _are_lost(outcomes: Iterable[Outcome], lost: list[BackendUnavailable]) -> bool:
    """Tell whether a server did not answer, and note that."""
    failures = [each for each in outcomes if is_lost(each)]
    lost += failures[:1]
    return bool(failures)
