# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

# %%
import kagglehub
from huggingface_hub import snapshot_download
path = kagglehub.model_download("metaresearch/llama-3/transformers/8b-chat-hf/1")
csv = kagglehub.dataset_download("jo/tickets") + "/train.csv"
model = AutoModelForCausalLM.from_pretrained(path)
ds = load_dataset("csv", data_files=csv)["train"]
args = SFTConfig("o", max_steps=1)
SFTTrainer(model=model, args=args, train_dataset=ds).train()
