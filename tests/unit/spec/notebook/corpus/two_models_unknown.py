# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

# %%
import sys
if len(sys.argv) > 1:
    model = AutoModelForCausalLM.from_pretrained("acme/one")
else:
    model = AutoModelForCausalLM.from_pretrained("acme/two")
ds = load_dataset("acme/chat", split="train")
args = SFTConfig("o", max_steps=1)
SFTTrainer(model=model, args=args, train_dataset=ds).train()
