# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
ds = load_dataset("acme/chat", split="train")

# %%
sft = SFTTrainer(model=model, args=SFTConfig("a", max_steps=10), train_dataset=ds)
sft.train()
# %%
dpo = DPOTrainer(model=sft.model, args=DPOConfig("b", max_steps=20, learning_rate=5e-6, beta=0.1), train_dataset=load_dataset("acme/pairs", split="train"))
dpo.train()
