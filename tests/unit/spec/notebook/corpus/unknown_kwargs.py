# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
ds = load_dataset("acme/chat", split="train")

# %%
import json
extra = json.load(open("extra.json"))
args = SFTConfig(output_dir="o", learning_rate=1e-5, **extra)
trainer = SFTTrainer(model=model, args=args, train_dataset=ds, peft_config=LoraConfig(r=4, **extra))
trainer.train()
