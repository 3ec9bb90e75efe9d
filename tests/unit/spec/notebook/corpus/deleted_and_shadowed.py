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
steps = 5
seed = 3
bs = 8
del lr
def bs(): return 2
from math import pi as seed
class steps: pass
args = SFTConfig("o", learning_rate=lr, max_steps=steps, seed=seed, per_device_train_batch_size=bs, num_train_epochs=1)
SFTTrainer(model=model, args=args, train_dataset=ds).train()
