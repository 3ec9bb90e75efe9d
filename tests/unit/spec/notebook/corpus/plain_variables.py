# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
ds = load_dataset("acme/chat", split="train")

# %%
LR = 1e-4
EPOCHS = 2
BATCH = 4
args = SFTConfig(output_dir="o", learning_rate=LR, num_train_epochs=EPOCHS, per_device_train_batch_size=BATCH, max_length=1024)
trainer = SFTTrainer(model=model, args=args, train_dataset=ds)
trainer.train()
