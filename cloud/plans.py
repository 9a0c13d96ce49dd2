"""Plans as they come in: checked in full, and identified by the worker itself, never by what the client says."""

from __future__ import annotations

from cloud.config import Config
from partitioner.plan import SOURCE, Place, Plan, Segment, Stage
from protos import messages as pb
from protos.codecs import CODECS
from protos.errors import InvalidMessage, TooLarge, Unsupported
from protos.pictures import PICTURES

_DIGEST_CHARS = 64
_PLACES: dict[int, Place] = {pb.PLACE_EDGE: "edge", pb.PLACE_CLOUD: "cloud"}


def read_plan(proposal: pb.Propose, config: Config) -> Plan:
    """The plan that was proposed.

    Raises:
        InvalidMessage: it contradicts itself, or its id is not that of its content.
        TooLarge: it has more stages or names than the worker takes.
        Unsupported: it names a codec that the worker does not have.
    """
    message = proposal.plan
    if len(message.model_digest) != _DIGEST_CHARS:
        raise InvalidMessage("the plan names its model by something that is no SHA-256 digest")
    if not 0 < len(message.stages) <= config.max_stages:
        raise TooLarge(f"the plan has {len(message.stages)} stages; 1 to {config.max_stages} are taken")
    plan = Plan(
        model_digest=message.model_digest,
        stages=tuple(_read_stage(stage, message.model_digest, config) for stage in message.stages),
    )
    if plan.plan_id != proposal.plan_id:
        raise InvalidMessage(f"the plan's id is {plan.plan_id}, not {proposal.plan_id[:64]!r} as it says")
    return plan


def _read_stage(message: pb.Stage, digest: str, config: Config) -> Stage:
    place = _PLACES.get(message.place)
    if place is None:
        raise InvalidMessage("a stage names no place")
    inputs, outputs = tuple(message.segment.inputs), tuple(message.segment.outputs)
    names = (*inputs, *outputs, *message.codecs)
    if len(names) > config.max_names or any(len(name) > config.limits.max_name_chars for name in names):
        raise TooLarge(
            f"a stage has over {config.max_names} names, or one over {config.limits.max_name_chars} characters"
        )
    if len(set(inputs)) != len(inputs) or len(set(outputs)) != len(outputs) or "" in names:
        raise InvalidMessage("a stage names a tensor twice, or not at all")
    for name, codec in message.codecs.items():
        if codec not in CODECS and not (name == SOURCE and codec in PICTURES):
            raise Unsupported(f"there is no codec {codec[:40]!r} here; the codecs are {', '.join(CODECS)}")
    return Stage(
        place=place,
        segment=Segment(model_digest=digest, inputs=inputs, outputs=outputs, preprocess=message.segment.preprocess),
        codecs=dict(message.codecs),
    )
