# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
ds = load_dataset("acme/chat", split="train")

# %%
CFG = {"lr": 3e-4, "lora": {"r": 32, "alpha": 64}, "opt": "adamw_torch"}
CFG["lora"]["r"] = 16
CFG.update(bs=2)
CFG["epochs"] = CFG.get("epochs", 1)
lora = LoraConfig(r=CFG["lora"]["r"], lora_alpha=CFG["lora"]["alpha"], lora_dropout=CFG.get("dropout", 0.1))
args = SFTConfig(output_dir="o", learning_rate=CFG["lr"], optim=CFG["opt"], per_device_train_batch_size=CFG["bs"], num_train_epochs=CFG["epochs"])
SFTTrainer(model=model, args=args, train_dataset=ds, peft_config=lora).train()
