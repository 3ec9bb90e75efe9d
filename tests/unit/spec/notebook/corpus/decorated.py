# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
ds = load_dataset("acme/chat", split="train")

# %%
from functools import lru_cache
import mylib
@lru_cache
def steps(): return 4
@mylib.patch
class C:
    lr = 1e-4
@mylib.patch
def seed(): return 1
from enum import Enum
class E(Enum):
    BS = 4
args = SFTConfig("o", learning_rate=C.lr, max_steps=steps(), seed=seed(), per_device_train_batch_size=E.BS, num_train_epochs=2)
SFTTrainer(model=model, args=args, train_dataset=ds).train()
