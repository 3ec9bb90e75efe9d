# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

# %%
bnb = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16, bnb_4bit_use_double_quant=True)
name = "acme/small-1b"
model = AutoModelForCausalLM.from_pretrained(name, quantization_config=bnb)
ref_model = AutoModelForCausalLM.from_pretrained("acme/reference", quantization_config=bnb)
dataset = load_dataset("acme/pairs")["train"].shuffle(seed=42).select(range(150))
args = TrainingArguments("o", per_device_train_batch_size=2, warmup_steps=0.1, learning_rate=5e-5)
trainer = DPOTrainer(model, ref_model, args=args, train_dataset=dataset, beta=0.1, max_prompt_length=512, max_length=1024, peft_config=LoraConfig(r=16))
trainer.train()
base_model = AutoModelForCausalLM.from_pretrained("acme/wrong", torch_dtype=torch.float16)
