# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
ds = load_dataset("acme/chat", split="train")

# %%
probe = Trainer(model=model, args=TrainingArguments("a", max_steps=1), train_dataset=ds)
print(probe.evaluate())
real = Trainer(model=model, args=TrainingArguments("b", max_steps=200), train_dataset=ds)
real.train(resume_from_checkpoint=False)
