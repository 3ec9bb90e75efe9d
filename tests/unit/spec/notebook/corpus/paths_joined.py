# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

# %%
import os
from pathlib import Path
ROOT = Path("/kaggle/input")
base = ROOT / "gemma" / "transformers" / "2b-it" / "3"
csv = os.path.join("/kaggle/input/datasets", "jo", "tickets", "train.csv")
model = AutoModelForCausalLM.from_pretrained(base, device_map={"": 0})
ds = load_dataset("csv", data_files=csv, split="train")
SFTTrainer(model=model, train_dataset=ds, args=SFTConfig("o", num_train_epochs=1)).train()
