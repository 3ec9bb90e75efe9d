# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
ds = load_dataset("acme/chat", split="train")

# %%
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--learning-rate", "-l", type=float, default=1e-4)
parser.add_argument("--steps", type=int, default=70)
parser.add_argument("--pack", action="store_true")
opt = parser.parse_args([])
again = parser.parse_args()
args = SFTConfig("o", learning_rate=opt.learning_rate, max_steps=opt.steps, packing=opt.pack, seed=again.steps)
SFTTrainer(model=model, args=args, train_dataset=ds).train()
