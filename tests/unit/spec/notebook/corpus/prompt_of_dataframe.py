# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
ds = load_dataset("acme/chat", split="train")

# %%
import pandas as pd
from datasets import Dataset
INTRO = "Tell {x}:"
df = pd.read_csv("rows.csv")
df["text"] = df.apply(lambda row: f"{INTRO} {row.title}\n=> {row['label']}</s>", axis=1)
args = SFTConfig("o", max_steps=1, dataset_text_field="text")
SFTTrainer(model=model, args=args, train_dataset=Dataset.from_pandas(df)).train()
