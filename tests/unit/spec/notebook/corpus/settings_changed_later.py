# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
ds = load_dataset("acme/chat", split="train")

# %%
args = SFTConfig("o", learning_rate=1e-4, max_steps=3)
trainer = SFTTrainer(model=model, args=args, train_dataset=ds)
args.learning_rate = 2e-4
setattr(args, "seed", 9)
if torch.cuda.is_available():
    args.max_steps = 300
trainer.train()
args.seed = 10
