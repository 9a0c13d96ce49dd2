# mypy: disable-error-code="type-arg"
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Place(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PLACE_UNSPECIFIED: _ClassVar[Place]
    PLACE_EDGE: _ClassVar[Place]
    PLACE_CLOUD: _ClassVar[Place]
PLACE_UNSPECIFIED: Place
PLACE_EDGE: Place
PLACE_CLOUD: Place

class Segment(_message.Message):
    __slots__ = ("inputs", "outputs", "preprocess")
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    PREPROCESS_FIELD_NUMBER: _ClassVar[int]
    inputs: _containers.RepeatedScalarFieldContainer[str]
    outputs: _containers.RepeatedScalarFieldContainer[str]
    preprocess: bool
    def __init__(self, inputs: _Optional[_Iterable[str]] = ..., outputs: _Optional[_Iterable[str]] = ..., preprocess: bool = ...) -> None: ...

class Stage(_message.Message):
    __slots__ = ("place", "segment", "codecs")
    class CodecsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PLACE_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    CODECS_FIELD_NUMBER: _ClassVar[int]
    place: Place
    segment: Segment
    codecs: _containers.ScalarMap[str, str]
    def __init__(self, place: _Optional[_Union[Place, str]] = ..., segment: _Optional[_Union[Segment, _Mapping]] = ..., codecs: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Plan(_message.Message):
    __slots__ = ("model_digest", "stages")
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    model_digest: str
    stages: _containers.RepeatedCompositeFieldContainer[Stage]
    def __init__(self, model_digest: _Optional[str] = ..., stages: _Optional[_Iterable[_Union[Stage, _Mapping]]] = ...) -> None: ...
