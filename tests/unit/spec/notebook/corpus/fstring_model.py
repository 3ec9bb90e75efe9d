# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

# %%
size = "7b"
family = "Falcon"
repo = f"acme/{family.lower()}-{size}" + "-instruct"
name = "{}-{v}".format(repo, v=2)
model = AutoModelForCausalLM.from_pretrained(pretrained_model_name_or_path=name, trust_remote_code=True)
data = load_dataset("%s/%s" % ("acme", "chat"))["train"]
SFTTrainer(model=model, train_dataset=data, args=SFTConfig("o", max_steps=1)).train()
