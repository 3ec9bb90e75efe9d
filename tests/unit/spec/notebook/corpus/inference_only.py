# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

# %%
from peft import PeftModel
model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
model = PeftModel.from_pretrained(model, "acme/adapter")
out = model.generate(**AutoTokenizer.from_pretrained("acme/small-1b")("hello", return_tensors="pt"), max_length=50)
