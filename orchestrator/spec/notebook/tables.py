"""Names: where the notebook's spellings go in the job file, and which calls play which part. Data only."""

from __future__ import annotations

from typing import Final

# The job file's training keys, each with the spellings that notebooks use, the decisive one first.
TRAINING: Final[dict[str, tuple[str, ...]]] = {
    "num_train_epochs": ("num_train_epochs",),
    "max_steps": ("max_steps",),
    "per_device_train_batch_size": ("per_device_train_batch_size", "per_gpu_train_batch_size"),
    "gradient_accumulation_steps": ("gradient_accumulation_steps",),
    "learning_rate": ("learning_rate",),
    "lr_scheduler_type": ("lr_scheduler_type",),
    "packing": ("packing",),
    "optim": ("optim",),
    "seed": ("seed",),
    "weight_decay": ("weight_decay",),
    "max_grad_norm": ("max_grad_norm",),
    "save_steps": ("save_steps",),
}
NUMBERS: Final = frozenset([
    "num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate", "seed",
    "weight_decay", "max_grad_norm", "save_steps", "warmup_steps", "max_length", "lora.r", "lora.alpha", "lora.dropout",
    "dataset.eval_fraction",
])  # fmt: skip
FLAGS: Final = frozenset(["packing", "gradient_checkpointing"])
LENGTHS: Final = ("max_length", "max_seq_length")
LORA: Final[dict[str, str]] = {"r": "r", "lora_alpha": "alpha", "lora_dropout": "dropout", "target_modules": "target_modules"}
# Stated by notebooks, without a place in the job file: said in the notes, so that nothing is lost in silence.
ELSEWHERE_TRAINING: Final = (
    "fp16", "bf16", "tf32", "save_strategy", "save_total_limit",
    "eval_strategy", "evaluation_strategy", "eval_steps", "logging_steps", "group_by_length",
    "neftune_noise_alpha", "adam_beta1", "adam_beta2", "adam_epsilon", "label_smoothing_factor", "load_best_model_at_end",
    "per_device_eval_batch_size", "completion_only_loss", "assistant_only_loss", "gradient_checkpointing_kwargs",
    "deepspeed", "fsdp", "beta", "loss_type",
    "max_prompt_length", "embedding_learning_rate", "auto_find_batch_size", "torch_compile", "use_liger_kernel",
)  # fmt: skip
ELSEWHERE_LORA: Final = (
    "bias",
    "task_type",
    "use_rslora",
    "use_dora",
    "modules_to_save",
    "layers_to_transform",
    "init_lora_weights",
    "loftq_config",
)

TASKS: Final[dict[str, str]] = {
    "SFTTrainer": "sft", "UnslothTrainer": "sft", "DPOTrainer": "dpo", "UnslothDPOTrainer": "dpo", "RewardTrainer": "reward",
}  # fmt: skip
IMAGE_MODELS: Final = ("VisionModel", "ForImageTextToText", "ForVision2Seq", "VLForConditionalGeneration")  # ends of class names
PLAIN_TRAINERS: Final = frozenset(["Trainer", "Seq2SeqTrainer"])
TRAINER_POSITIONS: Final[dict[str, tuple[str, ...]]] = {
    "Trainer": ("model", "args", "data_collator", "train_dataset", "eval_dataset"),
    "Seq2SeqTrainer": ("model", "args", "data_collator", "train_dataset", "eval_dataset"),
    "SFTTrainer": ("model", "args", "data_collator", "train_dataset", "eval_dataset"),
    "DPOTrainer": ("model", "ref_model"),
    "RewardTrainer": ("model", "args"),
}
CONFIG_POSITIONS: Final = ("output_dir",)
BNB_POSITIONS: Final = ("load_in_8bit", "load_in_4bit")
OTHER_TRAINER_ROOTS: Final = frozenset([
    "pytorch_lightning", "lightning", "pl", "L", "tokenizers", "keras", "chainer", "ignite", "flair", "paddlenlp", "simpletransformers",
])  # fmt: skip

MODEL_WRAPPERS: Final = frozenset([
    "get_peft_model", "prepare_model_for_kbit_training", "prepare_model_for_int8_training", "prepare_model", "prepare", "compile",
    "DataParallel", "setup_chat_format", "for_training", "patch_model", "clone_chat_template",
])  # fmt: skip
MODEL_METHODS: Final = frozenset([
    "to", "cuda", "cpu", "half", "float", "bfloat16", "eval", "train", "merge_and_unload", "base_model", "model", "module",
])  # fmt: skip
DATA_SOURCES: Final = frozenset([
    "load_dataset", "load_from_disk", "read_csv", "read_parquet", "read_json", "read_table", "read_excel", "from_csv", "from_json",
    "from_parquet", "from_text", "dataset_download",
])  # fmt: skip
DATA_FILE_FORMATS: Final = frozenset(["csv", "json", "parquet", "text", "pandas", "arrow", "xml"])
DATA_JOINS: Final = frozenset([
    "concat", "concatenate_datasets", "interleave_datasets", "merge", "join", "append", "hstack", "vstack", "concatenate",
])  # fmt: skip

# Kaggle's model, framework and variation, and the repository on the Hub that holds the same weights.
HUB: Final[dict[tuple[str, str], str]] = {
    ("llama-2", "7b-hf"): "meta-llama/Llama-2-7b-hf", ("llama-2", "7b-chat-hf"): "meta-llama/Llama-2-7b-chat-hf",
    ("llama-2", "13b-hf"): "meta-llama/Llama-2-13b-hf", ("llama-2", "13b-chat-hf"): "meta-llama/Llama-2-13b-chat-hf",
    ("llama-2", "70b-hf"): "meta-llama/Llama-2-70b-hf", ("llama-2", "70b-chat-hf"): "meta-llama/Llama-2-70b-chat-hf",
    ("llama-3", "8b-hf"): "meta-llama/Meta-Llama-3-8B", ("llama-3", "8b-chat-hf"): "meta-llama/Meta-Llama-3-8B-Instruct",
    ("llama-3", "70b-hf"): "meta-llama/Meta-Llama-3-70B", ("llama-3", "70b-chat-hf"): "meta-llama/Meta-Llama-3-70B-Instruct",
    ("llama-3.1", "8b"): "meta-llama/Llama-3.1-8B", ("llama-3.1", "8b-instruct"): "meta-llama/Llama-3.1-8B-Instruct",
    ("llama-3.1", "70b"): "meta-llama/Llama-3.1-70B", ("llama-3.1", "70b-instruct"): "meta-llama/Llama-3.1-70B-Instruct",
    ("llama-3.2", "1b"): "meta-llama/Llama-3.2-1B", ("llama-3.2", "1b-instruct"): "meta-llama/Llama-3.2-1B-Instruct",
    ("llama-3.2", "3b"): "meta-llama/Llama-3.2-3B", ("llama-3.2", "3b-instruct"): "meta-llama/Llama-3.2-3B-Instruct",
    ("gemma", "2b"): "google/gemma-2b", ("gemma", "2b-it"): "google/gemma-2b-it", ("gemma", "7b"): "google/gemma-7b",
    ("gemma", "7b-it"): "google/gemma-7b-it",
    ("gemma", "1.1-2b-it"): "google/gemma-1.1-2b-it",
    ("gemma", "1.1-7b-it"): "google/gemma-1.1-7b-it",
    ("gemma-2", "gemma-2-2b"): "google/gemma-2-2b", ("gemma-2", "gemma-2-2b-it"): "google/gemma-2-2b-it",
    ("gemma-2", "gemma-2-9b"): "google/gemma-2-9b", ("gemma-2", "gemma-2-9b-it"): "google/gemma-2-9b-it",
    ("gemma-2", "gemma-2-27b"): "google/gemma-2-27b", ("gemma-2", "gemma-2-27b-it"): "google/gemma-2-27b-it",
    ("gemma-3", "gemma-3-1b-pt"): "google/gemma-3-1b-pt", ("gemma-3", "gemma-3-1b-it"): "google/gemma-3-1b-it",
    ("gemma-3", "gemma-3-4b-pt"): "google/gemma-3-4b-pt", ("gemma-3", "gemma-3-4b-it"): "google/gemma-3-4b-it",
    ("gemma-3", "gemma-3-12b-pt"): "google/gemma-3-12b-pt", ("gemma-3", "gemma-3-12b-it"): "google/gemma-3-12b-it",
    ("mistral", "7b-v0.1-hf"): "mistralai/Mistral-7B-v0.1", ("mistral", "7b-instruct-v0.1-hf"): "mistralai/Mistral-7B-Instruct-v0.1",
    ("mistral", "7b-instruct-v0.2-hf"): "mistralai/Mistral-7B-Instruct-v0.2", ("mixtral", "8x7b-v0.1-hf"): "mistralai/Mixtral-8x7B-v0.1",
    ("mixtral", "8x7b-instruct-v0.1-hf"): "mistralai/Mixtral-8x7B-Instruct-v0.1",
    ("phi", "1"): "microsoft/phi-1",
    ("phi", "1_5"): "microsoft/phi-1_5",
    ("phi", "2"): "microsoft/phi-2", ("phi-3", "phi-3-mini-4k-instruct"): "microsoft/Phi-3-mini-4k-instruct",
    ("phi-3", "phi-3-mini-128k-instruct"): "microsoft/Phi-3-mini-128k-instruct",
    ("phi-3", "phi-3.5-mini-instruct"): "microsoft/Phi-3.5-mini-instruct",
    ("qwen2.5", "0.5b"): "Qwen/Qwen2.5-0.5B", ("qwen2.5", "0.5b-instruct"): "Qwen/Qwen2.5-0.5B-Instruct",
    ("qwen2.5", "1.5b"): "Qwen/Qwen2.5-1.5B",
    ("qwen2.5", "1.5b-instruct"): "Qwen/Qwen2.5-1.5B-Instruct",
    ("qwen2.5", "3b"): "Qwen/Qwen2.5-3B",
    ("qwen2.5", "3b-instruct"): "Qwen/Qwen2.5-3B-Instruct",
    ("qwen2.5", "7b"): "Qwen/Qwen2.5-7B",
    ("qwen2.5", "7b-instruct"): "Qwen/Qwen2.5-7B-Instruct",
    ("qwen2.5", "14b"): "Qwen/Qwen2.5-14B", ("qwen2.5", "14b-instruct"): "Qwen/Qwen2.5-14B-Instruct",
    ("qwen-3", "0.6b"): "Qwen/Qwen3-0.6B",
    ("qwen-3", "1.7b"): "Qwen/Qwen3-1.7B",
    ("qwen-3", "4b"): "Qwen/Qwen3-4B",
    ("qwen-3", "8b"): "Qwen/Qwen3-8B",
    ("qwen-3", "14b"): "Qwen/Qwen3-14B",
}  # fmt: skip
