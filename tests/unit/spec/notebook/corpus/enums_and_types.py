# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
ds = load_dataset("acme/chat", split="train")

# %%
from transformers.trainer_utils import SchedulerType
args = SFTConfig("o", lr_scheduler_type=SchedulerType.COSINE, learning_rate="2e-4", max_steps=True, packing=1, seed=None, max_length=None, optim=["adamw"])
SFTTrainer(model=model, args=args, train_dataset=ds).train()
