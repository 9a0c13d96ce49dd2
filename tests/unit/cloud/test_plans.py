from __future__ import annotations

import pytest
from loopback import DIGEST, plan_for, plan_message

from cloud.config import Config, address
from cloud.plans import read_plan
from partitioner.plan import SOURCE, Plan, Segment, Stage
from protos import messages as pb
from protos.errors import InvalidMessage, TooLarge, Unsupported, WireError
from protos.pictures import PICTURES
from protos.security import is_loopback

CONFIG = Config(max_names=8, max_stages=4)


def proposal(plan: Plan) -> pb.Propose:
    return pb.Propose(plan_id=plan.plan_id, plan=plan_message(plan))


@pytest.mark.parametrize("codec", ["none", "int8+zstd"])
def test_a_plan_crosses_with_its_identity(codec):
    plan = plan_for(codec=codec)
    back = read_plan(proposal(plan), CONFIG)
    assert back.plan_id == plan.plan_id
    assert back.stages[1].segment == plan.stages[1].segment


def test_a_preprocessing_stage_crosses():
    segment = Segment(model_digest=DIGEST, inputs=(), outputs=("y",), preprocess=True)
    plan = Plan(model_digest=DIGEST, stages=(Stage(place="cloud", segment=segment),))
    assert read_plan(proposal(plan), CONFIG).stages[0].segment.preprocess


def all_cloud(codec: str, *, name: str = SOURCE) -> Plan:
    stages = (
        Stage(
            place="edge", segment=Segment(model_digest=DIGEST, inputs=(name,), outputs=(name,)), codecs={name: codec}
        ),
        Stage(place="cloud", segment=Segment(model_digest=DIGEST, inputs=(), outputs=("y",), preprocess=True)),
    )
    return Plan(model_digest=DIGEST, stages=stages)


@pytest.mark.parametrize("codec", PICTURES)
def test_a_picture_may_be_reencoded_and_a_tensor_may_not(codec):
    plan = all_cloud(codec)
    assert read_plan(proposal(plan), CONFIG).stages[0].codecs == {SOURCE: codec}
    with pytest.raises(Unsupported, match="no codec"):
        read_plan(proposal(all_cloud(codec, name="x")), CONFIG)


def broken(**changes: object) -> pb.Propose:
    message = proposal(plan_for())
    stage = message.plan.stages[1]
    if "plan_id" in changes:
        message.plan_id = str(changes["plan_id"])
    if "digest" in changes:
        message.plan.model_digest = str(changes["digest"])
    if "place" in changes:
        stage.place = changes["place"]  # type: ignore[assignment]
    if "outputs" in changes:
        stage.segment.outputs[:] = changes["outputs"]  # type: ignore[index]
    if "codec" in changes:
        stage.codecs["y"] = str(changes["codec"])
    if "stages" in changes:
        del message.plan.stages[:]
        message.plan.stages.extend([stage] * int(str(changes["stages"])))
    return message


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"plan_id": "0" * 32}, InvalidMessage),
        ({"plan_id": ""}, InvalidMessage),
        ({"digest": "../../etc/passwd"}, InvalidMessage),
        ({"digest": "e" * 64}, InvalidMessage),
        ({"place": 0}, InvalidMessage),
        ({"place": 7}, InvalidMessage),
        ({"outputs": ["y", "y"]}, InvalidMessage),
        ({"outputs": [""]}, InvalidMessage),
        ({"outputs": [str(index) for index in range(9)]}, TooLarge),
        ({"outputs": ["x" * 10_000]}, TooLarge),
        ({"codec": "pickle"}, Unsupported),
        ({"stages": 0}, TooLarge),
        ({"stages": 5}, TooLarge),
    ],
    ids=str,
)
def test_a_plan_that_lies_is_refused(changes, kind):
    with pytest.raises(kind):
        read_plan(broken(**changes), CONFIG)


def test_an_empty_proposal_is_refused():
    with pytest.raises(WireError):
        read_plan(pb.Propose(), CONFIG)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "::1", "[::1]"])
def test_this_machine_is_this_machine(host):
    assert is_loopback(host)
    assert Config(host=host).is_loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org", ""])
def test_others_are_not_this_machine(host):
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("host", "written"),
    [
        ("127.0.0.1", "127.0.0.1:7"),
        ("localhost", "localhost:7"),
        ("::1", "[::1]:7"),
        ("[::1]", "[::1]:7"),
        ("::", "[::]:7"),
    ],
)
def test_an_address_is_written_as_it_is_dialled(host, written):
    assert address(host, 7) == written
