# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
ds = load_dataset("acme/chat", split="train")

# %%
%load_ext autoreload
%autoreload 2
%env WANDB=off
files = !ls /kaggle/input
?SFTConfig
SFTConfig??
doc = """
!not a magic
%neither = this
"""
if True:
    !pip install x && \
      echo "don't (break"
%time lr = 1e-4
total = (7
  % 4)
# %%
%%time
steps = 12
# %%
%%timeit
steps = 99
# %%
%%skip_if nothing
seed = 4
# %%
args = SFTConfig("o", learning_rate=lr, max_steps=steps, seed=seed, gradient_accumulation_steps=total, output_x=files)
SFTTrainer(model=model, args=args, train_dataset=ds).train()
