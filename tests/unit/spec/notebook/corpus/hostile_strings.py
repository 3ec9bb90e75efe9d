# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
ds = load_dataset("acme/chat", split="train")

# %%
name = "a: b # c\n- \x00\u2028\U0001F600 'q' \"d\" {x} \ud800"
args = SFTConfig("o", optim=name, lr_scheduler_type="yes", learning_rate=1e-05)
SFTTrainer(model=model, args=args, train_dataset=ds).train()
