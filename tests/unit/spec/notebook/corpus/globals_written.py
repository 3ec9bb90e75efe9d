# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
ds = load_dataset("acme/chat", split="train")

# %%
lr = 1e-4
for name, value in {"lr": 3e-4}.items():
    globals()[name] = value
args = SFTConfig("o", learning_rate=lr, seed=1)
SFTTrainer(model=AutoModelForCausalLM.from_pretrained("acme/small-1b"), args=args, train_dataset=load_dataset("acme/chat", split="train")).train()
