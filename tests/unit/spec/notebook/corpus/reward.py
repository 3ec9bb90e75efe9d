# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

# %%
model = AutoModelForSequenceClassification.from_pretrained("acme/small-1b", num_labels=1)
args = RewardConfig(output_dir="r", max_length=768, learning_rate=1.5e-5, gradient_checkpointing=False)
RewardTrainer(model=model, args=args, train_dataset=load_dataset("acme/pairs", split="train"), peft_config=LoraConfig(task_type=TaskType.SEQ_CLS, r=8, lora_alpha=32)).train()
