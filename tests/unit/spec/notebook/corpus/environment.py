# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
ds = load_dataset("acme/chat", split="train")

# %%
import os
lr = float(os.environ.get("LR", "2e-4"))
epochs = int(os.getenv("EPOCHS") or 3)
name = os.environ["RUN"]
args = SFTConfig(output_dir=f"out/{name}", learning_rate=lr, num_train_epochs=epochs, seed=1)
SFTTrainer(model=model, args=args, train_dataset=ds).train()
