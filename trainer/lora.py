"""Loads the base model, quantized, and puts LoRA on it; writes the adapter in PEFT's own format.

Must not upcast the frozen weights (PEFT's k-bit preparation does, and costs gigabytes), run a model's own code, or
read weights in any format but safetensors. Precision follows the compute capability, because emulated bfloat16
calls itself supported.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from .contract import ConfigError, ExitCode, TrainerConfig
from .errors import ModelError, exit_code_for

BF16_CAPABILITY = (8, 0)  # Ampere; older cards emulate it
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
LABELS_FILE = "labels.json"
UNQUANTIZED = ["lm_head", "score", "classifier"]  # output heads; the two last ones are trained


def precision() -> str:
    """fp32 on a CPU, bf16 where the card has it, else fp16."""
    if not torch.cuda.is_available():
        return "fp32"
    return "bf16" if torch.cuda.get_device_capability() >= BF16_CAPABILITY else "fp16"


def device_name() -> str:
    """The card's name, or cpu."""
    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else "cpu"


def compute_dtype() -> Any:
    """The dtype of frozen weights and activations."""
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision()]


def load_tokenizer(folder: Path, config: TrainerConfig) -> Any:
    """The model's tokenizer, padding on the right, with a pad token for classification. Raises ModelError."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    except Exception as error:  # any library error here means the same: no usable tokenizer
        raise ModelError(f"{config.model}: its tokenizer cannot be loaded: {error}") from error
    tokenizer.padding_side = "right"
    if tokenizer.pad_token_id is None and tokenizer.eos_token_id is not None:
        tokenizer.pad_token = tokenizer.eos_token  # the mask hides it; a new token would grow the embedding
    if config.task == "classification" and tokenizer.pad_token_id is None:
        raise ModelError(f"{config.model}: its tokenizer has neither a pad token nor an end token, and a classification needs one")
    return tokenizer


def load_model(folder: Path, config: TrainerConfig, tokenizer: Any) -> Any:
    """The base model with trainable LoRA on it, in training mode. Raises ModelError, ConfigError."""
    torch.manual_seed(config.training.seed)  # a new score head, and LoRA's A, are random
    try:
        base = _base_model(folder, config)
    except Exception as error:
        if exit_code_for(error) is ExitCode.OUT_OF_MEMORY:
            raise
        raise ModelError(f"{config.model}: cannot be loaded: {type(error).__name__}: {error}") from error
    if config.task == "classification":
        base.config.pad_token_id = tokenizer.pad_token_id
    for module in base.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # it repacks weights while evaluating, and training would see that
    model = _with_lora(base, config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # fp16 gradients underflow, and the scaler refuses bf16 ones
    if config.training.gradient_checkpointing:
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    base.config.use_cache = False
    model.train()
    return model


def _base_model(folder: Path, config: TrainerConfig) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    options: dict[str, Any] = {
        "dtype": compute_dtype(),
        "attn_implementation": "sdpa",
        "use_safetensors": True,
        "trust_remote_code": False,
        "device_map": {"": 0 if torch.cuda.is_available() else "cpu"},
    }
    if config.quantization != "none":
        options["quantization_config"] = _quantization(config)
    if config.task != "classification":
        return AutoModelForCausalLM.from_pretrained(str(folder), **options)
    return AutoModelForSequenceClassification.from_pretrained(
        str(folder),
        num_labels=len(config.labels),
        id2label=dict(enumerate(config.labels)),
        label2id={label: index for index, label in enumerate(config.labels)},
        **options,
    )


def _quantization(config: TrainerConfig) -> Any:
    from transformers import BitsAndBytesConfig

    if config.quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=UNQUANTIZED)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=config.quantization == "nf4-double",
        bnb_4bit_compute_dtype=compute_dtype(),
        llm_int8_skip_modules=UNQUANTIZED,
    )


def _with_lora(base: Any, config: TrainerConfig) -> Any:
    import peft

    lora = config.lora
    targets = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    settings = peft.LoraConfig(
        task_type="SEQ_CLS" if config.task == "classification" else "CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        modules_to_save=list(lora.modules_to_save) or None,
    )
    try:
        model = peft.get_peft_model(base, settings)
    except ValueError as error:
        raise ConfigError(f"lora: {error}") from error
    adapter = model.peft_config["default"]
    adapter.base_model_name_or_path = config.model  # what the user knows it by, not a cache path of this machine
    adapter.revision = None
    return model


def save_weights(model: Any, folder: Path) -> None:
    """Write adapter weights and settings as PEFT would, with the same bytes every time."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    # Without save_embedding_layers PEFT may ask the Hub whether the vocabulary was resized.
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    save_file(tensors, str(folder / ADAPTER_WEIGHTS), metadata={"format": "pt"})
    settings = model.peft_config["default"].to_dict()
    settings["inference_mode"] = True
    body = {key: sorted(value) if isinstance(value, set | list) else value for key, value in settings.items()}
    (folder / ADAPTER_CONFIG).write_text(json.dumps(body, indent=2, sort_keys=True, default=str) + "\n", encoding="utf-8")


def load_weights(model: Any, folder: Path) -> None:
    """Put saved adapter weights into the model. Raises ConfigError when they do not fit it."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    result = set_peft_model_state_dict(model, load_file(str(folder / ADAPTER_WEIGHTS)))
    missing = [name for name in result.missing_keys if "lora_" in name or "modules_to_save" in name]
    if missing or result.unexpected_keys:
        named = (missing + list(result.unexpected_keys))[0]
        raise ConfigError(f"{folder.name}: its adapter does not fit the model ({named})")


def labels_json(labels: tuple[str, ...]) -> str:
    """The classes of a classification adapter, for whoever loads it."""
    pairs = list(enumerate(labels))
    body = {"id2label": {str(i): label for i, label in pairs}, "label2id": {label: i for i, label in pairs}}
    return json.dumps(body, ensure_ascii=False, indent=1) + "\n"
