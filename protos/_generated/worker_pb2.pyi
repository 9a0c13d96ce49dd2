# mypy: disable-error-code="type-arg"
from protos._generated import plan_pb2 as _plan_pb2
from protos._generated import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Code(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CODE_UNSPECIFIED: _ClassVar[Code]
    CODE_INVALID: _ClassVar[Code]
    CODE_UNKNOWN_MODEL: _ClassVar[Code]
    CODE_UNKNOWN_PLAN: _ClassVar[Code]
    CODE_TOO_LARGE: _ClassVar[Code]
    CODE_CORRUPT: _ClassVar[Code]
    CODE_OVERLOADED: _ClassVar[Code]
    CODE_DEADLINE: _ClassVar[Code]
    CODE_CANCELLED: _ClassVar[Code]
    CODE_INTERNAL: _ClassVar[Code]
    CODE_UNSUPPORTED: _ClassVar[Code]
    CODE_DRAINING: _ClassVar[Code]
    CODE_UNAUTHENTICATED: _ClassVar[Code]
CODE_UNSPECIFIED: Code
CODE_INVALID: Code
CODE_UNKNOWN_MODEL: Code
CODE_UNKNOWN_PLAN: Code
CODE_TOO_LARGE: Code
CODE_CORRUPT: Code
CODE_OVERLOADED: Code
CODE_DEADLINE: Code
CODE_CANCELLED: Code
CODE_INTERNAL: Code
CODE_UNSUPPORTED: Code
CODE_DRAINING: Code
CODE_UNAUTHENTICATED: Code

class ToWorker(_message.Message):
    __slots__ = ("hello", "propose", "run", "chunk", "ack", "cancel", "heartbeat", "probe")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    PROPOSE_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    PROBE_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    propose: Propose
    run: Run
    chunk: Chunk
    ack: Ack
    cancel: Cancel
    heartbeat: Heartbeat
    probe: Probe
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., propose: _Optional[_Union[Propose, _Mapping]] = ..., run: _Optional[_Union[Run, _Mapping]] = ..., chunk: _Optional[_Union[Chunk, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., cancel: _Optional[_Union[Cancel, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., probe: _Optional[_Union[Probe, _Mapping]] = ...) -> None: ...

class ToEdge(_message.Message):
    __slots__ = ("welcome", "ready", "result", "chunk", "ack", "failed", "heartbeat", "probe", "drain")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    PROBE_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    ready: Ready
    result: Result
    chunk: Chunk
    ack: Ack
    failed: Failed
    heartbeat: Heartbeat
    probe: Probe
    drain: Drain
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., ready: _Optional[_Union[Ready, _Mapping]] = ..., result: _Optional[_Union[Result, _Mapping]] = ..., chunk: _Optional[_Union[Chunk, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., failed: _Optional[_Union[Failed, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., probe: _Optional[_Union[Probe, _Mapping]] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("protocol_version", "session_id", "client", "codecs", "takes_inline_results")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    CODECS_FIELD_NUMBER: _ClassVar[int]
    TAKES_INLINE_RESULTS_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    session_id: str
    client: str
    codecs: _containers.RepeatedScalarFieldContainer[str]
    takes_inline_results: bool
    def __init__(self, protocol_version: _Optional[int] = ..., session_id: _Optional[str] = ..., client: _Optional[str] = ..., codecs: _Optional[_Iterable[str]] = ..., takes_inline_results: bool = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("protocol_version", "worker", "codecs", "models", "max_frame_bytes", "liveness_s")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    CODECS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    LIVENESS_S_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    worker: str
    codecs: _containers.RepeatedScalarFieldContainer[str]
    models: _containers.RepeatedCompositeFieldContainer[ModelInfo]
    max_frame_bytes: int
    liveness_s: float
    def __init__(self, protocol_version: _Optional[int] = ..., worker: _Optional[str] = ..., codecs: _Optional[_Iterable[str]] = ..., models: _Optional[_Iterable[_Union[ModelInfo, _Mapping]]] = ..., max_frame_bytes: _Optional[int] = ..., liveness_s: _Optional[float] = ...) -> None: ...

class ModelInfo(_message.Message):
    __slots__ = ("digest", "name", "ready", "reason", "runtime")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    digest: str
    name: str
    ready: bool
    reason: str
    runtime: str
    def __init__(self, digest: _Optional[str] = ..., name: _Optional[str] = ..., ready: bool = ..., reason: _Optional[str] = ..., runtime: _Optional[str] = ...) -> None: ...

class Propose(_message.Message):
    __slots__ = ("plan_id", "plan")
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    plan_id: str
    plan: _plan_pb2.Plan
    def __init__(self, plan_id: _Optional[str] = ..., plan: _Optional[_Union[_plan_pb2.Plan, _Mapping]] = ...) -> None: ...

class Ready(_message.Message):
    __slots__ = ("plan_id", "prepare_s")
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    PREPARE_S_FIELD_NUMBER: _ClassVar[int]
    plan_id: str
    prepare_s: float
    def __init__(self, plan_id: _Optional[str] = ..., prepare_s: _Optional[float] = ...) -> None: ...

class State(_message.Message):
    __slots__ = ("id", "version")
    ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    id: str
    version: int
    def __init__(self, id: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class Run(_message.Message):
    __slots__ = ("frame_id", "plan_id", "stage", "deadline_left_s", "tensors", "payload_bytes", "state")
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_LEFT_S_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    frame_id: int
    plan_id: str
    stage: int
    deadline_left_s: float
    tensors: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.TensorHeader]
    payload_bytes: int
    state: State
    def __init__(self, frame_id: _Optional[int] = ..., plan_id: _Optional[str] = ..., stage: _Optional[int] = ..., deadline_left_s: _Optional[float] = ..., tensors: _Optional[_Iterable[_Union[_tensor_pb2.TensorHeader, _Mapping]]] = ..., payload_bytes: _Optional[int] = ..., state: _Optional[_Union[State, _Mapping]] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("frame_id", "offset_bytes", "data")
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_BYTES_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    frame_id: int
    offset_bytes: int
    data: bytes
    def __init__(self, frame_id: _Optional[int] = ..., offset_bytes: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("frame_id", "received_bytes")
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    frame_id: int
    received_bytes: int
    def __init__(self, frame_id: _Optional[int] = ..., received_bytes: _Optional[int] = ...) -> None: ...

class Cancel(_message.Message):
    __slots__ = ("frame_id",)
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    frame_id: int
    def __init__(self, frame_id: _Optional[int] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("frame_id", "tensors", "payload_bytes", "timings", "load", "payload")
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    frame_id: int
    tensors: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.TensorHeader]
    payload_bytes: int
    timings: Timings
    load: Load
    payload: bytes
    def __init__(self, frame_id: _Optional[int] = ..., tensors: _Optional[_Iterable[_Union[_tensor_pb2.TensorHeader, _Mapping]]] = ..., payload_bytes: _Optional[int] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ..., load: _Optional[_Union[Load, _Mapping]] = ..., payload: _Optional[bytes] = ...) -> None: ...

class Timings(_message.Message):
    __slots__ = ("receive_s", "decode_s", "queue_s", "preprocess_s", "compute_s", "encode_s")
    RECEIVE_S_FIELD_NUMBER: _ClassVar[int]
    DECODE_S_FIELD_NUMBER: _ClassVar[int]
    QUEUE_S_FIELD_NUMBER: _ClassVar[int]
    PREPROCESS_S_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_S_FIELD_NUMBER: _ClassVar[int]
    ENCODE_S_FIELD_NUMBER: _ClassVar[int]
    receive_s: float
    decode_s: float
    queue_s: float
    preprocess_s: float
    compute_s: float
    encode_s: float
    def __init__(self, receive_s: _Optional[float] = ..., decode_s: _Optional[float] = ..., queue_s: _Optional[float] = ..., preprocess_s: _Optional[float] = ..., compute_s: _Optional[float] = ..., encode_s: _Optional[float] = ...) -> None: ...

class Load(_message.Message):
    __slots__ = ("queued_frames", "busy_ratio", "job_s", "others_busy_ratio", "others_queued_frames")
    QUEUED_FRAMES_FIELD_NUMBER: _ClassVar[int]
    BUSY_RATIO_FIELD_NUMBER: _ClassVar[int]
    JOB_S_FIELD_NUMBER: _ClassVar[int]
    OTHERS_BUSY_RATIO_FIELD_NUMBER: _ClassVar[int]
    OTHERS_QUEUED_FRAMES_FIELD_NUMBER: _ClassVar[int]
    queued_frames: int
    busy_ratio: float
    job_s: float
    others_busy_ratio: float
    others_queued_frames: int
    def __init__(self, queued_frames: _Optional[int] = ..., busy_ratio: _Optional[float] = ..., job_s: _Optional[float] = ..., others_busy_ratio: _Optional[float] = ..., others_queued_frames: _Optional[int] = ...) -> None: ...

class Failed(_message.Message):
    __slots__ = ("frame_id", "plan_id", "code", "detail", "retry_after_s", "load")
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_S_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    frame_id: int
    plan_id: str
    code: Code
    detail: str
    retry_after_s: float
    load: Load
    def __init__(self, frame_id: _Optional[int] = ..., plan_id: _Optional[str] = ..., code: _Optional[_Union[Code, str]] = ..., detail: _Optional[str] = ..., retry_after_s: _Optional[float] = ..., load: _Optional[_Union[Load, _Mapping]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...

class Probe(_message.Message):
    __slots__ = ("probe_id", "data", "reply_bytes", "received_bytes")
    PROBE_ID_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    REPLY_BYTES_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    probe_id: int
    data: bytes
    reply_bytes: int
    received_bytes: int
    def __init__(self, probe_id: _Optional[int] = ..., data: _Optional[bytes] = ..., reply_bytes: _Optional[int] = ..., received_bytes: _Optional[int] = ...) -> None: ...

class Drain(_message.Message):
    __slots__ = ("reason", "grace_s")
    REASON_FIELD_NUMBER: _ClassVar[int]
    GRACE_S_FIELD_NUMBER: _ClassVar[int]
    reason: str
    grace_s: float
    def __init__(self, reason: _Optional[str] = ..., grace_s: _Optional[float] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("worker", "protocol_version", "models", "sessions", "load", "frames_answered", "frames_failed", "uptime_s", "draining", "counters")
    class CountersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    WORKER_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    FRAMES_ANSWERED_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FAILED_FIELD_NUMBER: _ClassVar[int]
    UPTIME_S_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    worker: str
    protocol_version: int
    models: _containers.RepeatedCompositeFieldContainer[ModelInfo]
    sessions: int
    load: Load
    frames_answered: int
    frames_failed: int
    uptime_s: float
    draining: bool
    counters: _containers.ScalarMap[str, int]
    def __init__(self, worker: _Optional[str] = ..., protocol_version: _Optional[int] = ..., models: _Optional[_Iterable[_Union[ModelInfo, _Mapping]]] = ..., sessions: _Optional[int] = ..., load: _Optional[_Union[Load, _Mapping]] = ..., frames_answered: _Optional[int] = ..., frames_failed: _Optional[int] = ..., uptime_s: _Optional[float] = ..., draining: bool = ..., counters: _Optional[_Mapping[str, int]] = ...) -> None: ...

class ProfileRequest(_message.Message):
    __slots__ = ("model_digest", "budget_s", "binding", "fresh")
    class BindingEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    BUDGET_S_FIELD_NUMBER: _ClassVar[int]
    BINDING_FIELD_NUMBER: _ClassVar[int]
    FRESH_FIELD_NUMBER: _ClassVar[int]
    model_digest: str
    budget_s: float
    binding: _containers.ScalarMap[str, int]
    fresh: bool
    def __init__(self, model_digest: _Optional[str] = ..., budget_s: _Optional[float] = ..., binding: _Optional[_Mapping[str, int]] = ..., fresh: bool = ...) -> None: ...

class ProfileUpdate(_message.Message):
    __slots__ = ("progress", "document")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    progress: float
    document: bytes
    def __init__(self, progress: _Optional[float] = ..., document: _Optional[bytes] = ...) -> None: ...
