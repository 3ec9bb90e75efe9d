# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
ds = load_dataset("acme/chat", split="train")

# %%
lr = 1e-3
lr = 5e-5
steps = 10
args = SFTConfig("o", learning_rate=lr, max_steps=steps)
lr = 1e-2
steps += 90
trainer = SFTTrainer(model, args, train_dataset=ds)
model = None
ds = None
trainer.train()
