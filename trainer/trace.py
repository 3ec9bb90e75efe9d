"""Peak memory of one training step of a real model, traced with fake tensors: no weights, no GPU, a few CPU seconds.

``python -P -m trainer.trace CONFIG.json`` prints one JSON document. The model is built with two and with four layers, one
step of each is run under ``FakeTensorMode`` while every storage's life is followed, and the rest follows from the
difference: layers are alike, so bytes are a straight line in their number (checked to the byte on Llama-3-8B).

Fake tensors live on a fake ``cpu`` (a fake ``cuda`` needs a CUDA build). What is kept for backward is the same there; what
a CUDA library takes for itself is not seen: add the context and the allocator's cache. Must not import ``orchestrator``.

``CONFIG.json``::

    {"model": {config.json as a dict} | "folder", "quantization": "nf4|nf4-double|none", "dtype": "bfloat16",
     "method": "lora|full", "r": 16, "dropout": 0.0, "target_modules": "all-linear" | [...], "micro_batch": 1, "length": 512,
     "gradient_checkpointing": true, "answer_tokens": null, "accumulation": 1, "optim": "paged_adamw_8bit",
     "loss": "answer|full"}
"""

from __future__ import annotations

import copy
import json
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

try:
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_iter
    from torch.utils.checkpoint import checkpoint

    from .heads import CHUNK_POSITIONS
except ModuleNotFoundError as missing:
    if __name__ != "__main__":
        raise
    print(json.dumps({"ok": False, "error": f"the trace needs torch, transformers and peft: {missing}"}))
    raise SystemExit(1) from None

_FEW, _SOME = 2, 4


class Followed(TorchDispatchMode):  # type: ignore[misc]  # torch's types are not followed
    """Follows every storage that an operation makes, from birth to death. Bytes as the CUDA allocator rounds them."""

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peaks = {"forward": 0, "backward": 0}
        self.phase = "forward"
        self._seen: dict[int, int] = {}

    def adopt(self, tensor: torch.Tensor) -> None:
        """Start following the storage of a tensor that already exists."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._seen or (tensor.device.type == "meta" and not hasattr(tensor, "fake_device")):
            return
        size = -(-storage.nbytes() // 512) * 512
        self._seen[key] = size
        self.live += size
        self.peaks[self.phase] = max(self.peaks[self.phase], self.live)
        weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self.live -= self._seen.pop(key, 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, then follow what it returned."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_iter(result):
            if isinstance(leaf, torch.Tensor):
                self.adopt(leaf)
        return result


@dataclass(frozen=True, kw_only=True)
class Step:
    """Bytes of one traced step."""

    resident: int  # weights, adapters and quantization constants
    gradients: int
    trained: int  # elements
    forward: int  # highest until the last layer's backward begins, resident included
    backward: int  # highest after that
    optimizer: int


class _Product(torch.autograd.Function):  # type: ignore[misc]
    """What bitsandbytes' MatMul4Bit does to memory: the weight dequantized for the product, nothing but the packed weight kept."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: Any) -> torch.Tensor:
        """x @ W with W made for the occasion."""
        ctx.layer = layer
        return torch.nn.functional.linear(x, layer.dequantized(x.dtype), layer.bias)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[torch.Tensor, None]:
        """The input's gradient; the frozen weight has none."""
        return grads[0] @ ctx.layer.dequantized(grads[0].dtype), None


def _quantized_class() -> Any:
    """A Linear4bit whose packed weight is a fake tensor (Params4bit itself cannot be one), so that PEFT takes it for its own."""
    import bitsandbytes as bnb

    class FakeLinear4bit(bnb.nn.Linear4bit):  # type: ignore[misc]  # bitsandbytes has no types
        def __init__(self, like: Any, dtype: torch.dtype, *, double: bool) -> None:
            torch.nn.Module.__init__(self)
            rows, columns = like.weight.shape if isinstance(like, torch.nn.Linear) else reversed(like.weight.shape)  # GPT-2's is turned
            self.in_features, self.out_features, self.compute_dtype = columns, rows, dtype
            elements = rows * columns
            packed: Any = torch.nn.Parameter(torch.empty(-(-elements // 2), 1, dtype=torch.uint8), requires_grad=False)
            packed.compress_statistics, packed.quant_type, packed.quant_state = double, "nf4", None
            self.weight, self.bias = packed, like.bias
            blocks = -(-elements // 64)
            constants = torch.empty(blocks, dtype=torch.uint8 if double else torch.float32)
            self.register_buffer("absmax", constants, persistent=False)
            if double:
                self.register_buffer("absmax2", torch.empty(-(-blocks // 256), dtype=torch.float32), persistent=False)

        def dequantized(self, dtype: torch.dtype) -> torch.Tensor:
            return torch.empty(self.out_features, self.in_features, dtype=dtype)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            given = x.dtype
            with torch.autocast("cpu", enabled=False):
                result: torch.Tensor = _Product.apply(x.to(self.compute_dtype), self)
            return result.to(given)

    return FakeLinear4bit


def _quantize(model: Any, dtype: torch.dtype, *, double: bool) -> None:
    """Replace every linear layer but the head by a 4-bit one."""
    made = _quantized_class()
    head = model.get_output_embeddings()
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__ in ("Linear", "Conv1D") and child is not head and name not in ("score", "classifier"):
                setattr(parent, name, made(child, dtype, double=double))
    model.is_loaded_in_4bit = True


def _replace_parameters(module: torch.nn.Module, convert: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> torch.nn.Module:
    """``Module._apply`` that makes new parameters: torch's own swaps tensors in place, which fake tensors refuse."""
    if recurse:
        for child in module.children():
            _replace_parameters(child, convert)
    for name, parameter in module._parameters.items():
        if parameter is not None:
            module._parameters[name] = torch.nn.Parameter(convert(parameter.data), requires_grad=parameter.requires_grad)
    for name, tensor in module._buffers.items():
        if tensor is not None:
            module._buffers[name] = convert(tensor)
    return module


def _model(settings: dict[str, Any], layers: int) -> Any:
    """The model with this many layers, adapters on, as fake tensors."""
    from transformers import AutoConfig, AutoModelForCausalLM

    source = settings["model"]
    if isinstance(source, str):
        config = AutoConfig.from_pretrained(source, local_files_only=True)
    else:
        values = dict(source)
        config = AutoConfig.for_model(values.pop("model_type"), **values)
    _shorten(config, layers)
    for name in ("attention_dropout", "attn_pdrop", "attention_probs_dropout_prob"):  # done inside the kernel on a GPU
        if hasattr(config, name):
            setattr(config, name, 0.0)
    dtype = getattr(torch, settings.get("dtype", "bfloat16"))
    try:
        model = AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=dtype, attn_implementation="sdpa")
    except ValueError:  # an architecture without fused attention (Bloom): its own
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.config.use_cache = False
    if settings.get("method", "lora") == "full":
        return model
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    quantization = settings.get("quantization", "none")
    if quantization.startswith("nf4"):
        _quantize(model, dtype, double=quantization == "nf4-double")
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(
        r=settings.get("r", 16), lora_alpha=32, lora_dropout=settings.get("dropout", 0.0), task_type="CAUSAL_LM",
        target_modules=settings.get("target_modules", "all-linear"),
    )  # fmt: skip
    with mock.patch.object(torch.nn.Module, "_apply", _replace_parameters):
        wrapped = get_peft_model(model, lora)
    for parameter in wrapped.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return wrapped


def _shorten(config: Any, layers: int) -> None:
    """Fewer layers, of every per-layer list too."""
    inner = getattr(config, "text_config", None) or config
    for name in ("num_hidden_layers", "n_layer", "n_layers"):
        if hasattr(inner, name):
            setattr(inner, name, layers)
    derived = isinstance(getattr(type(inner), "layer_types", None), property)  # from the number of layers (Mamba)
    if getattr(inner, "layer_types", None) and not derived:
        inner.layer_types = list(inner.layer_types)[:layers]


def _loss(settings: dict[str, Any], model: Any, ids: torch.Tensor, begin_backward: Callable[[], None]) -> torch.Tensor:
    """The trainer's loss: fp32 cross-entropy, over all positions or over those that carry loss."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    hidden = base.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
    hidden.register_hook(lambda _: begin_backward())
    flat = hidden.reshape(-1, hidden.shape[-1])
    wanted = settings.get("answer_tokens") if settings.get("loss", "answer") == "answer" else None
    cap = getattr(getattr(base.config, "text_config", None) or base.config, "final_logit_softcapping", None)
    if cap:  # the whole model's forward, as heads.py then uses: every position has logits, and tanh keeps its output
        logits = (torch.tanh(base.get_output_embeddings()(flat) / cap) * cap)[: int(wanted or flat.shape[0])]
    else:
        flat, head = flat[: int(wanted or flat.shape[0])], base.get_output_embeddings()
        if settings.get("loss", "answer") == "answer" and flat.shape[0] > CHUNK_POSITIONS:
            return _chunked_loss(head, flat)
        logits = head(flat)
    targets = torch.zeros(logits.shape[0], dtype=torch.long)
    return torch.nn.functional.cross_entropy(logits.float(), targets)


def _chunked_loss(head: Any, flat: torch.Tensor) -> torch.Tensor:
    """As heads.py does it: logits of some positions at a time, made again in backward."""

    def chunk(part: torch.Tensor) -> torch.Tensor:
        targets = torch.zeros(part.shape[0], dtype=torch.long)
        return torch.nn.functional.cross_entropy(head(part).float(), targets, reduction="none")

    parts = flat.split(CHUNK_POSITIONS)
    return torch.cat([checkpoint(chunk, part, use_reentrant=False) for part in parts]).mean()


def _state_bytes(name: str, parameter: torch.Tensor) -> int:
    """Optimizer state that one trained tensor needs on the card (bitsandbytes and torch; see their sources)."""
    elements, each = int(parameter.numel()), int(parameter.element_size())
    if name.startswith("paged") and elements >= 100_000:
        return 0
    if name.endswith("8bit") and elements >= 4096:
        return 2 * elements + 8 * (elements // 256)
    return 8 * elements if name.endswith(("8bit", "32bit")) else 2 * elements * each


@contextmanager
def _as_on_a_gpu(*, autocast: bool, padded: bool) -> Iterator[None]:
    """PEFT asks for CUDA's autocast, and transformers builds a mask whenever it is traced: answer as on a GPU.

    Without padding no mask is built there, and grouped keys and values are not repeated. A question about the CPU gets
    the true answer: ``torch.autocast`` asks it on entry, and puts that back when it ends.
    """
    import transformers.masking_utils as masking

    truly = torch.is_autocast_enabled

    def answer(device: str = "cuda") -> bool:
        return truly(device) if device == "cpu" else autocast

    with mock.patch.object(torch, "is_autocast_enabled", answer):
        if padded or not hasattr(masking, "is_tracing") or not hasattr(masking, "find_packed_sequence_indices"):
            yield
            return
        untraced = mock.patch.object(masking, "is_tracing", lambda tensor=None: tensor is not None)
        unpacked = mock.patch.object(masking, "find_packed_sequence_indices", lambda *_: None)
        with untraced, unpacked:
            yield


def trace_step(settings: dict[str, Any], layers: int) -> Step:
    """One step of the model with this many layers."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        model = _model(settings, layers)
        followed = Followed()
        for tensor in _held(model):
            followed.adopt(tensor)
        resident = followed.live
        model.train()
        if settings.get("gradient_checkpointing", True):
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            if hasattr(model, "enable_input_require_grads"):
                model.enable_input_require_grads()
        ids = torch.zeros((settings.get("micro_batch", 1), settings.get("length", 512)), dtype=torch.long)
        half = getattr(torch, settings.get("dtype", "bfloat16"))

        def begin_backward() -> None:
            followed.phase = "backward"

        autocast = settings.get("autocast", True)
        with followed, _as_on_a_gpu(autocast=autocast, padded=settings.get("padded", settings.get("micro_batch", 1) > 1)):
            for _ in range(min(2, settings.get("accumulation", 1))):  # the second finds the gradients of the first
                followed.phase = "forward"
                with torch.autocast("cpu", dtype=half, enabled=autocast):
                    loss = _loss(settings, model, ids, begin_backward)
                loss.backward()
                del loss
        trained = [p for p in model.parameters() if p.requires_grad]
        optim = settings.get("optim", "paged_adamw_8bit")
        return Step(
            resident=resident, gradients=sum(p.numel() * p.element_size() for p in trained), trained=sum(p.numel() for p in trained),
            forward=followed.peaks["forward"], backward=followed.peaks["backward"], optimizer=sum(_state_bytes(optim, p) for p in trained),
        )  # fmt: skip


def _held(model: Any) -> list[torch.Tensor]:
    """Weights, buffers and quantization constants."""
    return [t.data if isinstance(t, torch.nn.Parameter) else t for t in (*model.parameters(), *model.buffers())]


def extrapolate(few: Step, some: Step, layers: int) -> dict[str, Any]:
    """From two and four layers to all of them, each quantity a straight line."""

    def line(name: str) -> float:
        first, second = getattr(few, name), getattr(some, name)
        return float(first + (second - first) * (layers - _FEW) / (_SOME - _FEW))

    peaks = {"loss": line("forward"), "layer": line("backward")}
    moment = max(peaks, key=lambda name: peaks[name])
    return {
        "layers": layers,
        "peak_bytes": round(peaks[moment] + line("optimizer")),
        "moment": moment,
        "resident_bytes": round(line("resident")),
        "optimizer_bytes": round(line("optimizer")),
        "gradient_bytes": round(line("gradients")),
        "trained_parameters": round(line("trained")),
        "peak_bytes_by_moment": {name: round(value + line("optimizer")) for name, value in peaks.items()},
    }


def layer_count(settings: dict[str, Any]) -> int:
    """Layers of the whole model."""
    source = settings["model"]
    config = json.loads((Path(source) / "config.json").read_text(encoding="utf-8")) if isinstance(source, str) else source
    inner = config.get("text_config") or config
    for name in ("num_hidden_layers", "n_layer", "n_layers"):
        if isinstance(inner.get(name), int):
            return int(inner[name])
    raise ValueError("the config does not say how many layers the model has")


def trace(settings: dict[str, Any]) -> dict[str, Any]:
    """The whole trace. Raises what the model's own code raises for an impossible config."""
    layers = layer_count(settings)
    torch.manual_seed(0)
    return {"ok": True, "torch": torch.__version__, **extrapolate(trace_step(settings, _FEW), trace_step(settings, _SOME), layers)}


def main(arguments: list[str]) -> int:
    """``trainer.trace CONFIG.json``: JSON on standard output; 0 when traced, 1 with ``{"ok": false, "error": ...}``."""
    if len(arguments) != 1:
        print(json.dumps({"ok": False, "error": "usage: python -P -m trainer.trace CONFIG.json"}))
        return 1
    try:
        result = trace(json.loads(Path(arguments[0]).read_text(encoding="utf-8")))
    except Exception as error:
        print(json.dumps({"ok": False, "error": f"{type(error).__name__}: {error}"}))
        return 1
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
