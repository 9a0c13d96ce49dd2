"""Row 20: certificates and tokens that expire, are renewed, are wrong or missing, under a session at work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from history import History, Oracle, judge
from rig import IS_FULL, OWNED, WorkerProcess, ended, inputs_of, until

import edge
from edge.config import Timeouts
from edge.errors import NotSecured, NotTrusted, WorkerRefused
from partitioner.bundle import Bundle
from partitioner.relay import Faults, Relay
from protos.security import ClientSecurity
from tests.certificates import Authority, Pair, put

Bundles = dict[str, Bundle]
Figure = Callable[[str], None]
BACK_S = 15.0
QUICK = Timeouts(refused_s=0.5, refused_max_s=2.0)


class Trust:
    """The files of a worker that wants TLS and a token, and of a device that it takes."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.pair: Pair = self.authority.issue("worker")
        self.tokens, self.token = folder / "tokens", folder / "token"
        self.begin_again()
        self.security = ClientSecurity(is_tls=True, ca_file=self.authority.file, token_file=self.token)

    def begin_again(self) -> None:
        """A certificate that is good, and a token that is taken."""
        self.pair.replace_with(self.authority.issue("fresh"))
        put(self.tokens, "first\n")
        put(self.token, "first\n")

    def worker(self, bundle: Bundle) -> WorkerProcess:
        """A worker of this test's own."""
        files = ("--tls-cert", self.pair.cert, "--tls-key", self.pair.key, "--token-file", self.tokens)
        return WorkerProcess([Path(bundle.path)], *map(str, files))


@pytest.fixture(scope="module")
def all_trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    return Trust(tmp_path_factory.mktemp("trust"))


@pytest.fixture(scope="module")
def running(all_trust: Trust, bundles: Bundles) -> Iterator[WorkerProcess]:
    with ended(all_trust.worker(bundles["ladder"])) as worker:
        yield worker.start()


@pytest.fixture
def trust(all_trust: Trust) -> Trust:
    all_trust.begin_again()
    return all_trust


@pytest.fixture
def worker(running: WorkerProcess) -> Iterator[WorkerProcess]:
    yield running
    OWNED.add(running.pid)


def restart(worker: WorkerProcess) -> None:
    """End it, and start it again on its port."""
    worker.kill()
    worker.start()


class Asking:
    """A session that is asked again and again, and the history of it."""

    def __init__(self, session: edge.Session, bundle: Bundle) -> None:
        self.session = session
        self.history = History(digest=bundle.digest)
        self._inputs = inputs_of(bundle, 8)

    def ask(self, count: int) -> list[str]:
        """So many requests; where each was answered."""
        return [self._one() for _ in range(count)]

    def until(self, where: str) -> float:
        """Requests until one is answered there; how long that took."""
        began_s = time.monotonic()
        until(lambda: self._one() == where, f"an answer from {where}", timeout_s=BACK_S)
        return time.monotonic() - began_s

    def _one(self) -> str:
        given = self._inputs[len(self.history.asked) % len(self._inputs)]
        frame_id = self.history.ask(given, deadline_s=10.0)
        return self.history.answer(frame_id, self.session(given, deadline_s=10.0)).by


@pytest.mark.row(20)
def test_renewing_certificate_and_token_drops_no_frame(
    trust: Trust, worker: WorkerProcess, bundles: Bundles, oracle: Callable[[Bundle], Oracle], figure: Figure
) -> None:
    """Everything is renewed while one session is at work; it goes on, and a later one is let in by what is new."""
    bundle, each = bundles["ladder"], 300 if IS_FULL else 15
    with edge.Session(bundle, cloud=worker.target, cut="after:first", security=trust.security) as session:
        asking = Asking(session, bundle)
        asking.ask(each)
        trust.pair.replace_with(trust.authority.issue("fresh"))
        put(trust.tokens, "first\nsecond\n")
        asking.ask(each)
        put(trust.token, "second\n")
        put(trust.tokens, "second\n")
        with edge.Session(bundle, cloud=worker.target, cut="after:first", security=trust.security) as later:
            fresh = Asking(later, bundle)
            fresh.ask(each)
        asking.ask(each)
    for history in (asking.history, fresh.history):
        verdict = judge(history, oracle(bundle))
        assert verdict.is_clean, str(verdict)
        assert set(verdict.by) == {"split"}
    figure(f"renewed at work: {len(asking.history.asked) + len(fresh.history.asked)} frames, all by both")


@pytest.mark.row(20)
def test_a_token_that_is_no_longer_taken_sends_work_home_without_a_storm(
    trust: Trust, worker: WorkerProcess, bundles: Bundles, oracle: Callable[[Bundle], Oracle], figure: Figure
) -> None:
    """The worker comes back with other tokens; the device says why it works alone, and uses a new token by itself."""
    bundle = bundles["ladder"]
    with edge.Session(
        bundle, cloud=worker.target, cut="after:first", security=trust.security, timeouts=QUICK
    ) as session:
        asking = Asking(session, bundle)
        assert set(asking.ask(5)) == {"split"}
        put(trust.tokens, "second\n")
        restart(worker)
        until(lambda: session.workers()[0].state == "refused", "the refusal", timeout_s=BACK_S)
        assert "UNAUTHENTICATED" in session.workers()[0].reason
        before, began_s = session.counters()["dials"], time.monotonic()
        while time.monotonic() - began_s < 2.0:
            assert set(asking.ask(1)) == {"fallback"}
        dials = session.counters()["dials"] - before
        assert dials <= 4, "that is a storm"
        put(trust.token, "second\n")
        back_s = asking.until("split")
    verdict = judge(asking.history, oracle(bundle))
    assert verdict.is_clean, str(verdict)
    assert "first" not in worker.said
    assert "refused a call" in worker.said
    figure(f"{dials} dials in 2 s of refusal; split again {back_s:.1f} s after the new token")


@pytest.mark.row(20)
def test_an_expired_certificate_sends_work_home_until_it_is_renewed(
    trust: Trust, worker: WorkerProcess, bundles: Bundles, oracle: Callable[[Bundle], Oracle], figure: Figure
) -> None:
    bundle = bundles["ladder"]
    with edge.Session(
        bundle, cloud=worker.target, cut="after:first", security=trust.security, timeouts=QUICK
    ) as session:
        asking = Asking(session, bundle)
        assert set(asking.ask(5)) == {"split"}
        trust.pair.replace_with(trust.authority.issue("expired", is_expired=True))
        restart(worker)
        until(lambda: session.workers()[0].state == "refused", "the refusal", timeout_s=BACK_S)
        assert "its certificate has expired" in session.workers()[0].reason
        assert set(asking.ask(5)) == {"fallback"}
        trust.pair.replace_with(trust.authority.issue("renewed"))
        back_s = asking.until("split")
    verdict = judge(asking.history, oracle(bundle))
    assert verdict.is_clean, str(verdict)
    figure(f"expired: home; split again {back_s:.1f} s after it was renewed")


@pytest.mark.row(20)
def test_what_is_wrong_from_the_start_is_said_at_once(
    trust: Trust, worker: WorkerProcess, bundles: Bundles, tmp_path: Path
) -> None:
    bundle = bundles["ladder"]
    trusting = ClientSecurity(is_tls=True, ca_file=trust.authority.file)
    wrong = ClientSecurity(is_tls=True, ca_file=trust.authority.file, token_file=put(tmp_path / "wrong", "other"))
    stranger = ClientSecurity(is_tls=True, ca_file=Authority(tmp_path, "stranger").file)
    missing = ClientSecurity(is_tls=True, ca_file=trust.authority.file, token_file=tmp_path / "none")
    for security, kind, says in [
        (trusting, WorkerRefused, "none was sent; give a token"),
        (wrong, WorkerRefused, "the token is not one that is taken"),
        (stranger, NotTrusted, "does not come from the authorities in"),
        (ClientSecurity(), NotTrusted, "it speaks TLS"),
        (missing, NotSecured, "none: No such file"),
    ]:
        with pytest.raises(kind, match=says), edge.Session(bundle, cloud=worker.target, cut="cloud", security=security):
            pass
    with pytest.raises(NotSecured, match="in plain text"), edge.Session(bundle, cloud="192.0.2.1:9", cut="cloud"):
        pass


@pytest.mark.row(7)
@pytest.mark.timeout(600)
def test_one_flipped_bit_under_tls_costs_the_connection_and_no_frame(
    trust: Trust, worker: WorkerProcess, bundles: Bundles, oracle: Callable[[Bundle], Oracle], figure: Figure
) -> None:
    bundle, count = bundles["ladder"], 40 if IS_FULL else 4
    quick = Timeouts(redial_s=0.05, redial_max_s=0.1)
    with (
        Relay(worker.address) as relay,
        edge.Session(
            bundle, cloud=relay.address, cut="after:first", security=trust.security, timeouts=quick
        ) as session,
    ):
        asking = Asking(session, bundle)
        asking.until("split")
        before = session.counters()["losses"]
        for number in range(count):
            fault = Faults(flip_bit=8 * 40 * (number + 1) + number % 8)
            relay.spoil(**{("up", "down")[number % 2]: fault})
            asking.ask(1)
            relay.spoil()
            asking.until("split")
        lost = session.counters()["losses"] - before
    verdict = judge(asking.history, oracle(bundle))
    assert verdict.is_clean, str(verdict)
    assert lost >= count // 2
    figure(f"under TLS {count} bits cost {lost} connections and no frame: {verdict}")
