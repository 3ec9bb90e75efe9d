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
from transformers import *
from my_settings import *
seed = 2
args = SFTConfig("o", learning_rate=lr, max_steps=STEPS, seed=seed)
SFTTrainer(model=AutoModelForCausalLM.from_pretrained("acme/small-1b"), args=args, train_dataset=load_dataset("acme/chat", split="train")).train()
