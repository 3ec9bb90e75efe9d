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
steps = 10
def warm(factor):
    global lr
    lr = lr * factor
    steps = 99
warm(2)
box = [1]
def push(x, into=box):
    into.append(x)
push(5)
args = SFTConfig("o", learning_rate=lr, max_steps=steps, seed=box[-1], num_train_epochs=len(box))
SFTTrainer(model=model, args=args, train_dataset=ds).train()
