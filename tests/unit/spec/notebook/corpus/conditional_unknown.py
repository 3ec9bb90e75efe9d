# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
ds = load_dataset("acme/chat", split="train")

# %%
big = torch.cuda.get_device_properties(0).total_memory > 20e9
if big:
    bs, accum = 8, 1
    optim = "adamw_torch"
else:
    bs, accum = 1, 8
    optim = "adamw_torch"
length = 4096 if big else 1024
seed = 11 if big else 11
args = SFTConfig(output_dir="o", per_device_train_batch_size=bs, gradient_accumulation_steps=accum, optim=optim, max_length=length, seed=seed, bf16=big)
SFTTrainer(model=model, args=args, train_dataset=ds).train()
