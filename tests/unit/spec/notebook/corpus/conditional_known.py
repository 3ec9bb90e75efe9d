# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
ds = load_dataset("acme/chat", split="train")

# %%
DEMO = False
steps = 25 if DEMO else 1000
if DEMO:
    bs = 1
elif steps > 500:
    bs = 8
else:
    bs = 4
args = SFTConfig(output_dir="o", max_steps=steps, per_device_train_batch_size=bs)
SFTTrainer(model=model, args=args, train_dataset=ds).train()
