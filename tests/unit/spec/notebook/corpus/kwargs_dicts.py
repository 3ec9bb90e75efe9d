# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
ds = load_dataset("acme/chat", split="train")

# %%
common = dict(learning_rate=1e-5, seed=3)
more = {**common, "max_steps": 50, "seed": 4}
lora_kwargs = {"r": 4, "lora_alpha": 8}
lora_kwargs["target_modules"] = "all-linear"
args = SFTConfig(output_dir="o", **more)
trainer = SFTTrainer(**{"model": model, "args": args, "train_dataset": ds}, peft_config=LoraConfig(**lora_kwargs))
trainer.train()
