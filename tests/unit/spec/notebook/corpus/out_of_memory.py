# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
ds = load_dataset("acme/chat", split="train")

# %%
args = SFTConfig("o", max_steps=100, gradient_checkpointing=False)
trainer = SFTTrainer(model=model, args=args, train_dataset=ds)
trainer.train()
#>> ---------------------------------------------------------------------------
#>> OutOfMemoryError                          Traceback (most recent call last)
#>> OutOfMemoryError: CUDA out of memory. Tried to allocate 224.00 MiB. GPU 0 has a total capacity of 14.75 GiB of which 17.06 MiB is free. Process 2 has 14.73 GiB memory in use. Of the allocated memory 14.04 GiB is allocated by PyTorch, and 520.00 MiB is reserved by PyTorch but unallocated.
