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
seed = 0
for lr in (1e-4, 2e-4):
    seed += 1
rank = 8
while rank < 100:
    rank *= 2
mods = []
for name in ["q", "v"]:
    mods.append(name + "_proj")
listed = [f"{name}_proj" for name in ("q", "k")]
bs = 2
for i in range(3):
    print(i)
args = SFTConfig("o", learning_rate=lr, seed=seed, per_device_train_batch_size=bs)
SFTTrainer(model=model, args=args, train_dataset=ds, peft_config=LoraConfig(r=rank, lora_alpha=16, target_modules=listed, modules_to_save=mods)).train()
